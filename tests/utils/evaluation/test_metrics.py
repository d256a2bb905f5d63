"""Metrics with answers in closed form."""

import numpy as np
import pytest

from utils.evaluation.climatology import Climatology
from utils.evaluation.metrics import (
    coarse,
    crps,
    energy_score,
    mean_squared_error,
    medoid,
    pixel_noise,
    score,
)

GENERATOR = np.random.default_rng(0)
GRID = np.arange(4000.0, 8500.0, 8.0)


def test_coarse_pixels_are_means_over_wavelength():
    binned = coarse(GRID, np.stack([GRID, GRID**0]))
    assert binned.shape == (2, 45)
    np.testing.assert_allclose(binned[1], 1)
    inside = (GRID >= 4100) & (GRID < 4200)
    assert binned[0, 1] == pytest.approx(GRID[inside].mean())


def test_energy_score_equals_its_double_sum():
    candidates, truth = GENERATOR.normal(size=(4, 7, 30)), GENERATOR.normal(size=(4, 30))
    pairs = candidates[:, :, None] - candidates[:, None]
    spread = np.sqrt((pairs**2).mean(-1)).sum((1, 2)) / (2 * 7 * 6)
    expected = np.sqrt(((candidates - truth[:, None]) ** 2).mean(-1)).mean(1) - spread
    np.testing.assert_allclose(energy_score(candidates, truth), expected, rtol=1e-10)


def test_energy_score_of_one_pixel_is_the_crps():
    candidates, truth = GENERATOR.normal(size=(50, 9, 1)), GENERATOR.normal(size=(50, 1))
    np.testing.assert_allclose(energy_score(candidates, truth), crps(candidates, truth), rtol=1e-10)


def test_energy_score_sees_whether_pixels_vary_together():
    """Equal marginal distributions, so equal CRPS; only the joint one is that of the truth."""
    level = GENERATOR.normal(size=(4000, 17, 1))
    together = np.broadcast_to(level, (4000, 17, 20))
    truth, candidates = together[:, 0], together[:, 1:]
    apart = GENERATOR.normal(size=candidates.shape)
    joint, separate = (energy_score(x, truth).mean() for x in (candidates, apart))
    assert joint == pytest.approx(1 / np.sqrt(np.pi), rel=0.03)
    assert separate > 1.1 * joint


def test_climatology_scores_are_those_of_all_its_spectra_as_candidates():
    reference, truth = (GENERATOR.normal(1, 0.3, size=(n, len(GRID))) for n in (40, 3))
    found = Climatology(reference.astype("f4"), GRID).scores(truth)
    every = np.broadcast_to(reference, (3, *reference.shape))
    np.testing.assert_allclose(found["crps"], crps(every, truth), rtol=1e-5)
    np.testing.assert_allclose(found["energy"], energy_score(every, truth), rtol=1e-5)
    expected = energy_score(coarse(GRID, every), coarse(GRID, truth))
    np.testing.assert_allclose(found["energy_100"], expected, rtol=1e-5)


def test_squared_error_of_a_constant_offset():
    truth = GENERATOR.normal(size=(3, 50))
    np.testing.assert_allclose(mean_squared_error(truth + 0.5, truth), 0.25, rtol=1e-12)


def test_crps_equals_its_double_sum():
    candidates, truth = GENERATOR.normal(size=(4, 7, 5)), GENERATOR.normal(size=(4, 5))
    pairs = np.abs(candidates[:, :, None] - candidates[:, None]).sum((1, 2)) / (2 * 7 * 6)
    expected = (np.abs(candidates - truth[:, None]).mean(1) - pairs).mean(-1)
    np.testing.assert_allclose(crps(candidates, truth), expected, rtol=1e-12)


def test_crps_of_a_calibrated_normal_ensemble():
    # truth and members from N(0, 1): E|X - Y| - E|X - X'|/2 = 1/sqrt(pi)
    candidates, truth = GENERATOR.normal(size=(1, 16, 200_000)), GENERATOR.normal(size=(1, 200_000))
    assert crps(candidates, truth)[0] == pytest.approx(1 / np.sqrt(np.pi), rel=0.01)


def test_crps_of_identical_candidates_is_the_absolute_error():
    truth = GENERATOR.normal(size=(2, 9))
    candidates = np.broadcast_to(truth[:, None] + 0.3, (2, 5, 9))
    np.testing.assert_allclose(crps(candidates, truth), 0.3, rtol=1e-12)


def test_medoid_has_the_least_summed_distance():
    candidates = GENERATOR.normal(size=(6, 9, 20))
    distances = ((candidates[:, :, None] - candidates[:, None]) ** 2).sum(axis=(2, 3))
    np.testing.assert_array_equal(medoid(candidates), distances.argmin(axis=1))


def test_estimates_are_what_their_names_say():
    truth = np.zeros((2, 3))
    values = ((3.0, 1.0, 2.0), (-1.0, -3.0, -2.0))
    candidates = np.array(values)[..., None] * np.ones(3)  # best first: 3 and −1
    found = score(np.arange(3.0), candidates, truth)
    expected = {
        "mse_best": [9, 1],
        "mse_oracle": [1, 1],
        "mse_mean": [4, 4],
        "mse_median": [4, 4],
        "mse_medoid": [4, 4],
        "mse_best_five": [4, 4],  # there are only three
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, err_msg=name)


def test_mean_of_the_best_five_ignores_the_others():
    candidates = np.arange(8.0)[None, :, None] * np.ones(4)
    assert score(np.arange(4.0), candidates, np.zeros((1, 4)))["mse_best_five"][0] == pytest.approx(
        2.0**2
    )


def test_candidates_without_order_have_no_best():
    candidates = GENERATOR.normal(size=(2, 6, 3))
    found = score(np.arange(3.0), candidates, np.zeros((2, 3)), ranked=False)
    assert not {"mse_best", "mse_best_five"} & found.keys()


@pytest.mark.parametrize("lag", [1, 4])
def test_noise_is_separated_from_smooth_spectra(lag):
    noise = GENERATOR.normal(0, 0.3, (20, 4500))
    smooth = 5 * np.sin(np.arange(4500) / 300)
    np.testing.assert_allclose(pixel_noise(noise + smooth, lag), 0.3, rtol=0.1)
    lines = np.zeros(4500)
    lines[::300] = 100.0  # a few lines do not count
    np.testing.assert_allclose(pixel_noise(noise + lines, lag), 0.3, rtol=0.1)
    assert pixel_noise(smooth, lag) < 0.001
