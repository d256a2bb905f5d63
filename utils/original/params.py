"""The parameter files of the original code, in this project's terms.

The original reads two YAML files that share keys. Some of these are never read, some are read only
where they make no difference, some say the same twice; `remarks` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
WARMUP_RATE = 1e-3  # the learning rate before a warm-up, in units of the full one, is fixed here
KEPT_LOW = 2  # low-resolution candidates that guide the cascade here

IMAGENET = "name a local file of torchvision's weights in imagenet_weights"
DUPLICATE = "a duplicate: the towers are described by the contrastive file"

#: Keys without effect in the original, and why.
DEAD = {
    "reduction": "only subsampling ever ran",
    "backbone": "there is one",
    "con_backbone": "there is one",
    "img_res": "it concerns images that are not 64 px",
    "num_shown": "it is never read",
    "load_con_from": "it is never read",
}
#: Keys that are given elsewhere here, and where.
ELSEWHERE = {
    "use_logger": "TensorBoard takes the place of Weights & Biases: run.tensorboard",
    "load_from": "convert the checkpoint, name it in run.start_from to train it further",
    "load_lr_gen_from": "convert the checkpoint, give it to generate.py --checkpoint",
    "load_lr_con_from": "convert it together with its generator",
    "load_sr_gen_from": "convert the checkpoint, give it to generate.py --checkpoint",
    "load_sr_con_from": "convert it together with its generator",
    "num_sr_to_save": "give it to generate.py --keep",
}
#: Keys that are translated, those of sections with the section in front.
TOWERS = {
    "latent_dimensionality", "resnet.pretrained", "resnet.base_channels", "resnet.channel_mults",
}  # fmt: skip
SHARED = TOWERS | {
    "output_path", "dataset_file", "multigpu", "mp_loaders", "batch_size", "learning_rate",
    "max_epochs", "preprocessing", "optim.learning_rate", "optim.lr_function",
    "optim.lr_params.power", "optim.lr_params.min_lr", "optim.lr_params.warmup_iters",
    "optim.lr_params.warmup_rate",
}  # fmt: skip
CONTRASTIVE = SHARED | {"weight_decay"}
GENERATIVE = SHARED | {
    "distributed", "beta_schedule", "polyak_alpha", "conditioning", "time_steps",
    "spectrumunet.pretrained_encoder", "spectrumunet.encoder_size", "spectrumunet.dim",
    "spectrumunet.attention_depths", "spectrumunet.dim_mults", "num_eval_samples",
    "num_eval_predictions", "num_lr_to_save",
}  # fmt: skip


#: Key, when there is something to say, and what.
REMARKS: list[tuple[str, Callable[[Any, Params], bool], str]] = [
    (
        "optim.learning_rate",
        lambda value, params: value == params.get("learning_rate"),
        "a duplicate of learning_rate",
    ),
    (
        "optim.learning_rate",
        lambda value, params: value != params.get("learning_rate"),
        "contradicts learning_rate, which the optimiser has; their ratio scales the last rate",
    ),
    (
        "optim.lr_function",
        lambda value, _: value not in ("polynomial", "linear-warmup-polynomial"),
        "never ran in the original; the decay is linear",
    ),
    ("optim.lr_params.power", lambda value, _: value != 1, "not supported: the decay is linear"),
    (
        "optim.lr_params.warmup_rate",
        lambda value, _: value != WARMUP_RATE,
        f"not supported: warm-ups begin at {WARMUP_RATE:g} of the rate",
    ),
    (
        "preprocessing",
        lambda value, _: value not in ("log", "none"),
        "never did anything; the flux stays linear",
    ),
    ("multigpu", lambda value, _: value, "set run.processes to the number of GPUs"),
    ("distributed", lambda value, _: value, "set run.processes to the number of GPUs"),
    ("resnet.pretrained", lambda value, params: value and not is_generative(params), IMAGENET),
    ("spectrumunet.pretrained_encoder", lambda value, _: value, IMAGENET),
    *((key, lambda _, params: is_generative(params), DUPLICATE) for key in sorted(TOWERS)),
    (
        "latent_dimensionality",
        lambda value, params: is_generative(params) and value == 256,
        "contradicts the published contrastive file, which has 128",
    ),
    ("spectrumunet.dim_mults", lambda *_: True, "the last is dead: it never becomes a width"),
    (
        "spectrumunet.attention_depths",
        lambda value, params: max(value, default=0) >= _levels(params),
        "depths beyond the levels are dead; the bottom has attention anyway",
    ),
    (
        "num_lr_to_save",
        lambda value, _: value != KEPT_LOW,
        f"not supported: the cascade keeps {KEPT_LOW}",
    ),
]


def is_generative(params: Params) -> bool:
    """Whether these are the parameters of the U-Net, not those of the contrastive stage."""
    return "spectrumunet" in params


def band_count(params: Params) -> int:
    """5 bands, or the 3 of colour pictures, as the original tells from a module's name."""
    return 5 if "5band" in _get(params, "dataset_file") else 3


