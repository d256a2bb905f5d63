"""Observing conditions by field, and surveys that differ from the default one."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.constants import SDSS_PIXEL_ARCSEC
from datasets.errors import UserError
from datasets.mock import images
from datasets.mock.__main__ import main
from datasets.mock.conditions import (
    EXTINCTION,
    FIELD_GALAXIES,
    Conditions,
    Shift,
    conditions,
)
from datasets.mock.simulate import simulate
from datasets.survey import Survey


def test_galaxies_of_a_field_share_its_conditions():
    whole = conditions(1, 0, 4 * FIELD_GALAXIES)
    for field in range(4):
        own = slice(field * FIELD_GALAXIES, (field + 1) * FIELD_GALAXIES)
        assert np.ptp(whole.seeing[own], axis=0).max() == 0
        part = conditions(1, field * FIELD_GALAXIES, FIELD_GALAXIES)
        np.testing.assert_array_equal(part.sky, whole.sky[own])
    assert np.unique(whole.residual_ebv).size == 4
    assert not np.isin(conditions(2, 0, 8).sky, whole.sky).any()


def test_scatter_of_the_conditions():
    many = conditions(3, 0, 4000 * FIELD_GALAXIES)
    fields = slice(None, None, FIELD_GALAXIES)
    assert np.log(many.seeing[fields]).std() == pytest.approx(np.hypot(0.12, 0.04), rel=0.03)
    assert np.log(many.sky[fields]).std() == pytest.approx(np.hypot(0.10, 0.06), rel=0.03)
    correlation = np.corrcoef(np.log(many.seeing[fields, :2]).T)[0, 1]
    assert correlation == pytest.approx(0.12**2 / (0.12**2 + 0.04**2), abs=0.02)
    assert many.zero_point[fields].std() == pytest.approx(0.01, rel=0.03)
    # 16 % of a log-normal E(B−V): the root mean square is median · exp(σ²) · 0.16
    assert many.residual_ebv[fields].std() == pytest.approx(0.03 * np.exp(0.36) * 0.16, rel=0.15)


def test_residual_dust_dims_the_bands_of_image_and_spectrum_alike():
    zero = np.zeros((1, 5))
    dusty = Conditions(zero, zero, zero, np.array([0.1]))
    magnitudes = -2.5 * np.log10(dusty.image_factor()[0])
    np.testing.assert_allclose(magnitudes, 0.1 * EXTINCTION, rtol=1e-12)
    at_bands = dusty.spectrum_factor(np.array([3551.0, 4686.0, 6166.0, 7480.0, 8932.0]))
    np.testing.assert_allclose(at_bands, dusty.image_factor(), rtol=1e-12)


def test_seeing_widens_a_point_source_by_its_factor():
    maps = images._point(np.zeros(1), np.zeros(1))[:, None]
    widths = []
    for factor in (1.0, 1.3):
        psf = images.seeing(np.full((1, 1), 3.0 * factor))
        picture = images.render(
            maps, np.ones((1, 1, 1)), psf, (np.empty(0, int), maps[:0, 0], np.zeros((0, 1)))
        )
        axis = np.arange(64) - 32.0
        # core of the PSF: the second moment inside would count the wings
        profile = picture[0, 0, 32] / picture[0, 0, 32].max()
        widths.append(np.interp(0.5, profile[32:][::-1], axis[32:][::-1]))
    assert widths[1] / widths[0] == pytest.approx(1.3, abs=0.02)
    assert 2 * widths[0] * SDSS_PIXEL_ARCSEC == pytest.approx(3.0, rel=0.08)


def test_depth_scales_the_noise():
    flat = np.full((40, 5, 64, 64), 0.1)
    noise = []
    for depth in (1.0, 0.25):
        streams = [np.random.default_rng([2, i]) for i in range(40)]
        noise.append((images.add_noise(flat, streams, 1.0, depth) - flat).std(axis=(0, 2, 3)))
    np.testing.assert_allclose(noise[1], 2 * noise[0], rtol=1e-5)


def test_larger_pixels_make_smaller_galaxies():
    """The same picture as of a galaxy whose radius is smaller by the factor."""
    ones = np.ones(1)
    shape = {
        "radius_arcsec": 4 * ones, "bulge_total": 0.4 * ones, "bulge_axis_ratio": 0.8 * ones,
        "cos_inclination": 0.5 * ones, "position_angle": ones, "arm_strength": 0.3 * ones,
        "arm_count": 2 * ones, "arm_pitch": 0.3 * ones, "lumpiness": 0.2 * ones,
        "x0": 0 * ones, "y0": 0 * ones,
    }  # fmt: skip
    larger = images.scene(shape, [np.random.default_rng(1)], SDSS_PIXEL_ARCSEC * 1.25)
    smaller = images.scene(
        shape | {"radius_arcsec": 4 / 1.25 * ones}, [np.random.default_rng(1)], SDSS_PIXEL_ARCSEC
    )
    np.testing.assert_allclose(larger, smaller, atol=1e-5)
    shifted = simulate(5, 0, shift=Shift(pixel_scale_error=1.25))
    np.testing.assert_array_equal(shifted["catalogue"]["z"], simulate(5, 0)["catalogue"]["z"])


def test_command_makes_a_shifted_survey_and_records_it(tmp_path, capsys):
    path = tmp_path / "shifted.h5"
    arguments = ["--count", "20", "--workers", "1", "--quiet", "--redshifts", "0.15", "0.19"]
    assert main([str(path), *arguments, "--seeing", "1.3"]) == 0
    survey = Survey(path)
    assert (survey.catalogue["z"] > 0.15).all()
    assert survey.provenance["shift"]["seeing"] == 1.3
    assert survey.provenance["shift"]["redshifts"] == [0.15, 0.19]
    for wrong in (["--depth", "0"], ["--redshifts", "0.1", "0.05"], ["--redshifts", "0.1", "0.4"]):
        assert main([str(tmp_path / "no.h5"), *arguments[:4], "--quiet", *wrong]) == 2
        assert wrong[0] in capsys.readouterr().err


def test_shift_refuses_nonsense():
    with pytest.raises(UserError, match="pixel-scale-error"):
        Shift(pixel_scale_error=-1)
