"""Generate optical spectra for galaxy cutouts.

    python generate.py CUTOUTS --output spectra        # with weights that come with the project
    python generate.py CUTOUTS --output spectra --checkpoint runs/generative/best.pt  # your own
    python generate.py cutouts/*.fits --output spectra --candidates 64
    python generate.py survey.npz --output spectra --bands g,r,i,z,u
    python generate.py CUTOUTS --output spectra --checkpoint low/best.pt super/best.pt  # cascade
    python generate.py CUTOUTS --output spectra --catalogue photoz.csv --redshift-column z_phot
    python generate.py CUTOUTS --output spectra --resume                 # go on with a stopped run
    torchrun --nproc-per-node 4 generate.py survey.h5 --output spectra --shards  # very many cutouts

CUTOUTS: a folder, files, or globs: FITS (a cube, an extension per band, or name-u.fits, name-g.fits
and so on), .npy, .npz or HDF5 (one or many), and JPEG or PNG for models trained on colour pictures.

Each galaxy gets OUTPUT/spectra/NAME.fits, with the spectrum whose features fit the image best, the
spread of all candidates as its uncertainty, and the candidates; specutils, TOPCAT and astropy open
it as it is. Beside them are a catalogue, pictures, and `rejected.csv` with the files that could not
be used and why. A galaxy's spectra depend on the seed and its name, not on the other galaxies.
With --shards there is one HDF5 file for many galaxies instead (see `python -m utils.shards`).
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from datasets.errors import run_command
from utils.generation.options import generation_parser

if TYPE_CHECKING:
    from utils.generation.batch_run import BatchRun
    from utils.generation.products import Workers


def main(argv: list[str] | None = None) -> int:
    """Parse, check, generate; returns the exit status."""
    return run_command(generate, generation_parser(__doc__).parse_args(argv))


def generate(options: argparse.Namespace) -> int:
    """Generate spectra for all cutouts.

    Returns:
        0, or 1 if files were rejected and `--allow-rejects` is not given.

    Raises:
        UserError: nothing was generated; the message says what to do.
    """
    # after the arguments are parsed: all these take seconds to import
    from utils.generation.products import start_workers

    with start_workers(0 if options.dry_run or options.shards else options.workers) as workers:
        return _generate(options, workers)


def _generate(options: argparse.Namespace, workers: Workers | None) -> int:
    from datasets.cutouts.reader import CutoutReader
    from utils.core.interruption import stop_at_signals
    from utils.generation.from_options import (
        cutout_format,
        join_processes,
        load_pipeline,
        make_run,
        plan,
        redshift_table,
        settings_of,
    )

    join_processes(options)
    redshifts = redshift_table(options)
    pipeline, sampling = load_pipeline(options)
    reader = CutoutReader(options.cutouts, cutout_format(pipeline.last.contrastive.survey, options))
    run = make_run(pipeline, sampling, reader, options, redshifts, workers)
    print(plan(run, reader), end="\n" if run.rank == 0 else "")
    if options.dry_run:
        return 0
    settings = settings_of(run, sampling, reader, options)
    with stop_at_signals(), run.open(settings, options.resume):
        run.run(reader)
        if not run.finished:
            print("this process has done its part; the last one writes the catalogue")
            return 0
        return report(run, run.summarise(), options.allow_rejects)


def report(run: BatchRun, count: int, allow_rejects: bool) -> int:
    """Print what was made of the cutouts, and return the exit status."""
    for assumption, times in run.assumed.most_common():
        print(f"assumed for {times} cutouts: {assumption}")
    if run.unlike:
        print(
            f"warning: unlike the training images: {run.unlike} of {count}; do not trust these "
            "spectra (image_flag in the catalogue, IMGFLAG in the files)",
            file=sys.stderr,
        )
    if run.overflowed:
        print(
            f"warning: {run.overflowed} galaxies have candidates whose flux is not finite: the "
            "network was hardly trained, or its training images had other units or statistics",
            file=sys.stderr,
        )
    folder = run.folder
    catalogue = f", catalogue in {folder / 'catalogue.fits'}" if count else ""
    print(f"{count} spectra in {folder / run.parts}{catalogue}")
    if 0 < run.products.pictures < count:
        print(f"pictures of the first {run.products.pictures}; index.html shows more")
    if not run.rejects:
        return 0
    print(
        f"{len(run.rejects)} cutouts rejected, see {folder / 'rejected.csv'}; "
        f"the first: {run.rejects[0].path}: {run.rejects[0].reason}",
        file=sys.stderr,
    )
    return 0 if allow_rejects else 1


if __name__ == "__main__":
    sys.exit(main())
