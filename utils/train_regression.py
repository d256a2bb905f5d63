"""A plain network from image to spectrum: the baseline without diffusion.

    python -m utils.train_regression --data.survey data/survey.h5 --run.output runs/regression
    python -m utils.train_regression --help-all                    # every key, with its default
    python -m utils.evaluate … --regression runs/regression/best.pt

A ResNet with one output per pixel, trained on the squared error of the standardised linear flux: it
learns the mean spectrum given the image, and nothing about the scatter around it. Give it the
images, the width and the training time of the two stages that it is compared with.
"""

from __future__ import annotations

import sys

from utils.core.command_line import Flags, parse
from utils.core.config import to_dict
from utils.core.regression_config import RegressionConfig


def main(argv: list[str] | None = None) -> int:
    """Parse, check, train; returns the exit status."""
    config, flags = parse(RegressionConfig, None, __doc__, argv)
    from utils.training.distributed import launch

    return launch(run, config, flags)


def run(rank: int, config: RegressionConfig, flags: Flags) -> None:
    """Train in this process, the `rank`-th of its machine."""
    # after the arguments are parsed: these take seconds to import
    from ignite.utils import manual_seed

    from datasets.image_transform import ImageTransform
    from datasets.survey_description import SurveyDescription
    from utils.core.checkpoints import describe
    from utils.training.data_order import training_loader
    from utils.training.distributed import device_of
    from utils.training.regression import RegressionTask, build_regression
    from utils.training.setup import describe_plan, open_survey, start, start_from, training_split

    device = device_of(config.run)
    survey = open_survey(config.data)
    training, spectra = training_split(survey, config.data, device)
    images = ImageTransform(config.network.stretch, survey.image_mean, survey.image_sigma)
    manual_seed(config.run.seed)
    network = build_regression(config.network, len(survey.bands), spectra).to(device)
    if config.run.start_from:
        start_from(config.run.start_from, "regression", network, survey.bands)
    description = describe(
        "regression", to_dict(config), SurveyDescription.of(survey), images, spectra
    )
    loader = training_loader(training, config, device)
    describe_plan(config, flags, survey, loader, [network], device)
    task = RegressionTask(
        network, config, images.to(device), spectra.to(device), survey, description, device
    )
    start(task, loader, config, flags, device)


if __name__ == "__main__":
    sys.exit(main())
