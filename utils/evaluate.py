"""Judge a trained generator on a split of a survey, beside what it has to beat.

    python -m utils.evaluate --checkpoint runs/generative/best.pt --survey data/survey.h5 \\
        --output evaluation

Candidates are drawn for every galaxy (resumable: `candidates.h5` keeps them), and judged together
with the baselines of `utils.baselines`, each as candidates for the same galaxies. Writes
`evaluation.json` (every figure) and `table.md` (for people).

Columns: squared errors as ratios to the constant predictor's on the same galaxies: of the mean of
the candidates, of the one ranked best, of the one nearest to the truth (oracle, a bound); CRPS and
its ratio to climatology; coverage of the candidates' one-sigma interval. "Best" of a baseline is
its nearest neighbour; constant and climatology have none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import torch
from tqdm import tqdm

from datasets.survey import Survey, SurveyError
from datasets.transforms import PHASES
from models.samplers import Sampler
from utils import baselines
from utils.config import SamplingConfig
from utils.contrastive_stage import validation_pool
from utils.generation import Pipeline, make_sampler
from utils.metrics import judge, nominal_coverage, one_sigma_discard
from utils.networks import load_generator
from utils.retrieval import POOL, embed_images, embed_spectra, retrieval_figures
from utils.runs import RunError, file_digest, pick_device

READ_ROWS = 512  # galaxies held at once while something is measured on all training images


def main(argv: list[str] | None = None) -> int:
    """Parse, evaluate, write; returns the exit status."""
    options = _parser().parse_args(argv)
    try:
        evaluate(options)
    except (RunError, SurveyError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        required=True,
        help="trained generator; for the cascade the low and then the super-resolution one",
    )
    parser.add_argument("--survey", required=True, help="survey file with the true spectra")
    parser.add_argument("--output", required=True, help="folder for the results, made if needed")
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--galaxies", type=int, default=500, help="first galaxies of the split")
    parser.add_argument("--candidates", type=int, help="candidates per galaxy (checkpoint's)")
    parser.add_argument("--sampler", choices=["dpm", "ddim", "ancestral"], help="(checkpoint's)")
    parser.add_argument("--steps", type=int, help="sampling steps (checkpoint's)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the noise (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, … (%(default)s)")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    return parser


def evaluate(options: argparse.Namespace) -> dict:
    """Draw, judge and write; returns what `evaluation.json` holds.

    Raises:
        RunError: checkpoint and survey do not fit, or `output` holds another evaluation.
    """
    survey = Survey(options.survey)
    stages = [load_generator(path) for path in options.checkpoint]
    pipeline = Pipeline(stages, pick_device(options.device), options.precision)
    towers = pipeline.last.contrastive
    if towers.survey.bands != survey.bands or towers.survey.grid != survey.grid:
        raise RunError(f"{options.survey}: other bands or wavelengths than the checkpoint's")
    sampling = sampling_of(pipeline.last.config.sampling, options)
    rows = survey.indices(options.split)[: options.galaxies]
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    identity = {
        "checkpoints": [file_digest(path) for path in options.checkpoint],
        "survey": file_digest(options.survey),
        "split": options.split,
        "galaxies": len(rows),
        "sampling": asdict(sampling),
        "seed": options.seed,
    }
    flux, best = drawn(folder / "candidates.h5", pipeline, survey, rows, sampling, identity)
    figures = {
        "identity": identity,
        "methods": judge_all(pipeline, survey, rows, flux, best, options.seed),
        "retrieval": judge_retrieval(pipeline, survey, options.split),
    }
    write_atomically(folder / "evaluation.json", json.dumps(figures, indent=2) + "\n")
    table = as_table(figures)
    write_atomically(folder / "table.md", table)
    print(table)
    return figures


def sampling_of(default: SamplingConfig, options: argparse.Namespace) -> SamplingConfig:
    """The checkpoint's sampling with what the command line says instead."""
    values = asdict(default)
    given = {name: getattr(options, name, None) for name in ("sampler", "steps", "candidates")}
    return SamplingConfig(**values | {k: v for k, v in given.items() if v is not None})


