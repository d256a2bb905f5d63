"""Coherence of spectra whose parts were put where they are."""

import h5py
import numpy as np
import pytest

from datasets.constants import SPEED_OF_LIGHT_KM_S
from datasets.line_list import LINES
from datasets.mock.build import make_mock
from datasets.survey import Survey
from tests.support import REAL_DATA, needs_real_data
from utils.evaluation.self_consistency import spread
from utils.spectroscopy.galaxy_templates import kcorrect_stars
from utils.spectroscopy.line_velocities import (
    FEATURES,
    GROUPS,
    RATIOS,
    coherence_units,
    velocity_column,
)
from utils.spectroscopy.measurements import measure
from utils.spectroscopy.wavelength import REST_GRID

WAVELENGTH = np.arange(4000.0, 8500.0)
Z = 0.08
FLUXES = {
    "Hbeta": 30.0,
    "OIII4959": 20.0,
    "OIII5007": 59.6,
    "NII6548": 12.0,
    "Halpha": 96.0,
    "NII6584": 36.6,
}
GENERATOR = np.random.default_rng(3)


def shifted(rest_angstrom: np.ndarray, flux: np.ndarray, velocity_km_s: float) -> np.ndarray:
    factor = (1.0 + Z) * (1.0 + velocity_km_s / SPEED_OF_LIGHT_KM_S)
    return np.interp(WAVELENGTH / factor, rest_angstrom, flux)


def lines(velocity_km_s: dict[str, float], scale: float = 1.0) -> np.ndarray:
    """Emission with `FLUXES`, each line at a velocity of its own, 0 by default."""
    flux = np.zeros(WAVELENGTH.size)
    for name, total in FLUXES.items():
        velocity = velocity_km_s.get(name, 0.0) / SPEED_OF_LIGHT_KM_S
        centre = LINES[name][0] * (1.0 + Z) * (1.0 + velocity)
        sigma = centre * 130.0 / SPEED_OF_LIGHT_KM_S
        shape = np.exp(-0.5 * ((WAVELENGTH - centre) / sigma) ** 2)
        flux += scale * total / (np.sqrt(2.0 * np.pi) * sigma) * shape
    return flux


def stars(velocity_km_s: float = 0.0) -> np.ndarray:
    return 5.0 * shifted(REST_GRID.angstrom, kcorrect_stars()[0], velocity_km_s)


def measured(flux: np.ndarray, noise: float = 0.1) -> dict[str, np.ndarray]:
    flux = np.atleast_2d(flux)
    flux = flux + noise * GENERATOR.normal(size=flux.shape)
    return measure(WAVELENGTH, flux, redshift=np.full(len(flux), Z), coherence=True)


def test_every_group_is_found_where_it_is():
    found = measured(np.stack([stars() + lines({})] * 3))
    for name in (*GROUPS, *FEATURES):
        limit = 60.0 if name in GROUPS else 150.0  # kcorrect's templates have 257 km/s per pixel
        assert np.all(np.abs(found[velocity_column(name)]) < limit), name
    extent, count = spread(found)
    assert np.all(extent < 100.0) and np.all(count == 5)
    assert found["balmer_decrement"] == pytest.approx(3.2, rel=0.05)
    assert found["OIII_ratio"] == pytest.approx(2.98, rel=0.05)
    assert found["NII_ratio"] == pytest.approx(3.05, rel=0.05)
    assert coherence_units().keys() <= found.keys()


@pytest.mark.parametrize("velocity", [-7000.0, -600.0, 600.0, 4000.0])
@pytest.mark.parametrize("names", [("OIII4959", "OIII5007"), ("Halpha", "NII6548", "NII6584")])
def test_lines_elsewhere_are_not_coherent(names, velocity):
    flux = stars() + lines(dict.fromkeys(names, velocity))
    found = measured(flux)
    group = "OIII" if "OIII5007" in names else "Halpha"
    assert found[velocity_column(group)] == pytest.approx(velocity, abs=60.0)
    extent, _ = spread(found)
    assert extent > abs(velocity) - 100.0  # Hβ may take the stronger [O III] for itself


def test_stars_elsewhere_are_not_coherent():
    extent, _ = spread(measured(stars(-800.0) + lines({})))
    assert extent > 600.0
    halves = np.where(WAVELENGTH < 5000 * (1 + Z), stars(), stars(900.0))
    extent, count = spread(measured(halves))
    assert extent > 600.0 and count >= 2


