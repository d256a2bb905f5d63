"""How the strongest baseline improves with the number of training galaxies.

    python -m tests.benchmarks.growth survey.h5 --counts 1000 2500 5000 10000 20000 100000
    python -m tests.benchmarks.growth survey.h5 --evaluations growth/*/evaluation

Neighbours in photometry are searched among the first N training galaxies, for the first validation
galaxies of the same survey; their CRPS relative to that of climatology is fitted as a N^-b. With
evaluations (of `python -m utils.evaluate`, same galaxies and candidates), the number of training
galaxies at which that line reaches each of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from datasets.photometry import aperture_features
from datasets.survey import Survey
from utils.evaluation.baselines import climatology, nearest
from utils.evaluation.method import GENERATED
from utils.evaluation.metrics import crps, mean_squared_error

BATCH = 512
GALAXIES, CANDIDATES = 128, 8
CLIMATOLOGIES = 8  # random ones, whose mean is the unit
REFERENCE = 5000  # training galaxies that climatology and the constant are taken from


def features(survey: Survey, rows: np.ndarray) -> np.ndarray:
    """Photometry (N, d) of the images."""
    starts = tqdm(range(0, len(rows), BATCH), desc="photometry", disable=None)
    parts = (torch.from_numpy(survey.read("images", rows[i : i + BATCH])) for i in starts)
    scale = survey.pixel_scale_arcsec
    return torch.cat([aperture_features(images, scale) for images in parts]).numpy()


def spectra(survey: Survey, rows: np.ndarray) -> np.ndarray:
    """Spectra (N, P, pixels) of rows (N, P), each read once."""
    unique, place = np.unique(rows, return_inverse=True)
    return survey.read("spectra", unique)[place.reshape(rows.shape)]


def power_law(counts: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """(a, b) of values = a counts^-b, by least squares of the logarithms."""
    slope, start = np.polyfit(np.log(counts), np.log(values), 1)
    return float(np.exp(start)), float(-slope)


def main() -> None:
    """Print a table and the fit."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("survey", type=Path, help="survey file")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 2000, 5000])
    parser.add_argument("--evaluations", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    survey = Survey(options.survey)
    training, tested = survey.indices("train"), survey.indices("validation")[:GALAXIES]
    truth, own = survey.read("spectra", tested), features(survey, tested)
    reference = training[:REFERENCE]
    climatologies = [
        climatology(len(reference), len(tested), CANDIDATES, seed) for seed in range(CLIMATOLOGIES)
    ]
    unit = np.mean([crps(spectra(survey, reference[rows]), truth).mean() for rows in climatologies])
    mean = np.mean(survey.read("spectra", reference), axis=0, keepdims=True)
    constant = mean_squared_error(mean, truth).mean()
    counts = sorted({min(count, len(training)) for count in options.counts})
    pool, values = features(survey, training[: counts[-1]]), []
    print(f"{len(tested)} galaxies, {CANDIDATES} neighbours; CRPS of climatology {unit:.4f}")
    print(f"{'training galaxies':>18} {'MSE / constant':>15} {'CRPS / climatology':>19}")
    for count in counts:
        found = spectra(survey, training[nearest(pool[:count], own, CANDIDATES)])
        error = mean_squared_error(found.mean(axis=1), truth).mean() / constant
        values.append(crps(found, truth).mean() / unit)
        print(f"{count:>18,} {error:>15.3f} {values[-1]:>19.4f}")
    start, slope = power_law(np.array(counts), np.array(values))
    print(f"CRPS / climatology = {start:.3f} N^-{slope:.4f}")
    for folder in options.evaluations:
        metrics = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        generated = metrics["observed"]["methods"][GENERATED]["crps"]["value"] / unit
        passed = (start / generated) ** (1 / slope)
        print(f"{folder}: {generated:.4f}, reached by neighbours among {passed:,.0f} galaxies")


if __name__ == "__main__":
    main()
