"""Colour pictures of the mock galaxies: the published mapping, and the pictures it makes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.reader import CutoutReader
from datasets.mock import images, pictures
from datasets.mock.__main__ import main
from datasets.mock.catalogue import QUIESCENT, STAR_FORMING
from datasets.survey import Survey
from tests.support import REAL_DATA, needs_real_data

COUNT = 64
CENTRE = slice(29, 35)
SKY_GREY = np.arcsinh(20 * 0.03) / np.sqrt(20)  # what the mapping makes of no light


@pytest.fixture(scope="module")
def survey(tmp_path_factory) -> Survey:
    path = tmp_path_factory.mktemp("pictures") / "pictures.h5"
    arguments = ["--count", str(COUNT), "--workers", "1", "--pictures", "--quiet"]
    assert main([str(path), *arguments]) == 0
    return Survey(path)


def test_mapping_has_the_published_values():
    """By hand: fluxes that the gains turn into C = 0.5, 0.4 and 0.3, and black and white."""
    per_native = (images.SDSS_PIXEL_ARCSEC / pictures.LEGACY_PIXEL_ARCSEC) ** 2
    wanted = np.array([0.5, 0.4, 0.3])
    flux = (wanted - 0.03) / np.array([2.2, 3.4, 6.0]) * per_native
    shown = pictures.picture(flux[:, None, None])[:, 0, 0]
    expected = wanted * np.arcsinh(20 * 0.4) / (np.sqrt(20) * 0.4)
    np.testing.assert_allclose(shown, expected, atol=0.5 / 255 + 1e-6)
    assert (pictures.picture(np.full((3, 1, 1), -9.0)) == 0).all()
    assert (pictures.picture(np.full((3, 1, 1), 900.0)) == 1).all()


def test_survey_holds_pictures(survey):
    shown = survey.read("images", np.arange(COUNT))
    assert (survey.bands, survey.image_unit) == (("R", "G", "B"), "intensity")
    assert shown.shape == (COUNT, 3, 64, 64)
    assert shown.min() >= 0 and shown.max() <= 1
    assert (shown[:, :, CENTRE, CENTRE].mean((1, 2, 3)) > 3 * SKY_GREY).all()


def test_sky_is_grey(survey):
    small = np.flatnonzero(survey.truth("radius_arcsec") < 2.5)
    corners = survey.read("images", small)[:, :, :8, :8]
    np.testing.assert_allclose(np.median(corners, (0, 2, 3)), SKY_GREY, atol=0.02)


def test_quiescent_galaxies_are_redder_than_they_are_blue(survey):
    middle = survey.read("images", np.arange(COUNT))[:, :, CENTRE, CENTRE].mean((2, 3))
    red_minus_blue = middle[:, 0] - middle[:, 2]
    types = survey.catalogue["type"]
    assert np.mean(red_minus_blue[types == QUIESCENT] > 0.1) > 0.95
    forming = np.median(red_minus_blue[types == STAR_FORMING])
    assert forming < np.median(red_minus_blue[types == QUIESCENT]) - 0.15


def test_spectra_are_those_of_the_images(survey, tmp_path):
    path = tmp_path / "images.h5"
    assert main([str(path), "--count", str(COUNT), "--workers", "1", "--quiet"]) == 0
    rows = np.arange(COUNT)
    np.testing.assert_array_equal(survey.read("spectra", rows), Survey(path).read("spectra", rows))


def test_a_picture_is_read_as_it_was_stored(survey, tmp_path):
    stored = survey.read("images", np.array([5]))[0]
    Image.fromarray(np.rint(stored.transpose(1, 2, 0) * 255).astype(np.uint8)).save(
        tmp_path / "five.png"
    )
    target = CutoutFormat(survey.bands, survey.pixel_scale_arcsec)
    (cutout,) = CutoutReader(tmp_path / "five.png", target)
    np.testing.assert_allclose(cutout.image, stored, atol=1e-6)


@needs_real_data
def test_brightness_and_sky_are_those_of_real_pictures(survey):
    target = CutoutFormat(("R", "G", "B"), survey.pixel_scale_arcsec, input_pixel_scale_arcsec=0.1)
    real = np.stack([c.image for c in CutoutReader(f"{REAL_DATA}/pairs/*.jpeg", target)])
    ours = survey.read("images", np.arange(COUNT))
    for part, tolerance in ((CENTRE, 0.15), (slice(0, 8), 0.06)):
        levels = [np.median(p[:, :, part, part], (0, 2, 3)) for p in (real, ours)]
        np.testing.assert_allclose(*levels, atol=tolerance)
