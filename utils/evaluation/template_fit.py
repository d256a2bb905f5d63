r"""What an astronomer would do without learning anything: templates fitted to the photometry.

Non-negative mixtures of kcorrect's five galaxy templates are fitted to the fluxes of the cutout in
the 3″ fibre aperture (Blanton & Roweis 2007, AJ 133, 734),

.. math:: \chi^2(z) = \min_{c \geq 0} \sum_b (F_b - \textstyle\sum_t c_t T_{tb}(z))^2 / \sigma_b^2,
    \qquad p(z \mid F) \propto n(z)\, e^{-\chi^2(z)/2} ,

with σ_b from the scatter of the pixels at the cutout's border and a relative error of 5 % for
templates and zero points, and n(z) the redshifts of the training galaxies. Candidate redshifts are
quantiles of p(z | F), or the given redshift; each candidate is the best mixture for fluxes that are
perturbed by their errors. On a mock survey, whose galaxies are made of four of these templates, the
fit has an advantage that it does not have on real galaxies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from datasets.constants import SDSS_BANDS
from datasets.kcorrect_templates import read_templates
from datasets.photometry import NANOMAGGY
from datasets.survey import Survey
from datasets.synthetic_photometry import filter_weights
from utils.evaluation.cache_identity import array_digest, code_digest
from utils.evaluation.image_photometry import fibre_fluxes
from utils.evaluation.method import TEMPLATES, Method
from utils.evaluation.rest_frame import WINDOW_ANGSTROM

MODEL_ERROR = 0.05  # relative, of templates and zero points
FEWEST_BANDS = 3
REDSHIFT_STEP = 0.002
FILTER_ANGSTROM = np.arange(2960.0, 11300.0, 5.0)  # grid of the synthetic photometry


@dataclass(frozen=True)
class TemplateFit:
    """Templates through the filters, on a grid of redshifts.

    Args:
        wavelength, templates: rest frame, (m,) Å and (T, m) f_λ.
        redshift: (Z,) grid.
        density: (Z,) n(z), up to a factor.
        photometry: (Z, B, T) nanomaggies of each template.
    """

    wavelength: np.ndarray
    templates: np.ndarray
    redshift: np.ndarray
    density: np.ndarray
    photometry: np.ndarray

    @classmethod
    def of(cls, bands: list[str], training_redshift: np.ndarray) -> TemplateFit:
        """The fit for images in `bands`, within the range of the training redshifts (M,)."""
        low, high = training_redshift.min(), training_redshift.max()
        grid = np.linspace(low, high, max(2, round((high - low) / REDSHIFT_STEP) + 1))
        counts, edges = np.histogram(training_redshift, bins=20)
        density = np.interp(grid, 0.5 * (edges[1:] + edges[:-1]), counts)
        wavelength, templates = read_templates()
        weights = filter_weights(FILTER_ANGSTROM, bands) * np.gradient(FILTER_ANGSTROM)
        seen = np.array(
            [[np.interp(FILTER_ANGSTROM / (1 + z), wavelength, t) for t in templates] for z in grid]
        )
        photometry = np.einsum("bp,ztp->zbt", weights, seen)
        level = photometry.mean(axis=(0, 1))  # of comparable coefficients
        return cls(wavelength, templates / level[:, None], grid, density, photometry / level)

    def chi2(self, flux: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """χ² (Z,) of fluxes (B,) with errors (B,) at every redshift of the grid."""
        fits = [nnls(design / sigma[:, None], flux / sigma)[1] for design in self.photometry]
        return np.array(fits) ** 2

    def sample(self, flux: np.ndarray, sigma: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Quantiles `u` (P,) of p(z | F)."""
        chi2 = self.chi2(flux, sigma)
        weight = self.density * np.exp(-0.5 * (chi2 - chi2.min()))
        cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (weight[1:] + weight[:-1]))])
        return np.interp(u, cumulative / cumulative[-1], self.redshift)

    def coefficients(self, flux: np.ndarray, sigma: np.ndarray, redshift: float) -> np.ndarray:
        """Best non-negative coefficients (T,) at a redshift."""
        place = np.interp(redshift, self.redshift, np.arange(len(self.redshift)))
        lower = min(int(place), len(self.redshift) - 2)
        share = place - lower
        design = (1 - share) * self.photometry[lower] + share * self.photometry[lower + 1]
        return nnls(design / sigma[:, None], flux / sigma)[0]

    def spectrum(
        self, wavelength_angstrom: np.ndarray, coefficients: np.ndarray, redshift: float
    ) -> np.ndarray:
        """The mixture at a redshift (n,), divided by its median over 5500–7000 Å."""
        rest = wavelength_angstrom / (1 + redshift)
        flux = np.interp(rest, self.wavelength, coefficients @ self.templates)
        low, high = WINDOW_ANGSTROM
        inside = (wavelength_angstrom >= low) & (wavelength_angstrom < high)
        return (flux / max(np.median(flux[inside]), 1e-12)).astype(np.float32)


def template_methods(
    survey: Survey,
    rows: np.ndarray,
    count: int,
    wavelength_angstrom: np.ndarray,
    training_redshift: np.ndarray,
    redshift: np.ndarray,
    seed: int,
) -> tuple[Method, Method] | None:
    """The fit as a method, with the redshift fitted and with the redshift given.

    Args:
        survey: the survey file.
        rows: (N,) galaxies.
        count: candidates P.
        wavelength_angstrom: (n,) of the candidates.
        training_redshift: (M,), for the range and n(z).
        redshift: (N,) of the galaxies, for the second method.
        seed: of the perturbations.

    Returns:
        Both methods; None for a survey without calibrated images in at least three bands of SDSS.
    """
    bands = [band for band in survey.bands if band in SDSS_BANDS]
    if survey.image_unit != NANOMAGGY or len(bands) < FEWEST_BANDS:
        return None
    fit = TemplateFit.of(bands, training_redshift)
    flux, noise = fibre_fluxes(survey, rows, bands)
    sigma = np.hypot(noise, MODEL_ERROR * np.abs(flux))
    generators = [np.random.default_rng([seed, int(row)]) for row in rows]
    quantiles = [(np.arange(count) + g.random(count)) / count for g in generators]
    fitted = np.stack([fit.sample(*galaxy) for galaxy in zip(flux, sigma, quantiles, strict=True)])
    given = np.repeat(redshift[:, None], count, axis=1)
    perturbed = np.stack(
        [
            f + s * g.standard_normal((count, len(s)))
            for f, s, g in zip(flux, sigma, generators, strict=True)
        ]
    )

    def method(z: np.ndarray) -> Method:
        def read(part: slice) -> np.ndarray:
            galaxies = zip(perturbed[part], sigma[part], z[part], strict=True)
            return np.stack(
                [
                    [
                        fit.spectrum(wavelength_angstrom, fit.coefficients(f, errors, one), one)
                        for f, one in zip(fluxes, own, strict=True)
                    ]
                    for fluxes, errors, own in galaxies
                ]
            )

        made_of = array_digest(fit.templates, fit.photometry, perturbed, sigma, z)
        version = f"{made_of} {code_digest('utils/evaluation/template_fit.py')}"
        return Method(TEMPLATES, read, version=version, redshift=z)

    return method(fitted), method(given)
