"""The mock spectrograph: noise, sky lines, bad pixels and flux calibration as stated."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.mock import observe
from datasets.mock.tables import SKY_LINES
from datasets.spectra import METHOD_GRID, prepare_spectrum

COUNT = 300
FLUX = 12.0
WAVELENGTH = observe.FIBRE_ANGSTROM


def _streams(count: int = COUNT, tag: int = 9) -> list[np.random.Generator]:
    return [np.random.default_rng([tag, i]) for i in range(count)]


@pytest.fixture(scope="module")
def exposure() -> tuple[np.ndarray, np.ndarray]:
    """Pulls and inverse variances of flat spectra without calibration error."""
    flux = np.full((COUNT, observe.FIBRE_PIXELS), FLUX)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observe, "calibration_error", lambda streams: 1.0)
        measured, ivar = observe.expose(flux, _streams())
    return (measured - flux) / observe.error(flux), ivar


def _between_lines() -> np.ndarray:
    lines = np.array([wavelength for wavelength, _ in SKY_LINES])
    return np.abs(WAVELENGTH[:, None] / lines - 1).min(axis=1) > 0.003


def test_noise_between_sky_lines_has_unit_variance_and_correlated_neighbours(exposure):
    pulls, ivar = exposure
    clean = np.where((ivar > 0) & _between_lines(), pulls, np.nan)
    assert np.nanstd(clean) == pytest.approx(1, abs=0.01)
    for lag, expected in ((1, 0.36), (2, 0.032), (3, 0.0)):
        product = np.nanmean(clean[:, lag:] * clean[:, :-lag])
        assert product == pytest.approx(expected, abs=0.015), lag


def test_errors_rise_in_the_blue_and_on_sky_lines():
    sigma = observe.error(np.full((1, observe.FIBRE_PIXELS), FLUX))[0]
    oxygen, beside, blue, red = np.interp([5578, 5560, 3950, 6900], WAVELENGTH, sigma)
    assert oxygen > 4 * beside  # [O I] of the night sky
    assert blue > 2 * red  # poor throughput in the blue


def test_residuals_of_sky_lines_exceed_the_stated_error(exposure):
    pulls, ivar = exposure
    peak = np.abs(WAVELENGTH - observe.OXYGEN_ANGSTROM).argmin()
    good = ivar[:, peak] > 0
    expected = np.hypot(1, observe.OXYGEN_RESIDUAL)
    # 300 values: 4 % standard error; other lines are too far to add to it
    assert pulls[good, peak].std() == pytest.approx(expected, rel=0.15)


def test_bad_pixels_are_marked_and_interpolated(exposure):
    pulls, ivar = exposure
    bad = ivar == 0
    runs = np.count_nonzero(np.diff(bad, axis=1, prepend=False) & bad)
    assert runs == pytest.approx(
        observe.BAD_RUNS * COUNT, abs=4 * np.sqrt(observe.BAD_RUNS * COUNT)
    )
    assert np.abs(pulls[bad]).mean() > 3
    row = np.flatnonzero(bad[:, 200:-200].sum(axis=1) > 5)[0]
    flux = FLUX + pulls[row] * observe.error(np.full((1, observe.FIBRE_PIXELS), FLUX))[0]
    prepared = prepare_spectrum(WAVELENGTH, flux, ivar[row])
    marked = METHOD_GRID.angstrom[prepared.interpolated > 0]
    places = WAVELENGTH[bad[row]]
    places = places[(places > 4010) & (places < 8490)]
    assert np.abs(marked - places[:, None]).min(axis=1).max() < 2


def test_calibration_error_is_smooth_and_four_per_cent():
    factor = np.log(observe.calibration_error(_streams(3000, tag=4)))
    inside = (WAVELENGTH > 4000) & (WAVELENGTH < 8499)
    window = (WAVELENGTH > 5500) & (WAVELENGTH < 7000)
    relative = factor - np.median(factor[:, window], axis=1, keepdims=True)
    assert relative[:, inside].std() == pytest.approx(0.04, abs=0.004)
    assert np.abs(np.diff(factor, 4, axis=1)).max() < 1e-9  # a cubic in log λ


def test_break_outside_the_spectrum_is_missing():
    flux = np.ones((2, observe.FIBRE_PIXELS))
    at_low, at_high = observe.dn4000(flux, np.array([0.005, 0.05]))
    assert np.isnan(at_low)
    assert at_high == pytest.approx((4050 / 3900) ** 2, rel=2e-3)  # F_nu of a flat F_lambda


def test_bad_pixels_never_cut_a_spectrum_short(monkeypatch):
    monkeypatch.setattr(observe, "BAD_RUNS", 200)
    streams = [np.random.default_rng(seed) for seed in range(20)]
    _, ivar = observe.expose(np.full((20, observe.FIBRE_PIXELS), 10.0), streams)
    assert (ivar[:, [0, -1]] > 0).all() and (ivar == 0).mean() > 0.1
