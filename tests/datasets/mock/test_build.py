"""The mock survey: its physics against what is known of SDSS galaxies, and its reproducibility."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy.signal import find_peaks

from datasets.constants import SDSS_FIBRE_ARCSEC, SDSS_PIXEL_ARCSEC
from datasets.errors import UserError
from datasets.mock import build, images, lines, observe, simulate, stars
from datasets.mock import catalogue as sky
from datasets.mock.__main__ import main
from datasets.mock.build import make_mock
from datasets.mock.catalogue import QUIESCENT, STAR_FORMING
from datasets.sdss.spec_files import read_spectra_collection
from datasets.survey import Survey
from datasets.synthetic_photometry import filter_weights
from tests.datasets.test_process_pool import die
from tests.support import REAL_DATA, needs_real_data

COUNT = 480
SEED = 3


@pytest.fixture(scope="module")
def survey(tmp_path_factory) -> Survey:
    path = tmp_path_factory.mktemp("mock") / "mock.h5"
    return Survey(make_mock(path, COUNT, SEED, workers=1, progress=False))


@pytest.fixture(scope="module")
def types(survey) -> np.ndarray:
    return survey.catalogue["type"]


def test_dn4000_is_bimodal(survey, types):
    dn4000 = survey.truth("dn4000")
    forming, quiescent = dn4000[types == STAR_FORMING], dn4000[types == QUIESCENT]
    assert 1.25 < np.median(forming) < 1.35
    assert 1.80 < np.median(quiescent) < 1.92
    assert 0.06 < np.std(quiescent) < 0.12
    counts, _ = np.histogram(dn4000, np.arange(1.05, 2.3, 0.1))
    assert len(find_peaks(counts, prominence=0.05 * COUNT)[0]) == 2
    # A green valley, not a desert.
    assert 0.06 < np.mean((dn4000 > 1.45) & (dn4000 < 1.65)) < 0.25


def test_colour_follows_type_and_dust(survey, types):
    g_r = survey.catalogue["mag_g"] - survey.catalogue["mag_r"]
    assert 0.88 < np.median(g_r[types == QUIESCENT]) < 1.05
    assert 0.45 < np.median(g_r[types == STAR_FORMING]) < 0.70
    forming = types == STAR_FORMING
    assert np.corrcoef(survey.truth("a_v")[forming], g_r[forming])[0, 1] > 0.4


def test_metals_rise_with_mass_and_flatten(survey, types):
    forming = types == STAR_FORMING
    mass, metals = survey.truth("log_mass")[forming], survey.truth("log_oh")[forming]
    low = np.polyfit(mass[mass < 10.2], metals[mass < 10.2], 1)[0]
    high = np.polyfit(mass[mass > 10.2], metals[mass > 10.2], 1)[0]
    assert low == pytest.approx(0.45, abs=0.25)
    assert 0 < high < low


def test_line_ratios_lie_where_they_should(survey, types):
    ratio = [
        np.log10(survey.truth(f"flux_{a}") / survey.truth(f"flux_{b}"))
        for a, b in (("nii_6585", "halpha"), ("oiii_5008", "hbeta"))
    ]
    kauffmann = 0.61 / (np.minimum(ratio[0], 0.0) - 0.05) + 1.30
    forming = (types == STAR_FORMING) & (survey.truth("nucleus") == sky.NO_AGN)
    assert np.mean(ratio[1][forming] < kauffmann[forming]) > 0.95
    seyfert = survey.truth("nucleus") == sky.SEYFERT
    assert np.mean(survey.truth("bpt_class")[seyfert] > 0) > 0.8
    # The star-forming sequence is long: from metal-poor to metal-rich.
    assert (
        np.percentile(ratio[0][forming], 2) < -0.75 < -0.45 < np.percentile(ratio[0][forming], 90)
    )
    for pair in (("oiii_5008", "oiii_4960"), ("nii_6585", "nii_6550")):
        doublet = survey.truth(f"flux_{pair[0]}") / survey.truth(f"flux_{pair[1]}")
        np.testing.assert_allclose(doublet, 3.0, rtol=0.04)  # dust takes a little more in the blue
    assert (survey.truth("flux_halpha") / survey.truth("flux_hbeta")).min() > 2.8


def test_line_flux_is_in_the_noiseless_spectrum(survey):
    """Hα + [N II] summed over the spectrum minus its continuum against the truth."""
    rows = np.flatnonzero(survey.truth("ew_halpha") > 25)[:40]
    z = survey.catalogue["z"][rows]
    rest = survey.grid.angstrom / (1 + z[:, None])
    flux = survey.truth("noiseless", rows)
    side = ((rest > 6500) & (rest < 6520)) | ((rest > 6615) & (rest < 6635))
    level = (flux * side).sum(axis=1) / side.sum(axis=1)
    inside = (rest > 6525) & (rest < 6610)
    width = ((flux / level[:, None] - 1) * inside).sum(axis=1) / (1 + z)
    truth = sum(survey.truth(f"ew_{name}", rows) for name in ("halpha", "nii_6550", "nii_6585"))
    # The absorption under Hα takes some Å away.
    np.testing.assert_allclose(width + 2.2, truth, atol=2.5, rtol=0.05)


def test_velocity_dispersion_and_redshift_of_a_line():
    """A narrow line ends at lambda (1 + z) with the asked width added in quadrature."""
    rest, sigma, z = 5000.0, 180.0, np.array([0.1])
    offset = (np.arange(stars.LOG_WAVELENGTH.size) - stars.pixel_of(rest)) * stars.PIXEL_KMS
    narrow = np.exp(-0.5 * (offset / 150.0) ** 2).astype(np.float32)[None, None]
    moved = stars.broaden_and_shift(narrow, np.array([sigma]), z)[0, 0].astype(float)
    velocity = (np.arange(moved.size) - stars.pixel_of(rest * (1 + z[0]))) * stars.PIXEL_KMS
    mean = (moved * velocity).sum() / moved.sum()
    spread = np.sqrt((moved * (velocity - mean) ** 2).sum() / moved.sum())
    assert abs(mean) < 0.5
    assert spread == pytest.approx(np.hypot(sigma, 150.0), rel=2e-3)
    assert moved.sum() == pytest.approx(narrow.sum(), rel=1e-5)


def test_absorption_widens_with_velocity_dispersion():
    galaxy = {"metallicity": np.zeros(2), "a_v": np.zeros(2), "z": np.zeros(2)}
    galaxy["sigma_star_kms"] = np.array([70.0, 300.0])
    weights = np.zeros((2, 3, 4))
    weights[:, 0, stars.OLD] = 1
    cold, hot = stars.component_spectra(galaxy, weights)[:, 0]
    inside = (stars.WAVELENGTH_ANGSTROM > 5000) & (stars.WAVELENGTH_ANGSTROM < 5500)
    assert np.diff(cold[inside]).std() > 2 * np.diff(hot[inside]).std()
    assert cold[inside].mean() == pytest.approx(hot[inside].mean(), rel=2e-3)


def test_r_band_photometry_of_images(survey):
    """Cutouts of small galaxies hold the catalogue's flux to 2 %, without their neighbours."""
    streams, galaxies = sky.sample(SEED, 0, simulate.BLOCK)
    galaxies.update(simulate._appearance(galaxies, streams))
    maps = images.scene(galaxies, streams)
    psf = images.seeing(np.broadcast_to(images.SEEING_ARCSEC, (simulate.BLOCK, 5)))
    nobody = np.empty(0, int), maps[:0, 0], np.zeros((0, 5))
    fluxes = survey.truth("total_nanomaggies", np.arange(simulate.BLOCK))
    one = fluxes[:, None] * np.array([0.2, 0.3, 0.5, 0.0])[:, None]
    cutouts = images.render(maps, one, psf, nobody)
    small = galaxies["radius_arcsec"] < 2.5
    assert small.sum() > 8
    measured = cutouts.sum(axis=(2, 3))[small]
    np.testing.assert_allclose(
        measured[:, 2], 10 ** (0.4 * (22.5 - galaxies["r"][small])), rtol=0.02
    )
    np.testing.assert_allclose(measured, fluxes[small], rtol=0.03)


