"""Generate optical spectra for galaxy cutouts.

    python generate.py CUTOUTS --checkpoint runs/generative/best.pt --output spectra
    python generate.py cutouts/*.fits --checkpoint best.pt --output spectra --candidates 64
    python generate.py survey.npz --checkpoint best.pt --output spectra --bands g,r,i,z,u
    python generate.py CUTOUTS --checkpoint low/best.pt super/best.pt --output spectra   # cascade
    python generate.py CUTOUTS --checkpoint best.pt --output spectra --resume
    python generate.py CUTOUTS --checkpoint best.pt --output spectra \\
        --catalogue photoz.csv --redshift-column z_phot

CUTOUTS: a folder, files, or globs: FITS (a cube, an extension per band, or name-u.fits, name-g.fits
and so on), .npy, .npz or HDF5 (one or many), and JPEG or PNG for models trained on colour pictures.

Each galaxy gets OUTPUT/spectra/NAME.fits, with the spectrum whose features fit the image best, the
spread of all candidates as its uncertainty, and the candidates; specutils, TOPCAT and astropy open
it as it is. Beside them a catalogue, pictures, and `rejected.csv` with the files that could not be
used and why. The same seed gives a galaxy the same spectra in any batch and in any company.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from datasets.cutouts.reader import CutoutError, CutoutFormat, CutoutReader
from datasets.errors import UserError
from utils.core.checkpoints import TrainedGenerator, load_generator
from utils.core.config import SamplingConfig
from utils.core.device import pick_device
from utils.core.provenance import code_version, file_digest
from utils.generation import conditions
from utils.generation.batch_run import BulkRun
from utils.generation.fits_output import Provenance
from utils.generation.options import parse_condition
from utils.generation.pipeline import Pipeline, make_sampler, sampling_of
from utils.generation.ranking import RANKINGS
from utils.generation.redshift_catalogue import RedshiftTable


def main(argv: list[str] | None = None) -> int:
    """Parse, check, generate; returns the exit status."""
    options = _parser().parse_args(argv)
    try:
        return generate(options)
    except (UserError, CutoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cutouts", nargs="+", help="folder, files or globs")
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        required=True,
        help="trained generator; for the cascade the low and then the super-resolution one",
    )
    parser.add_argument("--output", required=True, help="folder for the results, made new")
    drawing = parser.add_argument_group("drawing (default: as the checkpoint was trained)")
    drawing.add_argument("--candidates", type=int, help="candidate spectra per galaxy")
    drawing.add_argument("--keep", type=int, help="candidates written, best first (all)")
    drawing.add_argument(
        "--mean-of-best", type=int, help="candidates, best first, whose mean is written (all)"
    )
    drawing.add_argument("--sampler", choices=["dpm", "ddim", "ancestral"])
    drawing.add_argument("--steps", type=int, help="sampling steps of dpm and ddim")
    drawing.add_argument(
        "--redshift",
        type=parse_condition("redshift"),
        default="sampled",
        help="sampled from the image for each candidate, unconditional, given with the cutouts "
        "(REDSHIFT in their headers, or an array redshift), or a number (%(default)s)",
    )
    drawing.add_argument(
        "--catalogue",
        help="table that gives the redshifts: CSV, ECSV, FITS or VOTable; rows belong to cutouts "
        "by a column name or file, or by an integer identifier, objid or specobjid",
    )
    drawing.add_argument("--redshift-column", help="its column that holds the redshifts")
    drawing.add_argument(
        "--snr",
        type=parse_condition("snr", given=False),
        default="sampled",
        help="signal-to-noise ratio per SDSS pixel: drawn from the image for each candidate, as "
        "in the survey, free, or a number; inf asks for a spectrum without noise (%(default)s)",
    )
    drawing.add_argument(
        "--guidance",
        type=float,
        help="weight of the image (classifier-free guidance): more than 1 exaggerates it, takes "
        "twice the time, and needs a network trained with hidden images",
    )
    drawing.add_argument(
        "--rank",
        default="contrastive",
        choices=RANKINGS,
        help="what makes a candidate the best: similarity to the image, agreement with its "
        "colours, or both (%(default)s)",
    )
    drawing.add_argument("--seed", type=int, default=1, help="seed of the noise (%(default)s)")
    files = parser.add_argument_group("about the cutouts, where their headers do not say it")
    files.add_argument("--bands", help="bands of the files in their order, e.g. u,g,r,i,z")
    files.add_argument("--pixel-scale", type=float, help="arcsec per pixel of the files")
    files.add_argument("--unit", help="flux unit of the files, e.g. nanomaggy or nJy")
    computing = parser.add_argument_group("computing")
    computing.add_argument("--device", default="auto", help="auto, cpu, cuda, … (%(default)s)")
    computing.add_argument(
        "--precision",
        default="float32",
        choices=["float32", "bfloat16", "auto"],
        help="auto: bfloat16 where the hardware has it (%(default)s)",
    )
    computing.add_argument(
        "--batch-size", type=int, default=8, help="galaxies at once (%(default)s)"
    )
    parser.add_argument(
        "--no-measure", action="store_true", help="measure nothing for the catalogue"
    )
    parser.add_argument("--no-pictures", action="store_true", help="write no pictures")
    parser.add_argument("--allow-rejects", action="store_true", help="exit 0 despite rejects")
    parser.add_argument("--resume", action="store_true", help="go on with a stopped run")
    parser.add_argument("--dry-run", action="store_true", help="check, print the plan, stop")
    return parser


def generate(options: argparse.Namespace) -> int:
    """Generate spectra for all cutouts.

    Returns:
        0, or 1 if files were rejected and `--allow-rejects` is not given.

    Raises:
        UserError, CutoutError: nothing was generated; the message says what to do.
    """
    device = pick_device(options.device)
    stages = [load_generator(path) for path in options.checkpoint]
    sampling = sampling_of(stages[-1].config.sampling, options)
    pipeline = Pipeline(
        stages,
        device,
        options.precision,
        rows_at_once=64 if device.type == "cpu" else 512,
        rank=options.rank,
        guidance=sampling.guidance,
    )
    requested = {name: getattr(options, name) for name in conditions.CONDITIONS}
    redshifts = redshift_table(options)
    if redshifts:
        requested[conditions.REDSHIFT] = "given"
    conditions.validate_conditions(pipeline.stages[0], requested)
    reader = CutoutReader(options.cutouts, cutout_format(pipeline.last, options))
    kept = options.keep or sampling.candidates
    if not 1 <= kept <= sampling.candidates:
        raise UserError(f"--keep {kept} of {sampling.candidates} candidates: keep 1 to all of them")
    if not 1 <= (sampling.mean_of_best or sampling.candidates) <= sampling.candidates:
        raise UserError(
            f"the mean of the best {sampling.mean_of_best} of {sampling.candidates} candidates: "
            "give another --mean-of-best, or more --candidates"
        )
    run = BulkRun(
        Path(options.output),
        pipeline,
        make_sampler(sampling),
        provenance(pipeline.last, sampling, options),
        kept,
        options.batch_size,
        not options.no_pictures,
        requested,
        not options.no_measure,
        redshifts,
    )
    print_plan(run, reader, sampling, options)
    if options.dry_run:
        return 0
    settings = {
        "checkpoints": list(run.provenance.checkpoints),
        "sampling": asdict(sampling),
        "keep": kept,
        "seed": options.seed,
        **requested,
        "catalogue": f"{redshifts.path.name} {file_digest(redshifts.path)}" if redshifts else None,
        "redshift_column": options.redshift_column,
        "rank": options.rank,
        "bands": options.bands,
        "pixel_scale": options.pixel_scale,
        "unit": options.unit,
    }
    run.open(settings, options.resume)
    run.run(reader)
    return finish(run, reader, options)


def redshift_table(options: argparse.Namespace) -> RedshiftTable | None:
    """The table that gives the redshifts, if the command line names one.

    Raises:
        UserError: options that contradict each other, or a table that cannot be used.
    """
    if not options.catalogue and not options.redshift_column:
        return None
    if not options.catalogue:
        raise UserError(
            "--redshift-column: name its table with --catalogue; redshifts that the cutouts "
            "themselves give are taken with --redshift given"
        )
    if not options.redshift_column:
        raise UserError("--catalogue: name its column of redshifts with --redshift-column")
    if options.redshift not in ("sampled", "given"):
        raise UserError(
            f"--redshift {options.redshift} and --catalogue contradict each other: leave one out"
        )
    return RedshiftTable(options.catalogue, options.redshift_column)


def cutout_format(stage: TrainedGenerator, options: argparse.Namespace) -> CutoutFormat:
    """What the network takes, and what the command line says of the files."""
    survey = stage.contrastive.survey
    return CutoutFormat(
        survey.bands,
        survey.pixel_scale_arcsec,
        survey.image_size,
        input_bands=tuple(options.bands.split(",")) if options.bands else None,
        input_pixel_scale_arcsec=options.pixel_scale,
        input_unit=options.unit,
    )


def provenance(
    stage: TrainedGenerator, sampling: SamplingConfig, options: argparse.Namespace
) -> Provenance:
    """What every file says about how it was made."""
    preparation = stage.contrastive.survey.preparation
    first, last = preparation.window_angstrom
    steps = "" if sampling.sampler == "ancestral" else f", {sampling.steps} steps"
    return Provenance(
        seed=options.seed,
        drawn=sampling.candidates,
        sampler=f"{sampling.sampler}{steps}",
        checkpoints=tuple(f"{Path(p).name} {file_digest(p)}" for p in options.checkpoint),
        code_version=code_version(),
        normalisation=f"{preparation.normalisation} of {first:g}-{last:g} Angstrom",
        smoothing_sigma_angstrom=preparation.smoothing_sigma_angstrom,
        averaged=sampling.mean_of_best,
    )


def print_plan(
    run: BulkRun, reader: CutoutReader, sampling: SamplingConfig, options: argparse.Namespace
) -> None:
    """Say what will be done."""
    survey = run.pipeline.last.contrastive.survey
    wavelength = run.pipeline.wavelength_angstrom
    print(f"cutouts     {len(reader)}")
    print(f"network     {', '.join(run.provenance.checkpoints)}, trained on {survey.name}")
    print(f"images      {' '.join(survey.bands)}, {survey.pixel_scale_arcsec:g} arcsec/px")
    print(f"spectra     {len(wavelength)} px, {wavelength[0]:.0f}-{wavelength[-1]:.0f} Å (vacuum)")
    print(f"candidates  {sampling.candidates} each, {run.kept} kept, {run.provenance.sampler}")
    print(f"output      {options.output}, seed {options.seed}, on {run.pipeline.device}")


def finish(run: BulkRun, reader: CutoutReader, options: argparse.Namespace) -> int:
    """Write catalogue and contact sheets, report, and return the exit status."""
    count = run.summarise(reader)
    for assumption, times in run.assumed.most_common():
        print(f"assumed for {times} cutouts: {assumption}")
    print(
        f"{count} spectra in {run.folder / 'spectra'}, catalogue in {run.folder / 'catalogue.fits'}"
    )
    if not run.rejects:
        return 0
    print(
        f"{len(run.rejects)} cutouts rejected, see {run.folder / 'rejected.csv'}; "
        f"the first: {run.rejects[0].path}: {run.rejects[0].reason}",
        file=sys.stderr,
    )
    return 0 if options.allow_rejects else 1


if __name__ == "__main__":
    sys.exit(main())
