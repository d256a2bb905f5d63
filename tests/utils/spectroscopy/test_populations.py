"""Stellar populations: what was put in comes out."""

import sys

import numpy as np
import pytest
from astropy.io import fits
from scipy.interpolate import CubicSpline
from scipy.optimize import nnls

from datasets.constants import SPEED_OF_LIGHT_KM_S
from datasets.errors import UserError
from datasets.wavelengths import refractive_index
from tests.datasets.test_process_pool import die
from tests.support import REAL_DATA, needs_real_data
from utils.spectroscopy import populations
from utils.spectroscopy.broadening import LEVELS_KM_S, BroadenedLibrary
from utils.spectroscopy.dust import calzetti_2000, transmission
from utils.spectroscopy.kinematics import NonNegativeFit
from utils.spectroscopy.populations import POPULATION_UNITS, fit_populations
from utils.spectroscopy.ssp_library import SspLibrary, read_library
from utils.spectroscopy.wavelength import REST_GRID

SDSS = 10.0 ** (3.5801 + 1e-4 * np.arange(3851))


@pytest.fixture(scope="module")
def mastar() -> SspLibrary:
    return read_library(REAL_DATA / "ssp")


def broadened(flux: np.ndarray, sigma_km_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Convolution by direct summation on pixels of 7 km/s: λ and flux."""
    optical = slice(2100, 5000)
    x = np.log(REST_GRID.angstrom[optical])
    fine = np.linspace(x[0], x[-1], 29000)
    step = fine[1] - fine[0]
    offset = step * np.arange(-400, 401)
    kernel = np.exp(-0.5 * (offset * SPEED_OF_LIGHT_KM_S / sigma_km_s) ** 2)
    values = np.convolve(CubicSpline(x, flux[optical])(fine), kernel / kernel.sum(), "same")
    return np.exp(fine), values


@needs_real_data
@pytest.mark.parametrize(("sigma_star", "velocity", "ebv"), [(110.0, 60.0, 0.0), (220.0, 0.0, 0.2)])
def test_a_mixture_behind_dust_is_recovered(mastar, sigma_star, velocity, ebv):
    old = np.argmin(np.abs(mastar.age_gyr - 9.0) + np.abs(mastar.metallicity))
    young = np.argmin(np.abs(mastar.age_gyr - 0.3) + np.abs(mastar.metallicity))
    redshift = 0.05
    wavelength, flux = broadened(0.7 * mastar.flux[old] + 0.3 * mastar.flux[young], sigma_star)
    stretch = (1.0 + redshift) * (1.0 + velocity / SPEED_OF_LIGHT_KM_S)
    flux = np.interp(SDSS, wavelength * stretch, flux * transmission(wavelength, ebv))
    sigma = np.full((1, SDSS.size), np.median(flux) / 60.0)
    noisy = flux + np.random.default_rng(2).normal(0.0, sigma)
    fit = fit_populations(
        SDSS,
        noisy,
        sigma,
        np.array([redshift]),
        mastar,
        instrument_km_s=np.interp(SDSS, REST_GRID.angstrom * stretch, mastar.sigma_km_s),
    )
    assert set(fit) == set(POPULATION_UNITS)
    log_age = 0.7 * np.log10(mastar.age_gyr[old]) + 0.3 * np.log10(mastar.age_gyr[young])
    assert fit["sigma_star"][0] == pytest.approx(sigma_star, abs=8.0)
    assert fit["stellar_velocity"][0] == pytest.approx(velocity, abs=8.0)
    assert fit["ebv"][0] == pytest.approx(ebv, abs=0.03)
    assert fit["log_age_gyr"][0] == pytest.approx(log_age, abs=0.12)
    assert fit["metallicity"][0] == pytest.approx(0.0, abs=0.1)
    assert 0.5 < fit["population_chi2"][0] < 1.2
    assert 1.0 < fit["sigma_star_err"][0] < 10.0
    assert 0.0 < fit["log_age_gyr_err"][0] < 0.2


@needs_real_data
def test_wider_resolution_of_the_galaxy_is_not_taken_for_dispersion(mastar):
    old = np.argmin(np.abs(mastar.age_gyr - 9.0) + np.abs(mastar.metallicity))
    wavelength, flux = broadened(mastar.flux[old], np.hypot(150.0, 90.0))
    flux = np.interp(SDSS, wavelength * 1.03, flux)[None]
    instrument = np.interp(SDSS, REST_GRID.angstrom * 1.03, mastar.sigma_km_s)
    known, ignored = (
        fit_populations(SDSS, flux, None, np.array([0.03]), mastar, instrument_km_s=width)
        for width in (np.hypot(instrument, 90.0), instrument)
    )
    assert known["sigma_star"][0] == pytest.approx(150.0, abs=6.0)
    assert ignored["sigma_star"][0] == pytest.approx(np.hypot(150.0, 90.0), abs=6.0)


@needs_real_data
def test_processes_give_the_same_columns(mastar, monkeypatch):
    monkeypatch.setattr(populations, "CHUNK", 2)
    old, young = mastar.flux[[-1, 0]]
    flux = np.stack([np.interp(SDSS, REST_GRID.angstrom, a * old + young) for a in (1, 3, 9)])
    arguments = SDSS, flux, None, np.zeros(3), mastar
    one, two = (fit_populations(*arguments, workers=workers) for workers in (1, 2))
    for name, column in one.items():
        np.testing.assert_allclose(two[name], column, rtol=1e-6, err_msg=name)


@needs_real_data
def test_a_killed_process_is_reported(mastar, monkeypatch):
    monkeypatch.setattr(populations, "CHUNK", 1)
    monkeypatch.setattr(populations, "_fit_in_process", die)
    with pytest.raises(UserError, match="a process was killed"):
        fit_populations(SDSS, np.ones((2, SDSS.size)), None, np.zeros(2), mastar, workers=2)


@needs_real_data
def test_spectra_that_cannot_be_fitted_are_nan(mastar):
    flux = np.ones((2, SDSS.size))
    flux[1, 200:] = np.nan
    fit = fit_populations(SDSS, flux, None, np.array([np.nan, 0.05]), mastar)
    assert all(np.isnan(column).all() for column in fit.values())


@needs_real_data
def test_spectra_without_stars_are_nan_and_the_others_are_fitted(mastar):
    old = np.argmin(np.abs(mastar.age_gyr - 9.0) + np.abs(mastar.metallicity))
    galaxy = np.interp(SDSS, REST_GRID.angstrom * 1.05, mastar.flux[old])
    noise = np.random.default_rng(1).normal(size=(5, SDSS.size))
    flux = np.stack([galaxy, -galaxy, np.zeros_like(galaxy), *noise])
    fit = fit_populations(SDSS, flux, None, np.full(len(flux), 0.05), mastar)
    assert all(np.isfinite(column[0]) for column in fit.values())
    without = np.isnan(fit["sigma_star"])
    assert without[1:3].all() and all(np.isnan(column[without]).all() for column in fit.values())


@needs_real_data
def test_ppxf_must_be_installed(mastar, monkeypatch):
    monkeypatch.setitem(sys.modules, "ppxf.ppxf", None)
    with pytest.raises(UserError, match="pip install ppxf"):
        fit_populations(SDSS, np.ones((1, SDSS.size)), None, np.zeros(1), mastar, engine="ppxf")
    with pytest.raises(ValueError, match="engine must be"):
        fit_populations(SDSS, np.ones((1, SDSS.size)), None, np.zeros(1), mastar, engine="best")


@needs_real_data
def test_a_broadened_library_interpolates_between_its_levels(mastar):
    bank = BroadenedLibrary(mastar)
    size = bank.grid.count
    direct = bank.at(np.full(size, 120.0**2))
    np.testing.assert_allclose(direct, bank.levels[:, 4].T)
    between = bank.part(np.array([3])).at(np.full(size, 105.0**2))
    assert between.shape == (size, 1)
    low, high = bank.levels[3, 3], bank.levels[3, 4]
    assert np.all(between[:, 0] <= np.maximum(low, high) + 1e-12)
    assert np.all(between[:, 0] >= np.minimum(low, high) - 1e-12)


@needs_real_data
def test_every_pixel_has_the_width_of_its_variance(mastar):
    bank, chosen = BroadenedLibrary(mastar), np.array([5, 1])
    variance = np.linspace(-100.0, 250.0**2, bank.grid.count)
    found = bank.at(variance)
    for pixel in (0, 700, 1900, bank.grid.count - 1):
        levels = bank.levels[:, :, pixel]
        expected = [np.interp(variance[pixel], LEVELS_KM_S**2, values) for values in levels]
        np.testing.assert_allclose(found[pixel], expected, rtol=1e-12)
    np.testing.assert_array_equal(bank.part(chosen).at(variance), found[:, chosen])


def test_non_negative_fit_agrees_with_the_direct_solution():
    generator = np.random.default_rng(3)
    design, data = generator.normal(size=(300, 20)), generator.normal(size=300)
    fit = NonNegativeFit(design)
    weights, chi2 = fit.weights(data), fit.minimum(data)
    expected, norm = nnls(design, data)
    np.testing.assert_allclose(weights, expected, atol=1e-7)
    assert chi2 == pytest.approx(norm**2)


def test_calzetti_at_the_bands_that_define_it():
    assert calzetti_2000(np.array(5500.0)) == pytest.approx(4.05, abs=0.05)
    assert calzetti_2000(np.array(4400.0)) - calzetti_2000(np.array(5500.0)) == pytest.approx(
        1.0, abs=0.1
    )
    assert transmission(np.array(5500.0), 0.0) == 1.0


def write_emiles(path, line_angstrom: float) -> None:
    air = 1680.2 + 0.9 * np.arange(9000)
    flux = 1.0 - 0.5 * np.exp(-0.5 * ((air - line_angstrom) / 3.0) ** 2)
    header = fits.Header({"CRVAL1": 1680.2, "CDELT1": 0.9, "CRPIX1": 1.0})
    fits.PrimaryHDU(flux.astype(np.float32), header).writeto(path)


def write_bc03(path, ages_yr: list[float], line_angstrom: float) -> None:
    air = np.arange(1500.0, 9000.0)
    flux = 1.0 - 0.5 * np.exp(-0.5 * ((air - line_angstrom) / 3.0) ** 2)
    numbers = [f"{len(ages_yr)} {' '.join(map(str, ages_yr))}"]
    numbers += ["0.10 100.00 2", "0.1 1.0 1.3", "BC03 Z=0.02 X=0.7", "BC03 Z=0.02 X=0.7", "text"]
    numbers.append(f"{air.size} {' '.join(map(str, air))}")
    for k in range(len(ages_yr)):
        numbers.append(f"{air.size} {' '.join(map(str, np.round((k + 1) * flux, 6)))}")
        numbers.append("3 0.1 0.2 0.3")
    path.write_text("\n".join(numbers) + "\n")


def centre_of_absorption(library: SspLibrary, near: float) -> float:
    part = REST_GRID.part(near - 30.0, near + 30.0)
    depth = library.flux[0, part].max() - library.flux[0, part]
    return float(np.sum(depth * REST_GRID.angstrom[part]) / depth.sum())


def test_emiles_files(tmp_path):
    for name in ("Ech1.30Zp0.06T01.0000", "Ech1.30Zm0.40T10.0000"):
        write_emiles(tmp_path / f"{name}_iTp0.00_baseFe.fits", 5889.95)
    library = read_library(tmp_path)
    assert library.name == "E-MILES"
    assert sorted(zip(library.metallicity, library.age_gyr, strict=True)) == [(-0.4, 10), (0.06, 1)]
    assert centre_of_absorption(library, 5890.0) == pytest.approx(5891.58, abs=0.05)
    at_5500 = np.argmin(np.abs(REST_GRID.angstrom - 5500.0))
    expected = SPEED_OF_LIGHT_KM_S * 2.51 / 5500.0 / 2.3548
    assert library.sigma_km_s[at_5500] == pytest.approx(expected, rel=1e-3)


def test_bc03_files(tmp_path):
    write_bc03(tmp_path / "bc2003_hr_m62_chab_ssp.ised_ASCII", [0.0, 1e8, 1e9, 1e10], 5183.6)
    library = read_library(tmp_path)
    assert library.name == "BC03"
    np.testing.assert_allclose(library.age_gyr, [0.1, 1.0, 10.0])
    np.testing.assert_allclose(library.metallicity, 0.0)
    line = centre_of_absorption(library, 5184.0)
    assert line / refractive_index(line) == pytest.approx(5183.6, abs=0.05)
    np.testing.assert_allclose(library.flux[0], library.flux[2], atol=1e-5)


def test_a_folder_without_a_library(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UserError, match="no file of a stellar library"):
        read_library(tmp_path)
    (tmp_path / "Ech1.30Zp0.06T01.0000_iTp0.00_baseFe.fits").write_text("broken")
    with pytest.raises(UserError, match=r"T01\.0000_iTp0\.00_baseFe\.fits: not a E-MILES file"):
        read_library(tmp_path)
