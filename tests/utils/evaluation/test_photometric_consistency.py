"""The posterior predictive check of photometry, on spectra whose photometry is known."""

import numpy as np
import pytest

from datasets.synthetic_photometry import ab_source, scale_to_photometry, synthetic_nanomaggies
from utils.evaluation.method import Method
from utils.evaluation.photometric_consistency import predictive_check, table

GRID = np.arange(3700.0, 8500.0)  # g, r and i are covered


class FlatSurvey:
    """Images of point-like galaxies that are flat in AB, with a little sky noise."""

    bands, image_unit, pixel_scale_arcsec = ["g", "r", "i"], "nanomaggy", 0.396

    def read(self, name: str, rows: np.ndarray) -> np.ndarray:
        images = np.random.default_rng(1).normal(0, 0.003, (200, 3, 64, 64))
        images[:, :, 30:34, 30:34] += 2.0
        return images[rows]


def spectra(tilt: np.ndarray) -> np.ndarray:
    """Sources that are flat in AB, times a power law of the wavelength, (N, P, n)."""
    return ab_source(GRID) * (GRID / 6200) ** tilt[..., None] / ab_source(np.array(6200.0))


def test_spectra_of_the_images_have_no_offset_and_tilted_ones_do():
    rows = np.arange(200)
    flat = Method("flat", lambda part: spectra(np.zeros((200, 1))[part]))
    tilted = Method("tilted", lambda part: spectra(np.full((200, 1), 0.5)[part]))
    found = predictive_check(GRID, [flat, tilted], FlatSurvey(), rows)
    for band in ("g", "r", "i"):
        assert found["flat"][band]["median"]["value"] == pytest.approx(0, abs=0.005)
    # a spectrum that rises to the red is too faint in g and too bright in i
    assert found["tilted"]["g"]["median"]["value"] > 0.1
    assert found["tilted"]["i"]["median"]["value"] < -0.1
    assert "coverage_68" not in found["flat"]["r"]
    assert len(table(found)) == 2 + 6 + 1


def test_coverage_of_calibrated_candidates():
    """Candidates scatter as the image does about them: 68 % of the images are inside."""
    generator = np.random.default_rng(4)
    centre = generator.normal(0, 0.3, (200, 1))
    tilt = centre + generator.normal(0, 0.3, (200, 16))
    truth_like = tilt - (centre + generator.normal(0, 0.3, (200, 1)))  # 0 is exchangeable with them
    method = Method("calibrated", lambda part: spectra(truth_like[part]))
    found = predictive_check(GRID, [method], FlatSurvey(), np.arange(200))
    assert found["calibrated"]["g"]["coverage_68"]["value"] == pytest.approx(0.68, abs=0.1)


def test_scaled_spectrum_has_the_measured_r_flux_alone():
    grid = np.arange(4000.0, 8500.0)
    flux = (grid / 6200) ** 2
    measured = {"g": 40.0, "r": 90.0, "i": 70.0}
    scaled = scale_to_photometry(grid, flux, measured) * flux
    r, i = synthetic_nanomaggies(grid, scaled, ["r", "i"])
    assert r == pytest.approx(90.0, rel=1e-6)
    assert abs(i / 70.0 - 1) > 0.1  # the remaining colour difference
