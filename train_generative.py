"""Train stage 2: two diffusion models that sample a galaxy's parameters, then its spectrum.

    python train_generative.py                                # reads params_generative.yml
    python train_generative.py --diffusion.contrastive runs/contrastive/best.pt
    python train_generative.py --config params/2024_generative_low.yml
    python train_generative.py --resume                       # go on with a stopped run
    python train_generative.py --help-all                     # every key, with its default

Needs a checkpoint of stage 1, whose survey and representation it takes. The run directory gets
`best.pt`, all that `generate.py` needs, `last.pt`, `metrics.csv`, `log.txt`, TensorBoard files and
previews: generated spectra with the true ones; `parameters/` has the same of the first of the two.
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
    from models.diffusion import DenoisingLoss
    from utils.core.checkpoints import TrainedGenerator, describe, load_contrastive, with_data_of
    from utils.core.model_factory import build_denoiser, build_parameter_denoiser
    from utils.core.run_directory import run_folder
    from utils.training.data_order import training_loader
    from utils.training.distributed import device_of
    from utils.training.feature_cache import VIEWS
    from utils.training.fit_novelty import fit_novelty
    from utils.training.fit_prior import fit_prior, saved_prior, training_ranges
    from utils.training.parameter_task import train_parameters
    from utils.training.setup import (
        check_towers,
        describe_plan,
        open_survey,
        start,
        start_from,
        training_split,
    )
    from utils.training.spectrum_task import SpectrumTask, checkpoint_constants, validation_rows
    from utils.training.training_data import TrainingData

    # The galaxies, and the towers of stage 1, which stay as they are.
    device, seed = device_of(config.run), config.run.seed
    towers = load_contrastive(config.diffusion.contrastive)
    config = with_data_of(towers, config)
    survey = open_survey(config.data)
    check_towers(towers, survey, config)
    training, spectra = training_split(survey, config.data, device)
    rows = validation_rows(survey, config)
    loader = training_loader(training, config, device)

    # Two denoisers that attend to the same image: of parameters, and of the spectrum around them.
    ranges = training_ranges(survey, np.concatenate([training.rows, rows]), config)
    manual_seed(seed)
    parameter_denoiser = build_parameter_denoiser(config, towers.network, spectra)
    denoiser = build_denoiser(config, towers.network, spectra, ranges).to(device)
    if config.run.start_from:
        start_from(config.run.start_from, "generative", denoiser, survey.bands)
    about = describe(
        "generative", to_dict(config), SurveyDescription.of(survey), towers.images, spectra
    )
    about["conditions"] = ranges
    networks = [network for network in (parameter_denoiser, denoiser) if network is not None]
    describe_plan(config, flags, survey, loader, networks, device)

    # 1. The prior: mean and σ of a spectrum given its galaxy's parameters. Fitted, not trained.
    towers, spectra, prior = towers.to(device), spectra.to(device), denoiser.prior
    saved = saved_prior(run_folder(config.run.output)) if flags.resume else None
    fit_prior(prior, spectra, survey, training.rows, config, saved)
    folder = None if flags.dry_run else run_folder(config.run.output)
    data = TrainingData.of(prior, towers, spectra, survey, training.rows, rows, config, folder)

    # 2. The parameter diffusion: p(z, S/N, coefficients | image).
    dropout = config.diffusion.image_dropout
    if parameter_denoiser is not None:
        loss = DenoisingLoss(parameter_denoiser.to(device), image_dropout=dropout)
        constants = checkpoint_constants(about | {"kind": "parameters"}, towers)
        train_parameters(loss, data, constants | {"prior": prior.state_dict()}, config, flags)

    # 3. The spectrum diffusion: p(spectrum | parameters, image), about the prior's mean.
    loss = DenoisingLoss(denoiser, config.diffusion.augmentation_sigma, dropout)
    novelty = fit_novelty(towers, survey, training.rows, config)  # is a cutout like these images?
    stage = TrainedGenerator(denoiser, parameter_denoiser, spectra, towers, config, about, novelty)
    start(SpectrumTask(loss, stage, data), loader, config, flags, device)
    if folder is not None:  # the views are not needed any more
        (folder / VIEWS).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