def test_small_differences_are_tolerated():
    extent, _ = spread(measured(stars() + lines(dict.fromkeys(("OIII4959", "OIII5007"), 150.0))))
    assert 100.0 < extent < 300.0


def test_what_is_not_there_agrees_with_nothing():
    noise = 1.0 + 0.1 * GENERATOR.normal(size=(200, WAVELENGTH.size))
    _, count = spread(measured(noise, 0.0))
    assert count.max() <= 1 and count.mean() < 0.01
    found = measured(np.stack([stars()] * 50))
    for name in ("Halpha", "OIII", "Hbeta"):
        assert np.isfinite(found[velocity_column(name)]).mean() < 0.05, name
    assert np.isfinite(found[velocity_column("absorption_blue")]).all()
    for name in RATIOS:
        assert np.isnan(found[name]).all()


def test_lines_that_are_not_covered_or_under_the_sky_line_are_not_used():
    found = measure(WAVELENGTH, (stars() + lines({}))[None], redshift=[0.35], coherence=True)
    assert np.isnan(found["Halpha_velocity"][0])
    z = 5578.9 / 5008.24 - 1.0
    moved = np.interp(WAVELENGTH / (1 + z), WAVELENGTH / (1 + Z), stars() + lines({}))
    found = measure(WAVELENGTH, moved[None], redshift=[z], coherence=True)
    assert np.isnan(found["OIII_velocity"][0]) and abs(found["Halpha_velocity"][0]) < 60.0


def test_units_of_flux_do_not_matter_and_empty_spectra_have_nothing():
    flux = (stars() + lines({}) + 0.1 * GENERATOR.normal(size=WAVELENGTH.size))[None]
    z = np.array([Z])
    one, tiny = (measure(WAVELENGTH, flux * u, redshift=z, coherence=True) for u in (1.0, 1e-17))
    empty = measure(WAVELENGTH, flux * np.nan, redshift=z, coherence=True)
    for name in coherence_units():
        np.testing.assert_allclose(tiny[name], one[name], rtol=1e-3, atol=0.1, err_msg=name)
        assert np.isnan(empty[name]).all()


@pytest.fixture(scope="module")
def mock(tmp_path_factory) -> Survey:
    path = tmp_path_factory.mktemp("mock") / "mock.h5"
    return Survey(make_mock(path, 160, seed=11, workers=1, progress=False))


def test_galaxies_of_the_mock_are_coherent_and_stitched_ones_are_not(mock):
    rows = np.arange(len(mock))
    flux, z = mock.read("spectra", rows), mock.catalogue["z"]
    wavelength = mock.grid.angstrom
    extent, count = spread(measure(wavelength, flux, redshift=z, coherence=True))
    assert np.mean(count > 1) > 0.9
    assert np.mean(extent[count > 1] <= 300.0) >= 0.98
    other = np.roll(rows, 1)
    halves = np.where(wavelength < 5500.0, flux, flux[other])
    extent, count = spread(measure(wavelength, halves, redshift_range=(0.0, 0.2), coherence=True))
    velocity = np.abs(z - z[other]) / (1.0 + z) * SPEED_OF_LIGHT_KM_S
    apart = (count > 1) & (velocity > 600.0) & (velocity < 15000.0)
    assert apart.sum() > 60
    assert np.mean(extent[apart] <= 300.0) < 0.25


@needs_real_data
def test_galaxies_of_sdss_are_coherent():
    with h5py.File(REAL_DATA / "sdss_spectra.h5") as file:
        rows = np.flatnonzero(file["zwarning"][:] == 0)[::4]
        flux, ivar, z = (file[name][:][rows] for name in ("flux", "ivar", "z"))
        wavelength = 10.0 ** file["loglam"][:]
    flux = np.where(ivar > 0, flux, np.nan)
    found = measure(wavelength, flux, redshift=z, coherence=True)
    extent, count = spread(found)
    assert np.mean(count > 1) > 0.95
    assert np.mean(extent[count > 1] <= 300.0) >= 0.97
    for name, ratio in (("OIII_ratio", 2.98), ("NII_ratio", 3.05)):
        assert np.nanmedian(found[name]) == pytest.approx(ratio, rel=0.03)
    decrement = found["balmer_decrement"]
    assert np.mean(decrement[np.isfinite(decrement)] >= 2.7) > 0.95
    for name in FEATURES:
        velocity = found[velocity_column(name)]
        assert np.mean(np.abs(velocity[np.isfinite(velocity)]) <= 300.0) > 0.95
