"""The mock survey against real SDSS galaxies: every bound of the comparison holds."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.mock.build import make_mock
from figures import mock_against_sdss
from figures.mock_comparison import (
    CLASSES,
    INDICES,
    REST_ANGSTROM,
    Row,
    Sample,
    bounded,
    draw,
    mock_sample,
    real_sample,
    report,
)
from tests.support import REAL_DATA, needs_real_data

COUNT = 1600


def sample(name: str, shift: float = 0.0) -> Sample:
    """Galaxies with made-up quantities, all shifted by the same amount."""
    generator = np.random.default_rng(3)
    count = 600
    columns = {name: generator.normal(0, 1, count) + shift for name in (*INDICES, "ew_oiii")}
    columns |= {
        "Dn4000": generator.uniform(1.1, 2.1, count),
        "ew_halpha": generator.lognormal(1, 1, count),
        "nii_halpha": generator.normal(-0.4, 0.1, count),
        "oiii_hbeta": generator.normal(-0.4, 0.3, count),
        "blue_green": generator.normal(0.8, 0.2, count),
        "green_red": generator.normal(0.4, 0.1, count),
        "offset_gr": generator.normal(0, 0.04, count),
        "offset_ri": generator.normal(0, 0.03, count),
    }
    kind = np.where(columns["Dn4000"] > 1.6, "early", "late")
    return Sample(name, "#000000", columns, np.ones((count, len(REST_ANGSTROM))), kind)


def test_a_sample_is_within_the_bounds_of_itself_and_a_shifted_one_is_not():
    same = list(bounded(sample("SDSS"), sample("mock")))
    assert all(row.held and row.difference == 0 for row in same)
    shifted = list(bounded(sample("SDSS"), sample("mock", shift=2.0)))
    beyond = {row.label.split(",")[0] for row in shifted if not row.held}
    assert beyond == {*INDICES, "ew_oiii"}
    text = report((sample("SDSS"), sample("mock", shift=2.0)))
    assert text.count("beyond the bound") == sum(not row.held for row in shifted)


def test_shares_of_the_classes_add_up():
    rows = {row.label: row for row in bounded(sample("SDSS"), sample("mock"))}
    total = sum(rows[f"share of {name}"].real for name in CLASSES)
    assert total == pytest.approx(1)
    assert not Row("x", 1.0, 2.0, 0.9).held


@needs_real_data
def test_the_mock_survey_is_within_every_bound(tmp_path, capsys):
    """Colour scatter, classes, and at fixed Dn4000 the indices of stars and the lines of gas."""
    path, spectra = tmp_path / "mock.h5", REAL_DATA / "sdss_spectra.h5"
    make_mock(path, COUNT, 5, progress=False)  # not the galaxies that the mock was adjusted with
    samples = real_sample(spectra), mock_sample(path, COUNT)
    rows = list(bounded(*samples))
    assert len(rows) > 60
    assert not [row.label for row in rows if not row.held]
    assert len(draw(samples).axes) == 8
    arguments = [str(path), "--spectra", str(spectra), "--output", str(tmp_path), "--limit", "300"]
    assert mock_against_sdss.main(arguments) == 0
    assert "within the bound" in capsys.readouterr().out
    assert (tmp_path / "mock_against_sdss.png").stat().st_size > 50_000
