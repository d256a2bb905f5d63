"""Train stage 1: an image tower and a spectrum tower that recognise which belong together.

    python -m datasets.mock data/survey.h5 --count 20000      # or a survey of real galaxies
    python train_contrastive.py                               # reads params_contrastive.yml
    python train_contrastive.py --data.survey other.h5 --run.output runs/other
    python train_contrastive.py --resume                      # go on with a stopped run
    python train_contrastive.py --help-all                    # every key, with its default

The run directory gets `best.pt` (for `train_generative.py`), `last.pt`, `metrics.csv`, `log.txt`,
TensorBoard files and previews: spectra with the images found for them.
"""

from __future__ import annotations

import sys

from utils.core.command_line import Flags, parse
from utils.core.config import ContrastiveConfig, to_dict


def main(argv: list[str] | None = None) -> int:
    """Parse, check, train; returns the exit status."""
    config, flags = parse(ContrastiveConfig, "params_contrastive.yml", __doc__, argv)
    from utils.training.distributed import launch

    return launch(run, config, flags)


def run(rank: int, config: ContrastiveConfig, flags: Flags) -> None:
    """Train in this process, the `rank`-th of its machine."""
    # after the arguments are parsed: these take seconds to import
    from ignite.utils import manual_seed

    from datasets.survey_description import SurveyDescription
    from utils.core.checkpoints import describe
    from utils.core.model_factory import build_contrastive, build_images
    from utils.training.contrastive_task import ContrastiveTask
    from utils.training.data_order import training_loader
    from utils.training.distributed import device_of
    from utils.training.setup import describe_plan, open_survey, start, start_from, training_split

    device = device_of(config.run)
    survey = open_survey(config.data)
    training, spectra = training_split(survey, config.data, device)
    images = build_images(config.towers, survey)
    manual_seed(config.run.seed)
    shape = spectra.channels, spectra.length
    network = build_contrastive(config.towers, len(survey.bands), *shape).to(device)
    if config.run.start_from:
        start_from(config.run.start_from, "contrastive", network, survey.bands)
    description = describe(
        "contrastive", to_dict(config), SurveyDescription.of(survey), images, spectra
    )
    loader = training_loader(training, config, device)
    describe_plan(config, flags, survey, loader, [network], device)
    task = ContrastiveTask(
        network, config, images.to(device), spectra.to(device), survey, description, device
    )
    start(task, loader, config, flags, device)


if __name__ == "__main__":
    sys.exit(main())
