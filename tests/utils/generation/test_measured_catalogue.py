"""The parts of `utils.measure` below its command line, which tests/utils/test_measure.py runs."""

from __future__ import annotations

import numpy as np

from datasets.survey import Survey
from utils.generation import measured_catalogue
from utils.spectroscopy.galaxy_templates import RedshiftTemplates


def test_templates_come_from_all_of_an_ordered_survey(tiny_survey, monkeypatch):
    """The redshifts of the tiny survey ascend: its first rows are a biased sample."""
    survey, chosen = Survey(tiny_survey), []
    monkeypatch.setattr(
        RedshiftTemplates, "from_spectra", lambda _wave, flux, _sigma, z: chosen.append((flux, z))
    )
    monkeypatch.setattr(measured_catalogue, "TEMPLATE_SPECTRA", 24)
    measured_catalogue.survey_templates(tiny_survey)
    ((flux, redshift),) = chosen
    training = survey.catalogue["z"][survey.indices("train")]
    assert len(set(redshift) & set(training)) == len(redshift) == len(flux) == 24
    assert np.mean(redshift > np.median(training)) > 0.25