def test_noise_of_images_is_that_of_the_sky(survey):
    rows = np.flatnonzero(survey.truth("radius_arcsec") < 1.6)[:60]
    corners = survey.read("images", rows)[:, :, :8, :8]
    spread = 1.4826 * np.median(
        np.abs(corners - np.median(corners, (0, 2, 3))[:, None, None]), (0, 2, 3)
    )
    np.testing.assert_allclose(spread, images.SKY_NANOMAGGY, rtol=0.1)


def test_fibre_colours_of_image_and_spectrum_agree(survey):
    """Aperture photometry of the noisy cutouts against the noiseless spectrum's, r - i."""
    rows = np.flatnonzero(survey.catalogue["mag_r"] < 17.3)
    pixel = np.arange(64) - 31.5
    aperture = np.hypot(pixel[:, None], pixel) < SDSS_FIBRE_ARCSEC / 2 / SDSS_PIXEL_ARCSEC
    cutouts = survey.read("images", rows)
    sky_level = np.median(cutouts[:, :, :6, :6], axis=(2, 3))
    flux = ((cutouts - sky_level[:, :, None, None]) * aperture).sum(axis=(2, 3))
    r_i = 2.5 * np.log10(flux[:, 3] / flux[:, 2])
    weights = filter_weights(survey.grid.angstrom, ("r", "i"))
    synthetic = survey.truth("noiseless", rows) @ weights.T
    difference = r_i - 2.5 * np.log10(synthetic[:, 1] / synthetic[:, 0])
    # The seeing is better in i than in r, by as much as brings 1-2 % more light into the fibre.
    assert np.median(difference) == pytest.approx(0.013, abs=0.01)
    # Zero points scatter by 0.014 in r - i; aperture and fibre differ in seeing and position.
    assert np.percentile(np.abs(difference - np.median(difference)), 68) < 0.03
    own = survey.truth("fibre_nanomaggies", rows)
    expected = 2.5 * np.log10(own[:, 3] / own[:, 2] / (synthetic[:, 1] / synthetic[:, 0]))
    assert np.median(np.abs(expected)) < 0.01


