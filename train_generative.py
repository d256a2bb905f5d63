"""Train stage 2: a diffusion model that samples spectra for an image.

    python train_generative.py                                # reads params_generative.yml
    python train_generative.py --diffusion.contrastive runs/contrastive/best.pt
    python train_generative.py --config params/2024_generative_low.yml
    python train_generative.py --resume                       # go on with a stopped run
    python train_generative.py --help                         # every key, with its default

Needs a checkpoint of stage 1, whose survey and representation it takes. The run directory gets
`best.pt`, all that `generate.py` needs, `last.pt`, `metrics.csv`, `log.txt`, TensorBoard files and
previews: generated spectra with the true ones.
"""

from __future__ import annotations

import sys

from utils.core.command_line import Flags, parse
from utils.core.config import GenerativeConfig, to_dict


def main(argv: list[str] | None = None) -> int:
    """Parse, check, train; returns the exit status."""
    config, flags = parse(GenerativeConfig, "params_generative.yml", __doc__, argv)
    from utils.training.distributed import launch

    return launch(run, config, flags)


def run(rank: int, config: GenerativeConfig, flags: Flags) -> None:
    """Train in this process, the `rank`-th of its machine."""
    # after the arguments are parsed: these take seconds to import
    from ignite.utils import manual_seed

    from datasets.survey_description import SurveyDescription
    from utils.core.checkpoints import describe, load_contrastive, with_data_of
    from utils.core.model_factory import build_denoiser
    from utils.training.data_order import training_loader
    from utils.training.diffusion_task import GenerativeTask
    from utils.training.distributed import device_of
    from utils.training.fit_prior import training_ranges
    from utils.training.setup import (
        check_towers,
        describe_plan,
        open_survey,
        start,
        start_from,
        training_split,
    )

    device = device_of(config.run)
    towers = load_contrastive(config.diffusion.contrastive)
    config = with_data_of(towers, config)
    survey = open_survey(config.data)
    check_towers(towers, survey, config)
    training, spectra = training_split(survey, config.data)
    manual_seed(config.run.seed)
    known = training_ranges(survey, training, config)
    network = build_denoiser(config, towers.network, spectra, known).to(device)
    if config.run.start_from:
        start_from(config.run.start_from, "generative", network)
    description = describe(
        "generative", to_dict(config), SurveyDescription.of(survey), towers.images, spectra
    )
    description["known"] = known
    loader = training_loader(training, config, device)
    describe_plan(config, flags, survey, loader, network, device)
    towers.to(device)
    task = GenerativeTask(
        network, towers, spectra.to(device), config, survey, training, description, device
    )
    start(task, loader, config, flags, device)


if __name__ == "__main__":
    sys.exit(main())
