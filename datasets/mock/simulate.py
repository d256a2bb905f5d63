"""From a seed to images, spectra and their truth, a block of galaxies at a time.

Image and spectrum of a galaxy come from the same components: bulge, old disc, young disc, nucleus.
Each has a spectrum, and through the filters fluxes for its map in the image; the fibre spectrum is
the sum of the spectra, weighted with the share of each map inside the 3″ fibre (r band, with the
fibre's own seeing and position). So the colours of an image inside the fibre are those of the
spectrum, up to the errors of both.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from datasets.constants import SDSS_BANDS
from datasets.mock import catalogue as sky
from datasets.mock import images, lines, observe, pictures, stars
from datasets.mock.conditions import DEFAULT, Conditions, Shift, conditions
from datasets.mock.stars import PIVOT_ANGSTROM, WAVELENGTH_ANGSTROM
from datasets.spectra import PreparedSpectrum, prepare_spectrum, signal_to_noise
from datasets.synthetic_photometry import filter_weights

BLOCK = 32  # galaxies computed together, whatever the number of processes
NUCLEUS = 3
R_BAND = SDSS_BANDS.index("r")
HALPHA = lines.LINE_NAMES.index("halpha")
# Side bands of the continuum under a line, in pixels of 69 km/s from its centre.
SIDE_BANDS = np.concatenate([np.arange(-45, -19), np.arange(20, 46)])
TRUTH_OF_CATALOGUE = (
    "log_mass", "log_ssfr", "log_oh", "metallicity", "a_v", "sigma_star_kms", "type", "nucleus",
    "bulge_total", "radius_arcsec", "cos_inclination", "position_angle", "young_share",
)  # fmt: skip


@lru_cache(maxsize=1)
def _weights() -> np.ndarray:
    """Filter weights times pixel width on the logarithmic grid, (5, P)."""
    return filter_weights(WAVELENGTH_ANGSTROM) * np.gradient(WAVELENGTH_ANGSTROM)


def simulate(seed: int, first: int, colour: bool = False, shift: Shift = DEFAULT) -> dict:
    """Galaxies `first` … `first + BLOCK - 1` of the survey `seed`.

    Args:
        seed: Of the survey.
        first: A multiple of `BLOCK`.
        colour: Make pictures (n, 3, 64, 64) of the same galaxies with the same spectra.
        shift: How the survey differs from the default one.

    Returns:
        `images` (n, 5, 64, 64) in nanomaggies per pixel, or pictures; `spectra` (n, 4500),
        `normalisation` (n,) and `interpolated` (n, 4500) of `prepare_spectrum`; `catalogue` and
        `truth`, dicts of (n, …) arrays.
    """
    streams, galaxies = sky.sample(seed, first, BLOCK, shift.redshifts)
    galaxies.update(_appearance(galaxies, streams))
    field = conditions(seed, first, BLOCK, shift)
    pixel = shift.pixel_arcsec
    maps = images.scene(galaxies, streams, pixel)
    psf = images.seeing(field.seeing * images.SEEING_ARCSEC, pixel)
    extra = images.neighbours(streams, pixel)
    aperture, shares = _shares(galaxies, maps, psf, streams, pixel)

    light = _components(galaxies, shares)
    noiseless_images = images.render(
        maps, light["fluxes"] * field.image_factor()[:, None], psf, extra
    )
    fibre = _fibre_spectra(galaxies, light, shares)
    reddened = fibre * field.spectrum_factor(observe.FIBRE_ANGSTROM)
    measured, ivar = observe.expose(reddened, streams)
    prepared = [_prepare(flux, weight) for flux, weight in zip(measured, ivar, strict=True)]
    truth = _truth(galaxies, light, shares, fibre)
    truth["fibre_nanomaggies"] = np.einsum("ncb,nc->nb", light["fluxes"], aperture)
    truth["residual_ebv"] = field.residual_ebv
    truth["noiseless"] = np.stack([_prepare(flux).flux for flux in fibre])
    exposures = zip(measured, ivar, strict=True)
    snr = np.array([signal_to_noise(observe.FIBRE_ANGSTROM, *one) for one in exposures])
    total = light["fluxes"].sum(axis=1)
    return {
        "images": _exposed(noiseless_images, streams, field, shift, colour),
        "spectra": np.stack([p.flux for p in prepared]),
        "normalisation": np.array([p.normalisation for p in prepared]),
        "interpolated": np.stack([p.interpolated for p in prepared]),
        "catalogue": _catalogue(galaxies, total, snr),
        "truth": truth,
    }


def _shares(
    galaxies: dict, maps: np.ndarray, psf: np.ndarray, streams: list, pixel: float
) -> tuple[np.ndarray, np.ndarray]:
    """Shares (n, 4) of the components' r light: in the aperture on the image, and in the fibre."""
    x0, y0 = galaxies["x0"], galaxies["y0"]
    aperture = images.fibre_shares(maps, psf[:, [R_BAND]], x0, y0, pixel)[..., 0]
    seeing, (dx, dy) = observe.placement(streams)
    night = images.seeing(seeing, pixel)
    fibre = images.fibre_shares(maps, night, x0 + dx / pixel, y0 + dy / pixel, pixel)[..., 0]
    return aperture, fibre