def data_config(params: Params) -> DataConfig:
    """Resolution and flux. Raises ValueError: a parameter is missing."""
    logarithmic = params.get("preprocessing", "log") == "log"
    return DataConfig(
        representation="super" if "sr" in _get(params, "dataset_file") else "low",
        flux="log_positive" if logarithmic else "none",
        standardise="none",
        positive_only=True,
        workers=params.get("mp_loaders", DataConfig.workers),
    )


def towers_config(params: Params) -> TowersConfig:
    """Sizes of the contrastive networks. Raises ValueError: a parameter is missing."""
    size = _get(params, "resnet")
    return TowersConfig(
        stretch="linear",
        image_statistics="survey" if band_count(params) == 5 else "imagenet",
        embedding=_get(params, "latent_dimensionality"),
        spectrum_channels=_get(size, "base_channels"),
        spectrum_multipliers=tuple(_get(size, "channel_mults")),
        spectrum_pooling="mean",
        noise=(0.0, 0.0),
    )


def diffusion_config(params: Params) -> DiffusionConfig:
    """Sizes of the U-Net, its encoder and its schedule.

    Raises:
        ValueError: a parameter is missing, or asks for what the original cannot run.
    """
    if _get(params, "conditioning") != "x-attention":
        raise ValueError(
            f'conditioning "{params["conditioning"]}" is not supported: only networks with '
            '"x-attention" can be trained with the original code'
        )
    size = _get(params, "spectrumunet")
    multipliers = tuple(_get(size, "dim_mults")[: _levels(params)])
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
        redshift="unconditional",
        snr="unconditional",
        augmentation_sigma=0.0,  # the original trains on true low-resolution spectra
    )


def translate(params: Params) -> ContrastiveConfig | GenerativeConfig:
    """The configuration that the original's parameters mean.

    Raises:
        ValueError: a parameter is missing, or asks for what the original cannot run.
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
        data_config(params),
        diffusion_config(params),
        sampling,
        _optimiser(params),
        _run(params),
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


def remarks(params: Params) -> list[str]:
    """What the translation cannot carry over, and what of the old file is dead or doubled."""
    known = GENERATIVE if is_generative(params) else CONTRASTIVE
    lines = []
    for key, value in _leaves(params):
        if key in DEAD:
            lines.append(f"{key} is dead: {DEAD[key]}")
        elif key in ELSEWHERE:
            lines.append(f"{key} is not carried over: {ELSEWHERE[key]}")
        elif key not in known:
            lines.append(f"{key} is unknown: the published code does not read it")
        lines += [
            f"{key} = {value}: {text}"
            for concerned, applies, text in REMARKS
            if key == concerned and applies(value, params)
        ]
    return lines


def _leaves(params: Params, prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and their values."""
    leaves = []
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            leaves += _leaves(value, f"{prefix}{key}.")
        else:
            leaves.append((prefix + str(key), value))
    return leaves


def _levels(params: Params) -> int:
    """Levels of the U-Net: the last multiplier never becomes a width."""
    return len(_get(_get(params, "spectrumunet"), "dim_mults")) - 1


def _get(params: Params, key: str) -> Any:
    if key not in params:
        raise ValueError(f"the original's parameters lack {key}")
    return params[key]
