"""Galaxies of a survey as FITS cutouts: the files state what the survey does."""

import numpy as np
import pytest
from astropy.io import fits

from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.export import export
from datasets.cutouts.formats import PICTURE_BANDS, PICTURE_UNIT
from datasets.cutouts.reader import CutoutReader
from datasets.spectra import METHOD_GRID, Preparation
from datasets.survey import Survey
from datasets.survey_writer import SurveyWriter

COUNT = 10


@pytest.mark.parametrize("unit", [PICTURE_UNIT, "nanomaggy"])
def test_cutouts_come_back_with_their_unit_and_without_a_position(tmp_path, unit):
    bands = PICTURE_BANDS if unit == PICTURE_UNIT else ("g", "r", "i")
    images = np.random.default_rng(0).random((COUNT, 3, 64, 64)).astype(np.float32)
    catalogue = {"identifier": np.arange(COUNT), "ra": 20.0 * np.arange(COUNT)}
    spectra = np.ones((COUNT, METHOD_GRID.count))
    path = tmp_path / "survey.h5"
    with SurveyWriter(path, bands, 0.4, METHOD_GRID, Preparation(), image_unit=unit) as writer:
        writer.append(images, spectra, catalogue | {"dec": np.zeros(COUNT)}, np.ones(COUNT))
    survey = Survey(path)
    survey.catalogue["ra"][:] = np.nan  # as in a survey with the published split
    export(survey, tmp_path / "cutouts", "train", COUNT)
    assert {fits.getval(p, "BUNIT") for p in (tmp_path / "cutouts").iterdir()} == {unit}
    rows = survey.indices("train")
    cutouts = list(CutoutReader(tmp_path / "cutouts", CutoutFormat(bands, 0.4)))
    assert {(c.assumptions, np.isnan(c.ra)) for c in cutouts} == {((), True)}
    np.testing.assert_array_equal([c.image for c in cutouts], images[rows])