def drawn(
    path: Path,
    pipeline: Pipeline,
    survey: Survey,
    rows: np.ndarray,
    sampling: SamplingConfig,
    identity: dict,
    batch: int = 16,
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates (N, P, n) and the number of the best (N,), drawn or read from `path`.

    The file grows batch by batch: an interrupted evaluation goes on where it was.
    """
    shape = (len(rows), sampling.candidates, len(pipeline.wavelength_angstrom))
    with h5py.File(path, "a") as file:
        if file.attrs.get("identity", json.dumps(identity)) != json.dumps(identity):
            raise RunError(f"{path} belongs to another evaluation: name another --output")
        if "flux" not in file:
            file.attrs.update(identity=json.dumps(identity), done=0)
            file.create_dataset("flux", shape, "f4", chunks=(1, *shape[1:]))
            file.create_dataset("best", shape[:1], "i8")
            file.create_dataset("rows", data=rows)
        sampler = make_sampler(sampling)
        starts = range(int(file.attrs["done"]), len(rows), batch)
        for start in tqdm(starts, desc="drawing candidates", unit="batch", disable=None):
            part = rows[start : start + batch]
            result = _draw(pipeline, survey, part, sampling, sampler, identity["seed"])
            file["flux"][start : start + len(part)] = result.flux
            file["best"][start : start + len(part)] = result.order[:, 0]
            file.attrs["done"] = start + len(part)
            file.flush()
        return file["flux"][:], file["best"][:]


def _draw(
    pipeline: Pipeline,
    survey: Survey,
    rows: np.ndarray,
    sampling: SamplingConfig,
    sampler: Sampler,
    seed: int,
):
    images = torch.from_numpy(survey.read("images", rows))
    keys = [str(identifier) for identifier in survey.catalogue["identifier"][rows]]
    return pipeline.generate(images, keys, count=sampling.candidates, seed=seed, sampler=sampler)


def judge_all(
    pipeline: Pipeline,
    survey: Survey,
    rows: np.ndarray,
    flux: np.ndarray,
    best: np.ndarray,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Figures of the generator and of every baseline on the same galaxies."""
    step = PHASES if pipeline.last.spectra.resolution == "low" else 1

    def spectra(wanted: np.ndarray) -> np.ndarray:
        return survey.read("spectra", wanted)[:, ::step]

    truth, count = spectra(rows), flux.shape[1]
    training = survey.indices("train")
    discard = one_sigma_discard(count)

    def of_rows(chosen: np.ndarray) -> np.ndarray:
        return spectra(training[chosen].ravel()).reshape(len(rows), count, -1)

    photometry = [
        in_blocks(survey, r, lambda x: baselines.photometry(x, survey.pixel_scale_arcsec))
        for r in (training, rows)
    ]
    embedding = [in_blocks(survey, r, lambda x: _embed(pipeline, x)) for r in (training, rows)]
    mean = _mean_spectrum(spectra, training)
    candidates = {
        "generated": lambda: flux,
        "constant": lambda: np.broadcast_to(mean, flux.shape),
        "climatology": lambda: of_rows(
            baselines.climatology(len(training), len(rows), count, seed)
        ),
        "neighbours in photometry": lambda: of_rows(baselines.nearest(*photometry, count)),
        "neighbours in embedding": lambda: of_rows(baselines.nearest(*embedding, count)),
    }
    first = np.zeros(len(rows), dtype=np.int64)
    figures = {}
    for name, make in tqdm(candidates.items(), desc="judging", unit="method", disable=None):
        judged = judge(make(), truth, best if name == "generated" else first, discard)
        figures[name] = {key: float(np.mean(v)) for key, v in vars(judged).items()}
        figures[name]["mse_mean_galaxy_median"] = float(np.median(judged.mse_mean))
    return with_ratios(figures, nominal_coverage(count, discard))


def with_ratios(
    figures: dict[str, dict[str, float]], nominal: float
) -> dict[str, dict[str, float]]:
    """Add squared errors relative to the constant's, CRPS relative to climatology's."""
    constant, climatology = figures["constant"]["mse_mean"], figures["climatology"]["crps"]
    for values in figures.values():
        for key in ("mse_mean", "mse_best", "mse_oracle", "mse_median"):
            values[f"{key}_ratio"] = values[key] / constant
        values["crps_ratio"] = values["crps"] / climatology
        values["coverage_nominal"] = nominal
    return figures


def _mean_spectrum(spectra: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    total = sum(
        spectra(rows[i : i + READ_ROWS]).sum(axis=0, dtype=np.float64)
        for i in range(0, len(rows), READ_ROWS)
    )
    return (total / len(rows)).astype(np.float32)


def in_blocks(
    survey: Survey, rows: np.ndarray, measure: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """`measure` of the images of `rows`, a block at a time, one row of figures per galaxy."""
    return np.concatenate(
        [
            measure(survey.read("images", rows[i : i + READ_ROWS]))
            for i in range(0, len(rows), READ_ROWS)
        ]
    )


def _embed(pipeline: Pipeline, images: np.ndarray) -> np.ndarray:
    towers = pipeline.last.contrastive
    return embed_images(towers.network, towers.images, torch.from_numpy(images)).numpy()


def judge_retrieval(pipeline: Pipeline, survey: Survey, split: str) -> dict[str, float]:
    """R@1, 5 and 10, plain and with swapped noise, in a pool of the split."""
    towers = pipeline.last.contrastive
    pool = validation_pool(survey, split, POOL)
    images = embed_images(towers.network, towers.images, pool["images"])
    spectra, swapped = (
        embed_spectra(towers.network, towers.spectra, pool[name]) for name in ("flux", "swapped")
    )
    return retrieval_figures(images, spectra, swapped)


def as_table(figures: dict) -> str:
    """The figures as a Markdown table."""
    methods, retrieval = figures["methods"], figures["retrieval"]
    nominal = methods["generated"]["coverage_nominal"]
    lines = [
        f"{figures['identity']['galaxies']} galaxies of the {figures['identity']['split']} split, "
        f"{figures['identity']['sampling']['candidates']} candidates each. Squared errors relative "
        "to the constant predictor.",
        "",
        "| candidates | mean | best | oracle | CRPS | CRPS / climatology | "
        f"coverage ({nominal:.3f}) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, v in methods.items():
        best = "–" if name in ("constant", "climatology") else f"{v['mse_best_ratio']:.3f}"
        lines.append(
            f"| {name} | {v['mse_mean_ratio']:.3f} | {best} | {v['mse_oracle_ratio']:.3f} | "
            f"{v['crps']:.4f} | {v['crps_ratio']:.3f} | {v['coverage']:.3f} |"
        )
    recalls = " / ".join(f"{retrieval[f'recall_{k}']:.3f}" for k in (1, 5, 10))
    swapped = " / ".join(f"{retrieval[f'recall_{k}_swapped']:.3f}" for k in (1, 5, 10))
    lines += [
        "",
        f"Retrieval R@1/5/10 in a pool of {retrieval['pool']:.0f}: {recalls}; with another "
        f"galaxy's noise: {swapped}.",
    ]
    return "\n".join(lines) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a killed run leaves the old one or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
