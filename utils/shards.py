"""The shards that `generate.py --shards` writes: check, merge, or export them.

python -m utils.shards check OUTPUT                # is every shard there, whole, no galaxy twice?
python -m utils.shards merge OUTPUT spectra.h5     # one HDF5 file of the same layout
python -m utils.shards export OUTPUT FOLDER        # a FITS file per galaxy, as without --shards

In Python, `utils.generation.shards.read_shards(OUTPUT)` yields one spectrum after the other.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command


def main(argv: list[str] | None = None) -> int:
    """Parse and work; returns the exit status."""
    parser = CommandParser(__doc__, "python -m utils.shards")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="read every shard; exit status 1 if one is missing")
    merge = commands.add_parser("merge", help="one HDF5 file of all shards")
    export = commands.add_parser("export", help="a FITS file per galaxy")
    for command in (check, merge, export):
        command.add_argument("run", type=Path, help="folder of a run, or, to export, an HDF5 file")
    merge.add_argument("file", type=Path, help="HDF5 file to write, which must not exist")
    export.add_argument("folder", type=Path, help="folder for the FITS files, made new")
    export.add_argument("--names", nargs="+", help="names of galaxies (all)")
    options = parser.parse_args(argv)
    actions = {"check": _check, "merge": _merge, "export": _export}
    return run_command(actions[options.command], options)


def _check(options: argparse.Namespace) -> int:
    from utils.generation.shards import read_rejects, read_shards, shard_path

    record = options.run / "generate.json"
    try:
        expected = json.loads(record.read_text(encoding="utf-8"))["shards"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{record}: not the record of a run with --shards") from error
    missing = [k for k in range(expected) if not shard_path(options.run, k).exists()]
    names: set[str] = set()
    count = 0
    for spectrum in read_shards(options.run) if len(missing) < expected else ():
        count += 1
        names.add(spectrum.name)
    rejected = len(read_rejects(options.run)) if len(missing) < expected else 0
    print(f"{expected - len(missing)} of {expected} shards, {count} galaxies, {rejected} rejected")
    if len(names) < count:
        raise UserError(f"{count - len(names)} galaxies are there twice")
    if missing:
        print(f"missing: {shard_path(options.run, missing[0])} and {len(missing) - 1} more")
        print("generate.py --resume, with the same options, makes them")
    return int(bool(missing))


def _merge(options: argparse.Namespace) -> int:
    from utils.generation.shards import merge_shards

    if options.file.exists():
        raise UserError(f"{options.file} exists: name another file")
    if _check(options):
        raise UserError(f"{options.run} is not complete")
    print(f"{merge_shards(options.run, options.file)} galaxies in {options.file}")
    return 0


def _export(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from datasets.file_names import file_stem
    from utils.generation.fits_output import write_spectrum
    from utils.generation.shards import count_spectra, read_shards

    wanted = set(options.names or ())
    total = count_spectra(options.run)
    options.folder.mkdir(parents=True, exist_ok=True)
    if any(options.folder.iterdir()):
        raise UserError(f"{options.folder} is not empty: name another folder")
    written = set()
    spectra = tqdm(read_shards(options.run), "exporting", total, unit="galaxy", disable=None)
    for spectrum in spectra:
        if not wanted or spectrum.name in wanted:
            write_spectrum(options.folder / f"{file_stem(spectrum.name)}.fits", spectrum)
            written.add(spectrum.name)
    if wanted - written:
        raise UserError(f"{options.run}: no galaxy is called {', '.join(sorted(wanted - written))}")
    print(f"{len(written)} spectra in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