@pytest.mark.parametrize("profile", [images.DE_VAUCOULEURS, images.EXPONENTIAL])
def test_gaussian_mixtures_are_sersic_profiles(profile):
    weights, sigma = images.mixture(profile)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    half_light = 1 - (weights * np.exp(-0.5 / sigma**2)).sum()
    assert half_light == pytest.approx(0.5, abs=0.01)
    x = np.geomspace(0.05, 2.0, 40)
    mixture = (weights / sigma**2 * np.exp(-0.5 * (x[:, None] / sigma) ** 2)).sum(axis=1)
    b = {4.0: 7.669, 1.0: 1.678}[profile[0]]
    # The mixture's radius is that of the truncated profile; it may scale by some per cent.
    shapes = [np.exp(-b * ((s * x) ** (1 / profile[0]))) for s in np.linspace(0.8, 1.2, 81)]
    errors = [np.std(np.log(mixture / shape)) for shape in shapes]
    assert min(errors) < 0.05


def test_lines_conserve_flux():
    flux = np.zeros((1, len(lines.LINE_NAMES)))
    flux[0, simulate.HALPHA] = 50.0
    spectrum = np.zeros((1, observe.FIBRE_PIXELS))
    lines.add_lines(spectrum, flux, np.array([120.0]), np.array([0.08]), observe.FIRST_PIXEL)
    assert np.trapezoid(spectrum[0], observe.FIBRE_ANGSTROM) == pytest.approx(50.0, rel=2e-3)
    peak = observe.FIBRE_ANGSTROM[spectrum[0].argmax()]
    assert peak == pytest.approx(6564.61 * 1.08, abs=1.0)


