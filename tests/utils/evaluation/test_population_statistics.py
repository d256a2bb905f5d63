"""Classes and relations with known answers."""

import numpy as np
import pytest

from utils.evaluation import population_statistics as populations

GENERATOR = np.random.default_rng(6)
N, P = 600, 8


def test_area_under_curve_is_the_chance_of_the_right_order():
    positive = GENERATOR.random(50) < 0.4
    score = np.round(GENERATOR.normal(positive, 1.0), 1)  # with ties
    pairs = np.subtract.outer(score[positive], score[~positive])
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert populations.area_under_curve(positive, score) == pytest.approx(expected)
    assert populations.area_under_curve(positive, np.ones(50)) == pytest.approx(0.5)
    assert np.isnan(populations.area_under_curve(np.ones(5, bool), np.arange(5.0)))


def test_accuracies_of_a_classifier_without_positives():
    positive = np.arange(10) < 2
    assert populations.accuracy(positive, np.zeros(10)) == pytest.approx(0.8)
    assert populations.balanced_accuracy(positive, np.zeros(10)) == pytest.approx(0.5)
    assert populations.balanced_accuracy(positive, positive.astype(float)) == pytest.approx(1.0)


def test_a_rare_class_is_found_though_no_score_exceeds_one_half():
    positive = np.arange(100) < 10
    score = np.where(positive, 0.3, 0.1)
    assert populations.accuracy(positive, score) == pytest.approx(0.9)
    assert populations.balanced_accuracy(positive, score) == 1.0


def bpt(active, *shape):
    """Ratios on either side of both lines."""
    x = np.broadcast_to(np.where(active, 0.2, -0.6), shape)
    y = np.broadcast_to(np.where(active, 0.9, -0.2), shape)
    return {"log_nii_halpha": x, "log_oiii_hbeta": y}


def test_active_nuclei_are_scored_on_secure_galaxies_with_their_balance():
    own = np.arange(N) % 4 == 0
    truth = bpt(own, N) | {"secure": (np.arange(N) < 400).astype(float)}
    perfect = populations.classify(truth, bpt(own[:, None], N, P), "kewley")
    assert (perfect["active"], perfect["galaxies"]) == (100, 400)
    assert perfect["majority"] == 0.75
    assert perfect["accuracy"]["value"] == perfect["roc_auc"]["value"] == 1.0
    random = bpt(GENERATOR.random((N, P)) < 0.25, N, P)
    chance = populations.classify(truth, random, "kewley")
    assert chance["roc_auc"]["value"] == pytest.approx(0.5, abs=0.1)
    assert chance["balanced_accuracy"]["value"] == pytest.approx(0.5, abs=0.05)


def test_without_two_classes_only_the_balance_is_stated():
    truth = bpt(np.zeros(N, bool), N) | {"secure": np.ones(N)}
    found = populations.classify(truth, bpt(np.zeros((N, P), bool), N, P), "kewley")
    assert found == {"galaxies": N, "active": 0}


def test_missing_ratios_are_not_active():
    nothing = np.full(3, np.nan)
    columns = {"log_nii_halpha": nothing, "log_oiii_hbeta": nothing}
    assert not populations.active(columns, "kauffmann").any()
    assert np.isnan(populations.gas_metallicity(columns)).all()


def test_two_peaks_are_distinguished_from_one():
    def peaks(count, *shape):
        old = GENERATOR.random(shape) < 0.5
        return {
            "Dn4000": np.where(old & (count == 2), 1.85, 1.3) + GENERATOR.normal(0, 0.05, shape)
        }

    truth = peaks(2, N)
    same, single = (populations.bimodality(truth, peaks(count, N, P)) for count in (2, 1))
    assert same["ks_distance"] < 0.08 and same["old_share"] == pytest.approx(0.5, abs=0.02)
    assert single["ks_distance"] > 0.4 and single["old_share"] == 0


def test_mass_metallicity_relation_is_recovered():
    mass = GENERATOR.uniform(9, 11, N)
    ratio = -0.8 + 0.15 * (mass - 9)
    truth = {
        "log_nii_halpha": ratio,
        "log_oiii_hbeta": np.full(N, -0.3),
        "secure": np.ones(N),
    }
    own = {k: v[:, None] * np.ones(P) for k, v in truth.items()}
    found = populations.mass_metallicity(truth, own, mass)
    assert found["rms_of_medians"] == 0 and found["correlation"]["value"] == pytest.approx(1)
    slope = np.polyfit(found["log_mass"], found["true"], 1)[0]
    assert slope == pytest.approx(0.57 * 0.15, rel=0.05)
    shuffled = own | {"log_nii_halpha": GENERATOR.permutation(own["log_nii_halpha"])}
    assert abs(populations.mass_metallicity(truth, shuffled, mass)["correlation"]["value"]) < 0.15
    unknown = populations.mass_metallicity(truth, own, np.full(N, np.nan))
    assert unknown == {"galaxies": 0}


def test_retired_galaxies():
    ew = np.where(np.arange(N) < N // 4, 1.0, 20.0)
    truth = {"Halpha_ew": ew, "rest_colour": ew / 20}
    own = {k: v[:, None] * np.ones(P) for k, v in truth.items()}
    found = populations.retired(truth, own)
    assert found["share"] == found["share_true"] == 0.25
    assert found["accuracy"]["value"] == 1 and found["colour_ks_distance"] == 0
