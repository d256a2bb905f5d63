"""Write a trained generator as one small file for users: safetensors, half the bytes, no code.

    python -m utils.export runs/generative/best.pt galaxies.safetensors

The file is all that `generate.py --weights galaxies.safetensors` needs. It describes itself: survey
and configuration of the training, without the paths of this machine.
"""

from __future__ import annotations

import argparse
import sys
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command

if TYPE_CHECKING:
    from utils.core.checkpoints import TrainedGenerator


def main(argv: list[str] | None = None) -> int:
    """Parse and write; returns the exit status."""
    parser = CommandParser(__doc__, "python -m utils.export")
    parser.add_argument("checkpoint", type=Path, help="best.pt of train_generative.py")
    parser.add_argument("output", type=Path, help="file to write, ending in .safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    return run_command(_export, parser.parse_args(argv))


def _export(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from utils.core.checkpoints import load_generator
    from utils.core.weights_file import SUFFIX, write_weights_file

    if options.output.suffix != SUFFIX:
        raise UserError(f"{options.output}: the name must end in {SUFFIX}")
    if options.output.exists() and not options.overwrite:
        raise UserError(f"{options.output} exists: add --overwrite, or name another file")
    checkpoint, halved = exported(load_generator(options.checkpoint))
    write_weights_file(options.output, checkpoint, halved)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB")
    return 0


def exported(generator: TrainedGenerator) -> tuple[dict[str, Any], set[str]]:
    """The contents of the file, and the names of the tensors that are stored in half precision:
    weights of layers and the spectral templates, not statistics and other constants."""
    modules = {
        "network": generator.network,
        "parameters": generator.parameters,
        "towers": generator.contrastive.network,
        "novelty": generator.novelty,
    }
    modules = {part: module for part, module in modules.items() if module is not None}
    states = {part: module.state_dict() for part, module in modules.items()}
    towers = {"about": _without_paths(generator.contrastive.about), "weights": states.pop("towers")}
    halved = {
        f"{part}.{name}"
        for part, module in modules.items()
        for name, _ in module.named_parameters()
    } | {"network.prior.basis.templates"}
    return {"about": _without_paths(generator.about), "contrastive": towers, **states}, halved


def _without_paths(about: dict[str, Any]) -> dict[str, Any]:
    """A description without the files and folders of the machine that trained."""
    about = deepcopy(about)
    config = about["config"]
    config.pop("run", None)
    config["data"]["survey"] = about["survey"]["name"]
    for section, key in (("diffusion", "contrastive"), ("diffusion", "imagenet_weights"),
                         ("towers", "imagenet_weights")):  # fmt: skip
        config.get(section, {}).pop(key, None)
    return about


if __name__ == "__main__":
    sys.exit(main())
