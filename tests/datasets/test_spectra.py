"""The preparation of spectra: golden output, closed forms, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.spectra import (
    METHOD_GRID,
    NATIVE_GRID,
    UNUSABLE_BITS,
    Preparation,
    SpectrumError,
    WavelengthGrid,
    prepare_spectrum,
    signal_to_noise,
)
from tests.support import GOLDEN as GOLDEN_DIR

GOLDEN = GOLDEN_DIR / "preprocessing.npz"
LOGLAM = 3.58 + 1e-4 * np.arange(3850)
WAVELENGTH = 10**LOGLAM


def ramp(wavelength=WAVELENGTH):
    """A straight line, which a cubic spline and a symmetric kernel reproduce exactly."""
    return 3.0 + 2e-4 * wavelength


def test_original_mode_reproduces_the_published_code():
    golden = np.load(GOLDEN)
    prepared = prepare_spectrum(
        golden["wavelength"], golden["flux"], preparation=Preparation.original()
    )
    np.testing.assert_allclose(prepared.flux, golden["full_resolution_none"], atol=1e-5)
    np.testing.assert_allclose(np.log(prepared.flux), golden["full_resolution_log"], atol=1e-5)
    np.testing.assert_allclose(prepared.flux[::8], golden["low_resolution_none"], atol=1e-5)
    np.testing.assert_allclose(np.log(prepared.flux[::8]), golden["low_resolution_log"], atol=1e-5)


def test_default_mode_differs_from_the_original_only_by_scale_away_from_the_edges():
    golden = np.load(GOLDEN)
    ratio = (
        prepare_spectrum(golden["wavelength"], golden["flux"]).flux
        / np.load(GOLDEN)["full_resolution_none"]
    )
    np.testing.assert_allclose(ratio[8:-8], np.median(ratio), rtol=1e-3)
    assert ratio[0] / np.median(ratio) == pytest.approx(1 / 0.60, abs=0.02)  # the edge loss


@pytest.mark.parametrize("beyond_angstrom", [500.0, 0.5])
def test_a_constant_spectrum_has_no_edge(beyond_angstrom):
    """Also where the data end with the grid: the kernel is renormalised there."""
    wavelength = np.arange(4000 - beyond_angstrom, 8499 + beyond_angstrom + 0.9, 0.9)
    prepared = prepare_spectrum(wavelength, np.full(len(wavelength), 7.0))
    np.testing.assert_allclose(prepared.flux, 1.0, rtol=1e-6)
    assert prepared.normalisation == pytest.approx(7.0)


def test_a_straight_line_passes_unchanged():
    prepared = prepare_spectrum(WAVELENGTH, ramp())
    linear = prepared.flux * prepared.normalisation
    np.testing.assert_allclose(linear, ramp(METHOD_GRID.angstrom), rtol=1e-6)
    assert prepared.normalisation == pytest.approx(ramp(6249.5))
    assert prepared.offset == 0
    assert not prepared.interpolated.any()


def test_smoothing_adds_its_variance_to_a_line():
    """σ² adds: a Gaussian line of σ = 3 Å and unit area keeps its area and gets √(9 + 4) Å."""
    line = np.exp(-0.5 * ((WAVELENGTH - 6000) / 3) ** 2) / (3 * np.sqrt(2 * np.pi))
    prepared = prepare_spectrum(WAVELENGTH, 1 + line)
    profile = prepared.flux.astype(float) * prepared.normalisation - 1
    near = slice(1950, 2051)  # 5950 … 6050 Å
    offset = METHOD_GRID.angstrom[near] - 6000
    assert profile[near].sum() == pytest.approx(1.0, rel=1e-3)
    variance = (profile[near] * offset**2).sum() / profile[near].sum()
    assert np.sqrt(variance) == pytest.approx(np.sqrt(13), rel=5e-3)  # the kernel ends at 4 σ


@pytest.mark.parametrize("how", ["ivar", "nan", *UNUSABLE_BITS])
def test_bad_pixels_are_interpolated_and_marked(how):
    flux, ivar, mask = ramp(), np.ones(len(WAVELENGTH)), np.zeros(len(WAVELENGTH), dtype=int)
    hit = slice(1500, 1510)
    flux[hit] = np.nan if how == "nan" else 1e4
    if how == "ivar":
        ivar[hit] = 0
    elif how in UNUSABLE_BITS:
        mask[hit] = 1 << UNUSABLE_BITS[how]
    prepared = prepare_spectrum(WAVELENGTH, flux, ivar, mask)
    np.testing.assert_allclose(
        prepared.flux * prepared.normalisation, ramp(METHOD_GRID.angstrom), rtol=1e-5
    )
    marked = METHOD_GRID.angstrom[prepared.interpolated]
    # a grid pixel is marked if one of its two native neighbours is bad
    assert WAVELENGTH[1499] < marked.min() and marked.max() < WAVELENGTH[1510]
    assert len(marked) == np.floor(WAVELENGTH[1510]) - np.floor(WAVELENGTH[1499])


def test_harmless_mask_bits_and_the_original_mode_leave_pixels_alone():
    flux = ramp() + np.sin(WAVELENGTH)
    mask = np.full(len(WAVELENGTH), 1 << 16 | 1 << 27)  # NEARBADPIXEL, BADSKYCHI: warnings
    assert not prepare_spectrum(WAVELENGTH, flux, None, mask).interpolated.any()
    no_data = np.zeros(len(WAVELENGTH))
    original = prepare_spectrum(WAVELENGTH, flux, no_data, preparation=Preparation.original())
    assert not original.interpolated.any()


def test_too_many_bad_pixels_are_refused():
    ivar = np.ones(len(WAVELENGTH))
    ivar[1000:1200] = 0
    assert prepare_spectrum(WAVELENGTH, ramp(), ivar).interpolated.sum() > 200
    ivar[1000:2000] = 0
    with pytest.raises(SpectrumError, match="% of the pixels are bad"):
        prepare_spectrum(WAVELENGTH, ramp(), ivar)
    with pytest.raises(SpectrumError, match="no usable pixels"):
        prepare_spectrum(WAVELENGTH, ramp(), 0 * ivar)


@pytest.mark.parametrize(("first", "last"), [(4010, 9000), (3800, 8400)])
def test_spectra_that_do_not_cover_the_grid_are_refused(first, last):
    inside = np.abs(WAVELENGTH - (first + last) / 2) < (last - first) / 2
    with pytest.raises(SpectrumError, match="the grid needs 4000-8499"):
        prepare_spectrum(WAVELENGTH[inside], ramp()[inside])
    with pytest.raises(SpectrumError, match="the grid needs 4000-8499"):
        prepare_spectrum(WAVELENGTH, ramp(), inside.astype(float))  # ivar 0: no data there


def test_a_normalisation_that_is_not_positive_is_refused():
    with pytest.raises(SpectrumError, match="median over 5500-7000 Å is -"):
        prepare_spectrum(WAVELENGTH, -ramp())


def test_wavelengths_must_increase():
    with pytest.raises(SpectrumError, match="increase"):
        prepare_spectrum(WAVELENGTH[::-1], ramp())


def test_median_is_not_moved_by_a_line_in_the_window_and_the_mean_is():
    """Hα of the galaxies at 0.051 < z < 0.059 lies in the published window."""
    line = 30 * np.exp(-0.5 * ((WAVELENGTH - 6925) / 4) ** 2)
    window = (6900.0, 6950.0)
    mean, median = (
        prepare_spectrum(WAVELENGTH, 1 + line, preparation=Preparation(name, window)).normalisation
        for name in ("mean", "median")
    )
    assert mean > 5 and median < 2


def test_native_grid_without_resampling_returns_the_data():
    """The 2022 paper: 3598 native pixels, scaled by minimum and maximum."""
    flux = np.random.default_rng(0).normal(10, 3, len(WAVELENGTH))
    plain = Preparation("minmax", (3800.0, 9000.0), smoothing_sigma_angstrom=0)
    prepared = prepare_spectrum(WAVELENGTH, flux, grid=NATIVE_GRID, preparation=plain)
    assert prepared.flux.min() == 0 and prepared.flux.max() == 1
    restored = prepared.flux * prepared.normalisation + prepared.offset
    np.testing.assert_allclose(restored, flux[101 : 101 + 3598], atol=1e-5)
    with pytest.raises(ValueError, match="linear grid"):
        prepare_spectrum(WAVELENGTH, flux, grid=NATIVE_GRID)


def test_grids():
    assert METHOD_GRID.angstrom[[0, -1]].tolist() == [4000, 8499]
    low = METHOD_GRID.every(8)
    assert low.count == 563
    np.testing.assert_array_equal(low.angstrom, METHOD_GRID.angstrom[::8])
    assert np.log10(NATIVE_GRID.angstrom[-1]) == pytest.approx(3.9498)
    with pytest.raises(ValueError, match="spacing"):
        WavelengthGrid(spacing="cubic")


@given(
    st.builds(
        Preparation,
        st.sampled_from(["median", "mean", "minmax"]),
        st.tuples(st.floats(4000, 5000), st.floats(5001, 8000)),
        st.floats(0, 9),
        st.sampled_from(["measured", "zero"]),
        st.booleans(),
    )
)
@settings(max_examples=25, deadline=None)
def test_settings_survive_a_dictionary(preparation):
    assert Preparation.from_dict(preparation.to_dict()) == preparation
    assert WavelengthGrid.from_dict(NATIVE_GRID.to_dict()) == NATIVE_GRID


@given(scale=st.floats(1e-3, 1e4), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_prepared_flux_does_not_depend_on_the_unit(scale, seed):
    flux = ramp() + np.random.default_rng(seed).normal(0, 0.2, len(WAVELENGTH))
    one, other = prepare_spectrum(WAVELENGTH, flux), prepare_spectrum(WAVELENGTH, scale * flux)
    np.testing.assert_allclose(one.flux, other.flux, rtol=1e-6)
    assert other.normalisation == pytest.approx(scale * one.normalisation)


def test_signal_to_noise_is_that_of_the_good_pixels_in_the_window():
    """3 per pixel at 5500-7000 Å, 50 elsewhere, and bad pixels of any kind at 1000."""
    inside = (WAVELENGTH >= 5500) & (WAVELENGTH < 7000)
    flux, ivar = np.where(inside, 6.0, 100.0), np.full(len(WAVELENGTH), 0.25)
    mask = np.zeros(len(WAVELENGTH), np.int32)
    assert signal_to_noise(WAVELENGTH, flux, ivar) == 3.0
    bad = np.flatnonzero(inside)[: int(0.7 * inside.sum())]
    flux[bad] = 2000.0
    assert signal_to_noise(WAVELENGTH, flux, ivar) == 1000.0  # the control: they do count
    flux[bad[0::3]], ivar[bad[1::3]] = np.nan, 0.0
    mask[bad[2::3]] = 1 << UNUSABLE_BITS["BRIGHTSKY"]
    assert signal_to_noise(WAVELENGTH, flux, ivar, mask) == 3.0
    assert np.isnan(signal_to_noise(WAVELENGTH, flux, np.zeros(len(flux))))
