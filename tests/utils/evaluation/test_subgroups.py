"""Classes of galaxies with known answers."""

import numpy as np
import pytest

from datasets.mock.build import make_mock
from datasets.survey import Survey
from utils.evaluation.bootstrap import ratio_with_error
from utils.evaluation.subgroups import (
    EDGE_ON,
    SCORES,
    _axis_ratio,
    axis_ratios,
    by_subgroup,
    spectral_classes,
)

SCALE = 0.396  # arcsec per pixel
SEEING = 1.3 / 2.3548  # arcsec, Gaussian σ


def test_spectral_classes():
    truth = {
        # star forming, composite, Seyfert, LINER, insecure Seyfert, post-starburst, old, NaN
        "log_nii_halpha": np.array([-0.6, -0.15, 0.1, 0.2, 0.1, np.nan, np.nan, np.nan]),
        "log_oiii_hbeta": np.array([-0.4, 0.0, 0.9, 0.3, 0.9, np.nan, np.nan, np.nan]),
        "secure": np.array([1, 1, 1, 1, 0, 0, 0, 0.0]),
        "Halpha_ew": np.array([30, 20, 20, 5, 5, 1.0, 1.0, np.nan]),
        "HdeltaA": np.array([5, 2, 2, 0, 0, 6.0, -1.0, 6.0]),
    }
    found = {name: np.flatnonzero(mask).tolist() for name, mask in spectral_classes(truth).items()}
    assert found["star forming"] == [0]
    assert found["composite"] == [1]
    assert found["Seyfert"] == [2]
    assert found["LINER"] == [3]
    assert found["post-starburst"] == [5]
    assert found["EW Hα < 3 Å"] == [5, 6]


def test_errors_of_all_galaxies_are_those_of_the_main_table_and_of_classes_as_repeated():
    """The climatology's mean, the unit, has an error, too; galaxies hard for both are paired."""

    def scores(seed):
        rng = np.random.default_rng(seed)
        hard = rng.gamma(2.0, size=300)
        return [hard * rng.uniform(0.5, 1.5, 300) for _ in "ab"]

    masks = {"all": np.ones(300, bool), "most": np.arange(300) < 200, "few": np.arange(300) < 5}
    own, unit = scores(0)
    errors = {"generated": own, "climatology": unit}
    errors = {method: dict.fromkeys(SCORES, values) for method, values in errors.items()}
    found = by_subgroup(masks, errors, "climatology", "climatology")
    main = ratio_with_error(own, unit)["error"]
    assert found["all"]["crps"]["error"] == pytest.approx(main)
    again = [scores(seed) for seed in range(1, 2001)]
    for group, mask in masks.items():
        scatter = np.std([own[mask].mean() / unit.mean() for own, unit in again])
        rel = 0.1 if group != "few" else 0.5  # of five galaxies little can be said
        assert found[group]["crps"]["error"] == pytest.approx(scatter, rel=rel), group


@pytest.mark.parametrize("ratio", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_axis_ratio_of_an_elliptical_gaussian_behind_the_seeing(ratio, angle):
    axis = (np.arange(64) - 31.5) * SCALE
    y, x = np.meshgrid(axis, axis, indexing="ij")
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    major = 1.8**2
    widths = major + SEEING**2, major * ratio**2 + SEEING**2
    image = np.exp(-0.5 * (u**2 / widths[0] + v**2 / widths[1]))
    assert _axis_ratio(image[None], SCALE)[0] == pytest.approx(ratio, abs=0.01)


def test_edge_on_galaxies_of_the_mock_survey_are_thin(tmp_path):
    """Nearly all with a small measured ratio are thin discs; the measured one follows the true."""
    survey = Survey(make_mock(tmp_path / "mock.h5", count=200, seed=3, workers=1, progress=False))
    rows = np.arange(len(survey))
    measured, cosine = axis_ratios(survey, rows), survey.truth("cos_inclination", rows)
    thin = 0.18  # thickness of the mock's discs
    true = np.sqrt(thin**2 + (1 - thin**2) * cosine**2)
    discs = survey.truth("bulge_total", rows) < 0.3
    assert np.corrcoef(measured[discs], true[discs])[0, 1] > 0.8
    flagged = discs & (measured < EDGE_ON)
    assert flagged.sum() >= 3
    assert np.mean(true[flagged] < 0.45) > 0.9
