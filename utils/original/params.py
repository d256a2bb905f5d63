"""The parameter files of the original code, in this project's terms.

The original reads two YAML files that share keys. Some of these are never read, others are
duplicates or have no counterpart here: `docs/deviations.md` lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from datasets.errors import UserError
from utils.core.config import (
    ContrastiveConfig,
    DataConfig,
    DiffusionConfig,
    GenerativeConfig,
    OptimiserConfig,
    RunConfig,
    SamplingConfig,
    TowersConfig,
)

Params = Mapping[str, Any]

# Keys that are translated, those of sections with the section in front.
SHARED = {
    "output_path", "dataset_file", "mp_loaders", "batch_size", "learning_rate", "max_epochs",
    "preprocessing", "optim.learning_rate", "optim.lr_function", "optim.lr_params.min_lr",
    "optim.lr_params.warmup_iters",
}  # fmt: skip
CONTRASTIVE = SHARED | {
    "weight_decay", "latent_dimensionality", "resnet.base_channels", "resnet.channel_mults",
}  # fmt: skip
GENERATIVE = SHARED | {
    "beta_schedule", "polyak_alpha", "conditioning", "time_steps", "num_eval_samples",
    "num_eval_predictions", "spectrumunet.encoder_size", "spectrumunet.dim",
    "spectrumunet.attention_depths", "spectrumunet.dim_mults",
}  # fmt: skip


def is_generative(params: Params) -> bool:
    """Whether these are the parameters of the U-Net, not those of the contrastive stage."""
    return "spectrumunet" in params


def band_count(params: Params) -> int:
    """5 bands, or 3 of colour pictures, which the original derives from a module name."""
    return 5 if "5band" in _get(params, "dataset_file") else 3


def data_config(params: Params) -> DataConfig:
    """Representation and flux. Raises UserError: a parameter is missing."""
    logarithmic = params.get("preprocessing", "log") == "log"
    return DataConfig(
        representation="super" if "sr" in _get(params, "dataset_file") else "low",
        flux="log_positive" if logarithmic else "none",
        standardise="none",
        positive_only=True,
        workers=params.get("mp_loaders", DataConfig.workers),
    )


def towers_config(params: Params) -> TowersConfig:
    """Sizes of the contrastive networks. Raises UserError: a parameter is missing."""
    size = _get(params, "resnet")
    return TowersConfig(
        stretch="linear",
        image_statistics="survey" if band_count(params) == 5 else "imagenet",
        photometry=False,
        embedding=_get(params, "latent_dimensionality"),
        spectrum_channels=_get(size, "base_channels"),
        spectrum_multipliers=tuple(_get(size, "channel_mults")),
        spectrum_pooling="mean",
        noise=(0.0, 0.0),
    )


def diffusion_config(params: Params) -> DiffusionConfig:
    """Sizes of the U-Net, its encoder and its schedule.

    Raises:
        UserError: a parameter is missing, or has a value that the original cannot run.
    """
    if _get(params, "conditioning") != "x-attention":
        raise UserError(
            f'conditioning "{params["conditioning"]}" is not supported: only networks with '
            '"x-attention" can be trained with the original code'
        )
    size = _get(params, "spectrumunet")
    multipliers = tuple(_get(size, "dim_mults")[:-1])  # the last never becomes a width
    return DiffusionConfig(
        condition="joint",
        condition_depth=_get(size, "encoder_size"),
        channels=_get(size, "dim"),
        multipliers=multipliers,
        attention_levels=tuple(
            level for level in _get(size, "attention_depths") if level < len(multipliers)
        ),
        film=False,
        prediction="noise",
        schedule=_get(params, "beta_schedule"),
        steps=_get(params, "time_steps"),
        prior="none",
        augmentation_sigma=0.0,  # the original trains on true low-resolution spectra
    )


def translate(params: Params) -> ContrastiveConfig | GenerativeConfig:
    """The configuration that is equivalent to the original's parameters.

    Raises:
        UserError: a parameter is missing, or has a value that the original cannot run.
    """
    return generative_config(params) if is_generative(params) else contrastive_config(params)


def contrastive_config(params: Params) -> ContrastiveConfig:
    """The configuration of the towers, from either parameter file; raises as `translate`."""
    return ContrastiveConfig(
        data_config(params), towers_config(params), _optimiser(params), _run(params)
    )


def generative_config(params: Params) -> GenerativeConfig:
    """The configuration of the U-Net; raises as `translate`."""
    sampling = SamplingConfig(
        sampler="ancestral",
        candidates=params.get("num_eval_predictions", SamplingConfig.candidates),
        preview_galaxies=params.get("num_eval_samples", SamplingConfig.preview_galaxies),
    )
    return GenerativeConfig(
        data=data_config(params),
        diffusion=diffusion_config(params),
        sampling=sampling,
        optimiser=_optimiser(params),
        run=_run(params),
        compatibility="original",
    )


def _run(params: Params) -> RunConfig:
    return RunConfig(output=params.get("output_path", RunConfig.output))


def _optimiser(params: Params) -> OptimiserConfig:
    schedule = params.get("optim", {})
    rates = schedule.get("lr_params") or {}
    learning_rate = params.get("learning_rate", 1e-4)
    # The original scales the optimiser's rate by min_lr / optim.learning_rate.
    scale = learning_rate / schedule.get("learning_rate", learning_rate)
    warmed = schedule.get("lr_function") == "linear-warmup-polynomial"
    return OptimiserConfig(
        batch_size=params.get("batch_size", OptimiserConfig.batch_size),
        epochs=params.get("max_epochs", OptimiserConfig.epochs),
        learning_rate=learning_rate,
        final_learning_rate=scale * rates.get("min_lr", 0.0),
        warmup_iterations=rates.get("warmup_iters", 0) if warmed else 0,
        weight_decay=0.0 if is_generative(params) else params.get("weight_decay", 0.0),
        gradient_clip=0.0,
        ema_decay=params.get("polyak_alpha", 0.0) if is_generative(params) else 0.0,
    )


def untranslated(params: Params) -> list[str]:
    """Dotted keys that `translate` does not read."""
    read = GENERATIVE if is_generative(params) else CONTRASTIVE
    return [key for key in _keys(params) if key not in read]


def _keys(params: Params, prefix: str = "") -> Iterator[str]:
    """Dotted keys of all values outside and inside of sections."""
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _get(params: Params, key: str) -> Any:
    if key not in params:
        raise UserError(f"the original's parameters lack {key}")
    return params[key]