def _exposed(
    noiseless: np.ndarray, streams: list, field: Conditions, shift: Shift, colour: bool
) -> np.ndarray:
    if colour:
        return pictures.photograph(noiseless, streams, shift.depth)
    return images.add_noise(noiseless, streams, field.sky, shift.depth)


def _prepare(flux: np.ndarray, ivar: np.ndarray | None = None) -> PreparedSpectrum:
    return prepare_spectrum(observe.FIBRE_ANGSTROM, flux, ivar)


def _appearance(galaxies: dict, streams: list[np.random.Generator]) -> dict[str, np.ndarray]:
    """Spiral arms, lumps and the position on the pixel grid."""
    u = np.array([stream.random(6) for stream in streams]).T
    normal = np.array([stream.standard_normal(3) for stream in streams]).T
    young = galaxies["young_share"]
    return {
        "arm_strength": np.clip(young * (0.25 + 0.85 * u[0]), 0, 0.95),
        "arm_count": np.choose((4 * u[1]).astype(int), [2, 2, 3, 4]),
        "arm_pitch": np.radians(12 + 18 * u[2]) * np.where(u[3] < 0.5, -1, 1),
        "lumpiness": young * 0.55 * np.exp(0.3 * normal[0]),
        "x0": u[4] - 1.0,  # the middle of a cutout lies half a pixel below its pixel 32
        "y0": u[5] - 1.0,
        "line_draw": normal[1],
        "gas_draw": np.clip(0.5 + 0.25 * normal[2], 0, 1),
    }


def _components(galaxies: dict, shares: np.ndarray) -> dict[str, np.ndarray]:
    """Spectra, line fluxes and band fluxes of the components on the catalogue's flux scale.

    Returns:
        `spectra` (n, 4, P) in the observed frame, 1e-17 erg/s/cm²/Å; `lines` (n, 4, L) in 1e-17
        erg/s/cm²; `fluxes` (n, 4, 5) in nanomaggies, lines included; `weights` of the templates;
        `continuum` (n, 4) under Hα.
    """
    z = galaxies["z"]
    weights = stars.template_weights(galaxies)
    spectra = stars.component_spectra(galaxies, weights)
    bands = np.einsum("ncp,bp->ncb", spectra, _weights())
    scale = np.stack(
        [
            galaxies["bulge_total"] / bands[:, stars.BULGE, R_BAND],
            (1 - galaxies["bulge_total"]) / bands[:, stars.OLD_DISC :, R_BAND].sum(axis=1),
        ],
        axis=1,
    )[:, [0, 1, 1], None]
    nucleus = (WAVELENGTH_ANGSTROM / PIVOT_ANGSTROM) ** -1.0
    spectra = spectra * scale
    fibre_r = (spectra * shares[:, :3, None]).sum(axis=1)
    glow = galaxies["nucleus"] == sky.SEYFERT
    glow = glow * 0.04 * np.exp(0.5 * galaxies["line_draw"]) * _at(fibre_r, PIVOT_ANGSTROM, z)
    glow = glow / shares[:, NUCLEUS]
    spectra = np.concatenate([spectra, (glow[:, None] * nucleus)[:, None]], axis=1)
    emission, continuum = _emission(galaxies, spectra, shares)
    fluxes = np.einsum("ncp,bp->ncb", spectra, _weights()) + _line_bands(emission, z)
    factor = 10 ** (0.4 * (22.5 - galaxies["r"])) / fluxes[..., R_BAND].sum(axis=1)
    return {
        "spectra": spectra * factor[:, None, None],
        "lines": emission * factor[:, None, None],
        "fluxes": fluxes * factor[:, None, None],
        "continuum": continuum * factor[:, None],
        "weights": weights,
    }


