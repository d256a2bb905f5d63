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
    import numpy as np
    from ignite.utils import manual_seed

    from datasets.survey_description import SurveyDescription
    from utils.core.checkpoints import describe, load_contrastive, with_data_of
    from utils.core.model_factory import build_denoiser
    from utils.core.run_directory import LAST, run_folder
    from utils.training.data_order import training_loader
    from utils.training.diffusion_task import GenerativeTask, validation_rows
    from utils.training.distributed import device_of
    from utils.training.feature_cache import encode_views
    from utils.training.fit_prior import fit_prior, saved_fit, training_ranges
    from utils.training.setup import (
        check_towers,
        describe_plan,
        open_survey,
        start,
        start_from,
        training_split,
    )

    # The galaxies, and the image tower of stage 1, which stays as it is.
    device, seed = device_of(config.run), config.run.seed
    towers = load_contrastive(config.diffusion.contrastive)
    config = with_data_of(towers, config)
    survey = open_survey(config.data)
    check_towers(towers, survey, config)
    training, spectra = training_split(survey, config.data)
    validation = validation_rows(survey, config)
    loader = training_loader(training, config, device)

    # The denoiser: a U-Net that attends to the tower's tokens, around a prior on the spectrum.
    ranges = training_ranges(survey, np.concatenate([training.rows, validation]), config)
    manual_seed(seed)
    denoiser = build_denoiser(config, towers.network, spectra, ranges).to(device)
    if config.run.start_from:
        start_from(config.run.start_from, "generative", denoiser)
    description = describe(
        "generative", to_dict(config), SurveyDescription.of(survey), towers.images, spectra
    )
    description["conditions"] = ranges
    describe_plan(config, flags, survey, loader, denoiser, device)

    # The prior is fitted once, or restored; the diffusion model then learns the residual.
    towers, spectra = towers.to(device), spectra.to(device)
    saved = saved_fit(run_folder(config.run.output) / LAST) if flags.resume else None
    fitted = fit_prior(
        denoiser.prior, towers, spectra, survey, training.rows, validation, ranges, seed, saved
    )
    features = encode_views(denoiser.condition, towers, training, config, device)
    task = GenerativeTask(  # its loss is `models.diffusion.DenoisingLoss`
        denoiser, towers, spectra, config, survey, validation, fitted, features, description
    )
    start(task, loader, config, flags, device)


if __name__ == "__main__":
    sys.exit(main())