def test_same_galaxies_whatever_the_workers_and_the_count(tmp_path, survey):
    parallel = Survey(make_mock(tmp_path / "two.h5", 70, SEED, workers=2, progress=False))
    rows = np.arange(70)
    for name in ("images", "spectra", "normalisation", "interpolated"):
        np.testing.assert_array_equal(parallel.read(name, rows), survey.read(name, rows))
    for name, values in parallel.catalogue.items():
        np.testing.assert_array_equal(values, survey.catalogue[name][:70])
    np.testing.assert_array_equal(parallel.truth("dn4000"), survey.truth("dn4000", rows))


def test_a_killed_process_ends_the_command_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "simulate", die)
    with pytest.raises(UserError, match="a process was killed"):
        make_mock(tmp_path / "mock.h5", 70, SEED, workers=2, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_another_seed_gives_other_galaxies(tmp_path, survey):
    other = Survey(make_mock(tmp_path / "other.h5", 8, SEED + 1, workers=1, progress=False))
    assert not set(other.catalogue["identifier"]) & set(survey.catalogue["identifier"])
    assert not np.isin(other.catalogue["z"], survey.catalogue["z"]).any()


def test_catalogue_is_one_of_a_survey(survey):
    catalogue = survey.catalogue
    assert catalogue["identifier"].dtype == np.uint64
    assert np.unique(catalogue["identifier"]).size == COUNT
    assert (catalogue["z"] > 0.05).all() and (catalogue["z"] < 0.15).all()
    bright, faint = sky.MAGNITUDE_LIMITS
    np.testing.assert_allclose(
        catalogue["mag_r"], 22.5 - 2.5 * np.log10(survey.truth("total_nanomaggies")[:, 2])
    )
    assert (catalogue["mag_r"] > bright).all() and (catalogue["mag_r"] < faint).all()
    assert survey.image_unit == "nanomaggy"


def test_command_refuses_to_overwrite(tmp_path, capsys):
    path = tmp_path / "mock.h5"
    arguments = [str(path), "--count", "3", "--seed", "5", "--workers", "1", "--quiet"]
    assert main(arguments) == 0
    with h5py.File(path) as file:
        assert len(file["images"]) == 3
    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert main([str(tmp_path / "none.h5"), "--count", "0"]) == 2


@needs_real_data
def test_breaks_and_colours_lie_among_those_of_real_galaxies(survey, types):
    """Rest-frame Dn4000 and a rest-frame colour, measured alike on mock and real spectra."""
    collection = read_spectra_collection(REAL_DATA / "sdss_spectra.h5")
    columns = collection.catalogue
    morph = columns["morph"]
    used = (columns["zwarning"] == 0) & (columns["sn"] > 12) & (columns["z"] < 0.05)
    kinds = {"early": (types == QUIESCENT, used & (morph == "E"))}
    kinds["late"] = (types == STAR_FORMING, used & np.isin(morph, ("Sp", "Ir")))
    # The real galaxies are nearby: the fibre sees their centres, redder than what it sees of the
    # mock's. Late types differ most.
    for kind, shift in (("early", 0.20), ("late", 0.30)):
        ours, theirs = kinds[kind]
        mock = _break_and_colour(
            survey.grid.angstrom, survey.read("spectra", np.flatnonzero(ours)),
            survey.catalogue["z"][ours],
        )  # fmt: skip
        real = _break_and_colour(
            collection.wavelength_angstrom, collection.flux[theirs], columns["z"][theirs]
        )
        for mine, other in zip(mock, real, strict=True):
            low, high = np.nanpercentile(other, (1, 99))
            assert np.mean((mine > low - 0.1) & (mine < high)) > 0.85
            assert abs(np.nanmedian(mine) - np.nanmedian(other)) < shift


def _break_and_colour(wavelength, flux, z) -> tuple[np.ndarray, np.ndarray]:
    rest = wavelength / (1 + z[:, None])
    f_nu = np.where(flux != 0, flux, np.nan) * wavelength**2

    def mean(low: float, high: float) -> np.ndarray:
        inside = (rest > low) & (rest < high)
        return np.nanmean(np.where(inside, f_nu, np.nan), axis=1)

    return mean(4001, 4101) / mean(3851, 3951), 2.5 * np.log10(mean(5400, 5850) / mean(4050, 4500))
