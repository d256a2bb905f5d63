r"""Does a generated spectrum have the colours of its own cutout?

The cutout's light inside the fibre's aperture is known in every band; the spectrum predicts it
through the same filters. Their difference, in magnitudes,

.. math:: \Delta_{gr} = (g - r)_\text{spectrum} - (g - r)_\text{image} ,

and likewise for r − i, tests a spectrum against data that it cannot argue with. The g filter
reaches 211 Å below a spectrum that begins at 4000 Å, with 2.9 % of its response; there the spectrum
is continued at its mean over the first `EDGE_ANGSTROM`. On 1200 real SDSS spectra that reach 3800 Å
this is wrong by −1 ± 2 mmag. Zero is not exact: seeing depends on the band, spectrophotometry is
good to some per cent.

As a ranking, with s the contrastive similarity of temperature τ and σ = `COLOUR_SIGMA_MAG`,

.. math:: \log p = s / \tau - \tfrac12 (\Delta_{gr}^2 + \Delta_{ri}^2) / \sigma^2 + \text{const} ,

the product of what the towers and what the filters say; `photometric` has the second term alone.
σ is the scatter of Δ of real SDSS spectra (0.04 and 0.02 mag for the two colours).

On 200 galaxies of the mock survey's validation split, `both` makes the best candidate's continuum
better (scatter of its rest-frame colour 0.030 for 0.038 mag, of its EW Hα 6.3 for 7.4 Å) and its
squared error a tenth worse, which is about the places of lines; the mean of the candidates, with
weights p or without, has the same error. So `contrastive` is the default, and sampling is not
guided by colours: that costs a backward pass in every step, for a quantity that choosing among the
candidates already sets.
"""

from __future__ import annotations

import numpy as np

from datasets.photometry import AB_ZERO_1E17, filter_weights
from datasets.survey import Survey
from utils.photometry import aperture_nanomaggies
from utils.runs import SurveyDescription

COLOURS = (("g", "r"), ("r", "i"))
COLOUR_NAMES = tuple(f"delta_{blue}{red}" for blue, red in COLOURS)
COLOUR_SIGMA_MAG = 0.04
EDGE_ANGSTROM = 50.0
BLUE_LIMIT_ANGSTROM = 3700.0  # of the g filter's response
MIN_COVERAGE = 0.95  # of a filter's response inside the spectrum
NANOMAGGY = "nanomaggy"
RANKINGS = ("contrastive", "photometric", "both")
_BANDS = ("g", "r", "i")


def synthetic_colours(wavelength_angstrom: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """g − r and r − i (..., 2) in AB magnitudes of spectra (..., n), in any unit.

    NaN where a filter is not covered or its flux is not positive.
    """
    matrix = _band_matrix(np.asarray(wavelength_angstrom, np.float64))
    return _colours(np.asarray(flux) @ matrix.T.astype(np.float32))


def has_colours(survey: Survey | SurveyDescription) -> bool:
    """Whether a survey's images are calibrated and have g, r and i."""
    return survey.image_unit == NANOMAGGY and set(_BANDS) <= set(survey.bands)


def image_colours(images: np.ndarray, survey: Survey | SurveyDescription) -> np.ndarray:
    """Colours of images inside the fibre's aperture.

    Args:
        images: (..., bands, H, W).
        survey: they belong to, or a description of it.

    Returns:
        g − r and r − i (..., 2) in AB magnitudes; NaN where the survey `has_colours` not, or the
        flux is not positive.
    """
    if not has_colours(survey):
        return np.full((*images.shape[:-3], len(COLOURS)), np.nan)
    seen = aperture_nanomaggies(images, survey.pixel_scale_arcsec)
    return _colours(seen[..., [survey.bands.index(band) for band in _BANDS]])


def _colours(nanomaggies: np.ndarray) -> np.ndarray:
    magnitude = -2.5 * np.log10(np.where(nanomaggies > 0, nanomaggies, np.nan))
    return -np.diff(magnitude, axis=-1)


def _band_matrix(wavelength: np.ndarray) -> np.ndarray:
    """(3, n): the product with a spectrum is its flux in g, r and i; NaN for bands not covered."""
    width = np.gradient(wavelength)
    width[[0, -1]] *= 0.5  # trapezoidal rule
    weights = filter_weights(wavelength, _BANDS) * width
    below = np.arange(BLUE_LIMIT_ANGSTROM, wavelength[0], 1.0)
    if below.size:
        edge = wavelength < wavelength[0] + EDGE_ANGSTROM
        weights[:, edge] += filter_weights(below, _BANDS).sum(axis=1)[:, None] / edge.sum()
    ab_source = 1e-9 * AB_ZERO_1E17 / wavelength**2  # one nanomaggy in every band
    inside = filter_weights(wavelength, _BANDS) @ (ab_source * width)
    return np.where((inside > MIN_COVERAGE)[:, None], weights, np.nan)


def ranking_scores(
    ranking: str, similarity: np.ndarray, differences: np.ndarray, temperature: float
) -> np.ndarray:
    """What candidates are sorted by, largest first.

    Args:
        ranking: one of `RANKINGS`.
        similarity: (..., P) contrastive similarity.
        differences: (..., P, 2) colours of the spectra minus those of the image, mag; an unknown
            one (NaN) decides nothing.
        temperature: τ > 0 of the towers.

    Returns:
        (..., P).
    """
    colours = -0.5 * np.sum(np.nan_to_num(differences / COLOUR_SIGMA_MAG) ** 2, axis=-1)
    terms = {"contrastive": similarity, "photometric": colours}
    return terms.get(ranking, similarity / temperature + colours)
