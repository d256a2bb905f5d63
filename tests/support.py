"""Shared by tests: a tiny survey whose spectra follow from its images, tiny parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.spectra import METHOD_GRID, Preparation
from datasets.survey_writer import SurveyWriter

BANDS = SDSS_BANDS
TINY_GALAXIES = 96
ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
REAL_DATA = ROOT.parent / "shared" / "data"

needs_real_data = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="the real survey files are not beside this checkout"
)


def make_tiny_survey(path: Path, count: int = TINY_GALAXIES, seed: int = 0) -> Path:
    """A survey in which colour sets the slope of the spectrum and brightness its line strength."""
    generator = np.random.default_rng(seed)
    slope, line = generator.uniform(-1, 1, count), generator.uniform(0, 1, count)
    wavelength = METHOD_GRID.angstrom
    x = (wavelength - 6250) / 2250
    bump = np.exp(-0.5 * ((wavelength - 7200) / 15) ** 2)
    noiseless = 1 + 0.4 * slope[:, None] * x + 2 * line[:, None] * bump
    spectra = noiseless + generator.normal(0, 0.02, noiseless.shape)
    pixel = np.arange(64) - 31.5
    blob = np.exp(-0.5 * (pixel[:, None] ** 2 + pixel**2) / 36)
    colour = 1 + 0.5 * slope[:, None] * np.linspace(-1, 1, 5)
    images = (1 + 4 * line)[:, None, None, None] * colour[..., None, None] * blob
    images = images + generator.normal(0, 0.02, images.shape)
    with SurveyWriter(
        path, BANDS, SDSS_PIXEL_ARCSEC, METHOD_GRID, Preparation(), fractions=(0.2, 0.2), seed=3
    ) as writer:
        writer.append(
            images.astype(np.float32),
            spectra.astype(np.float32),
            {
                "identifier": np.arange(count, dtype=np.int64),
                "ra": np.linspace(10.0, 50.0, count),
                "dec": np.zeros(count),
                "z": np.linspace(0.05, 0.15, count),
                "sn": np.linspace(20.0, 60.0, count),
            },
            np.ones(count),
            truth={"noiseless": noiseless.astype(np.float32)},
        )
    return path


def tiny(stage: str) -> str:
    """The option that reads the tiny parameters of a stage, `contrastive` or `generative`."""
    return f"--config={Path(__file__).parent / 'params' / f'tiny_{stage}.yml'}"