def _at(spectra: np.ndarray, wavelength_angstrom, z: np.ndarray) -> np.ndarray:
    """Mean flux beside a line of rest wavelength `wavelength_angstrom` in spectra (n, …, P)."""
    centre = np.rint(stars.pixel_of(np.asarray(wavelength_angstrom) * (1 + z))).astype(int)
    pixels = centre[:, None] + SIDE_BANDS
    if spectra.ndim == 3:
        pixels = pixels[:, None]
    return np.take_along_axis(spectra, pixels, axis=-1).mean(axis=-1)


def _emission(galaxies, spectra, shares) -> tuple[np.ndarray, np.ndarray]:
    """Line fluxes (n, 4, L), observed, of young disc and nucleus; continua under Hα (n, 4)."""
    halpha = lines.LINE_ANGSTROM[HALPHA]
    continuum = _at(spectra, halpha, galaxies["z"])
    disc_width, nuclear_width = lines.halpha_width(galaxies, galaxies["line_draw"])
    stretch = 1 + galaxies["z"]  # of equivalent widths
    disc = disc_width * stretch * continuum[:, stars.OLD_DISC : NUCLEUS].sum(axis=1)
    nucleus = nuclear_width * stretch * (continuum * shares).sum(axis=1) / shares[:, NUCLEUS]
    red = lines.reddening(galaxies["a_v"])
    flux = np.zeros((*continuum.shape, len(lines.LINE_NAMES)))
    flux[:, stars.YOUNG_DISC] = disc[:, None] * lines.star_forming_ratios(galaxies) * red
    flux[:, NUCLEUS] = nucleus[:, None] * lines.nuclear_ratios(galaxies) * red
    return flux, continuum


def _line_bands(emission: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Nanomaggies of emission lines (n, 4, L) in each band, (n, 4, 5)."""
    weights = _weights() / np.gradient(WAVELENGTH_ANGSTROM)
    observed = lines.LINE_ANGSTROM * (1 + z[:, None])
    response = [np.interp(observed, WAVELENGTH_ANGSTROM, weight) for weight in weights]
    return np.einsum("ncl,bnl->ncb", emission, np.array(response))


def _fibre_spectra(galaxies: dict, light: dict, shares: np.ndarray) -> np.ndarray:
    """Noiseless spectra inside the fibre, (n, FIBRE_PIXELS), 1e-17 erg/s/cm²/Å."""
    flux = np.einsum("ncp,nc->np", light["spectra"][..., observe.FIBRE], shares)
    emission = np.einsum("ncl,nc->nl", light["lines"], shares)
    width = lines.gas_width_kms(galaxies, galaxies["gas_draw"])
    lines.add_lines(flux, emission, width, galaxies["z"], observe.FIRST_PIXEL)
    return flux


def _truth(galaxies: dict, light: dict, shares: np.ndarray, fibre: np.ndarray) -> dict:
    """True quantities of the fibre spectra; the package's docstring explains the names."""
    z = galaxies["z"]
    truth = {name: galaxies[name] for name in TRUTH_OF_CATALOGUE}
    emission = np.einsum("ncl,nc->nl", light["lines"], shares)
    stellar = np.einsum("ncp,nc->np", light["spectra"], shares)
    for i, name in enumerate(lines.LINE_NAMES):
        continuum = _at(stellar, lines.LINE_ANGSTROM[i], z)
        truth[f"flux_{name}"] = emission[:, i]
        truth[f"ew_{name}"] = emission[:, i] / continuum / (1 + z)
    truth["bpt_class"] = lines.bpt_class(emission)
    truth["dn4000"] = observe.dn4000(fibre, z)
    truth["log_age_yr"] = stars.mean_log_age(
        light["weights"], shares[:, :3] * _band_share(light["fluxes"])
    )
    truth["gas_sigma_kms"] = lines.gas_width_kms(galaxies, galaxies["gas_draw"])
    truth["total_nanomaggies"] = light["fluxes"].sum(axis=1)
    return truth


def _band_share(fluxes: np.ndarray) -> np.ndarray:
    """Shares of the stellar components in the r light; one for both discs, as in the weights."""
    share = fluxes[:, :3, R_BAND].copy()
    share[:, stars.OLD_DISC :] = share[:, stars.OLD_DISC :].sum(axis=1, keepdims=True)
    return share


def _catalogue(galaxies: dict, total: np.ndarray, snr: np.ndarray) -> dict[str, np.ndarray]:
    magnitude = 22.5 - 2.5 * np.log10(total)
    return {
        "identifier": galaxies["identifier"],
        "ra": galaxies["ra"],
        "dec": galaxies["dec"],
        "z": galaxies["z"],
        "sn": snr,
        "type": galaxies["type"],
        **{f"mag_{band}": magnitude[:, i] for i, band in enumerate(SDSS_BANDS)},
    }
