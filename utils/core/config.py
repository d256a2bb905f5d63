"""The typed, closed configuration of both training stages.

Every key of `params_contrastive.yml` and `params_generative.yml` is a field below; an unknown key
is refused. Precedence: command line > YAML file > the defaults here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

from jsonargparse import ArgumentParser

Representation = Literal["low", "super", "polyphase", "native"]


@dataclass
class DataConfig:
    """What is read, and how it is turned into tensors.

    Args:
        survey: Survey file (HDF5), from `python -m datasets.mock` or `utils.build_survey`.
        representation: `polyphase`: 4500 px as 8 interleaved phases; `low`: every 8th pixel;
            `super`: 4500 px, given the 563 px (second stage of the cascade); `native`: all pixels.
        flux: Flux transform before standardisation: `none` leaves the sums of stars and gas sums,
            `log` (with a floor), `asinh`, `log_positive` (published; needs `positive_only`).
        standardise: Mean and sigma of the transformed flux: `global` numbers, per `pixel`, or none.
        positive_only: Train only on spectra that are positive everywhere (published).
        workers: Processes that read the survey file; 0 reads in the training process.
        in_memory: Hold the survey in memory; by default if it takes less than 2 GB.
    """

    survey: str = "data/survey.h5"
    representation: Representation = "polyphase"
    flux: Literal["log", "asinh", "log_positive", "none"] = "log"
    standardise: Literal["global", "pixel", "none"] = "global"
    positive_only: bool = False
    workers: int = 0
    in_memory: bool | None = None


@dataclass
class OptimiserConfig:
    """Adam, a warm-up, a linear decay per iteration, and the average of the weights.

    Args:
        batch_size: Galaxies per iteration, over all processes.
        epochs: Passes over the training split, or a fraction of one.
        learning_rate: Learning rate after the warm-up.
        final_learning_rate: Learning rate of the last iteration (linear decay).
        warmup_iterations: Iterations over which the rate rises linearly from zero.
        weight_decay: Weight decay, coupled (L2) as in Adam.
        decoupled: Decoupled weight decay (AdamW) instead.
        gradient_clip: Largest norm of the gradient; 0 switches clipping off.
        ema_decay: Decay per iteration of the exponential moving average of the weights; it
            grows from 0.1 as (1 + n) / (10 + n) to this value. 0 switches averaging off.
    """

    batch_size: int = 256
    epochs: float = 100
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-6
    warmup_iterations: int = 0
    weight_decay: float = 0.0
    decoupled: bool = False
    gradient_clip: float = 1.0
    ema_decay: float = 0.999


@dataclass
class RunConfig:
    """Where a run writes, and on what it computes.

    Args:
        output: Run directory, made new, never overwritten; environment variables are expanded.
        start_from: Checkpoint of the same stage and sizes whose weights are trained further.
        seed: Seed of initial weights, order, augmentation and noise.
        device: `auto` (a GPU if there is one, else the CPU), `cpu`, `cuda`, `cuda:1`, …
        precision: `bfloat16`: the networks in bfloat16 where that is safe; `auto`: if native here.
        processes: Processes on this machine that share each batch: one per GPU, or on the cores of
            a CPU. `device: auto` starts at most as many as there are GPUs, if there are any; `cuda`
            refuses more. Leave it at 1 under torchrun.
        validate_every_epochs: Epochs between two validations.
        preview_every_epochs: Epochs between two preview pictures; 0 makes none.
        tensorboard: Write TensorBoard event files into the run directory.
    """

    output: str = "runs/run"
    start_from: str | None = None
    seed: int = 1
    device: str = "auto"
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    processes: int = 1
    validate_every_epochs: int = 1
    preview_every_epochs: int = 10
    tensorboard: bool = True


@dataclass
class TowersConfig:
    """The two towers of the contrastive stage.

    Args:
        stretch: Stretch of the images: `asinh` (keeps faint outskirts) or `linear` (published).
        image_statistics: Mean and sigma of the images: the `survey`'s, or `imagenet`'s (RGB).
        image_depth: Depth of the image ResNet.
        image_width: Channels of its first stage (torchvision's networks have 64).
        imagenet_weights: Local file with torchvision's ImageNet weights of that depth.
        embedding: Dimensions of the common space.
        spectrum_channels: Channels of the spectrum tower's first stage.
        spectrum_multipliers: Channels of its stages, in units of `spectrum_channels`.
        spectrum_pooling: `mean` over wavelength (published), or `flatten`, which keeps absolute
            wavelength and so redshift.
        temperature: Temperature of the NT-Xent loss.
        noise: Range of the random noise added to training spectra, per pixel and in units of
            the normalised flux, so that the towers cannot match noise levels.
    """

    stretch: Literal["asinh", "linear"] = "asinh"
    image_statistics: Literal["survey", "imagenet"] = "survey"
    image_depth: Literal[18, 34, 50] = 50
    image_width: int = 64
    imagenet_weights: str | None = None
    embedding: int = 128
    spectrum_channels: int = 64
    spectrum_multipliers: tuple[int, ...] = (1, 2, 4, 8, 16)
    spectrum_pooling: Literal["mean", "flatten"] = "mean"
    temperature: float = 0.05
    noise: tuple[float, float] = (0.0, 0.2)


@dataclass
class ContrastiveConfig:
    """Stage 1: image and spectrum towers.

    Args:
        data: The data.
        towers: The networks and their loss.
        optimiser: The optimiser.
        run: The run.
    """

    data: DataConfig = field(default_factory=DataConfig)
    towers: TowersConfig = field(default_factory=TowersConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    run: RunConfig = field(default_factory=lambda: RunConfig(output="runs/contrastive"))


@dataclass
class DiffusionConfig:
    """The conditional diffusion model.

    Args:
        contrastive: Checkpoint of the contrastive stage: the frozen image tower is the
            condition, both towers rank the candidates. Its representation has to be the same.
        condition: `frozen`: the contrastive image tower; `joint`: a ResNet of its own (published).
        condition_depth: Depth of the `joint` ResNet.
        condition_views: Augmented views of each image encoded once, ahead; 0: one at each step.
        channels: Channels of the U-Net's first level.
        multipliers: Channels of its levels, in units of `channels`.
        attention_levels: Levels (from 0) with a transformer block; the bottom has one anyway.
        condition_width: Width of the condition tokens; `joint` has its encoder's.
        film: The image scales the channels of every block too, beside being attended to.
        imagenet_weights: Local file with torchvision's ImageNet weights, to start `joint` from.
        time_width: Features of the diffusion time (4 `channels`).
        prediction: What the network predicts: `velocity`, or `noise` (published).
        schedule: Noise schedule.
        steps: Diffusion steps T of the schedule.
        redshift: `sampled` first, from the image, so that all lines share it; `unconditional`
            (published).
        snr: Signal-to-noise ratio per pixel: `sampled` first, and so at choice; `unconditional`
            (published).
        image_dropout: Share of the images hidden in training; guidance needs some (0.1).
        augmentation_sigma: Largest noise on the low-resolution input in training, in its sigma.
        checkpoint_gradients: Recompute activations in the backward pass to save memory.
    """

    contrastive: str = "runs/contrastive/best.pt"
    condition: Literal["frozen", "joint"] = "frozen"
    condition_depth: Literal[18, 34, 50] = 18
    condition_views: int = 0
    channels: int = 64
    multipliers: tuple[int, ...] = (1, 2, 4, 8)
    attention_levels: tuple[int, ...] = (3,)
    condition_width: int = 256
    film: bool = True
    imagenet_weights: str | None = None
    time_width: int | None = None
    prediction: Literal["velocity", "noise"] = "velocity"
    schedule: Literal["cosine", "linear"] = "cosine"
    steps: int = 250
    redshift: Literal["sampled", "unconditional"] = "sampled"
    snr: Literal["sampled", "unconditional"] = "sampled"
    image_dropout: float = 0.0
    augmentation_sigma: float = 0.3
    checkpoint_gradients: bool = False


@dataclass
class SamplingConfig:
    """How candidates are drawn.

    Args:
        sampler: DPM-Solver++(2M), DDIM, or ancestral sampling (published).
        steps: Sampling steps; ancestral sampling always takes all of the schedule.
        candidates: Candidate spectra per galaxy.
        mean_of_best: Candidates, best first, whose mean is written; null: all of them.
        guidance: Weight of the image (classifier-free guidance); 1 leaves it as it was learnt.
        preview_galaxies: Validation galaxies of a preview.
    """

    sampler: Literal["dpm", "ddim", "ancestral"] = "dpm"
    steps: int = 20
    candidates: int = 16
    mean_of_best: int | None = None
    guidance: float = 1.0
    preview_galaxies: int = 32


@dataclass
class GenerativeConfig:
    """Stage 2: spectra from images.

    Args:
        data: The data.
        diffusion: The network and its schedule.
        sampling: Candidates, for previews and as the default of `generate.py`.
        optimiser: The optimiser.
        run: The run.
        compatibility: `original` computes what the original code computes: its time features, ᾱ
            and misaligned low-resolution input; the survey must be prepared its way.
    """

    data: DataConfig = field(default_factory=lambda: DataConfig(flux="none"))
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    run: RunConfig = field(default_factory=lambda: RunConfig(output="runs/generative"))
    compatibility: Literal["none", "original"] = "none"


Config = ContrastiveConfig | GenerativeConfig
ConfigType = TypeVar("ConfigType", ContrastiveConfig, GenerativeConfig)


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as nested dicts of YAML's own types."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return list(value) if isinstance(value, tuple) else value

    return plain(asdict(config))


def from_dict(kind: type[ConfigType], values: dict[str, Any]) -> ConfigType:
    """The inverse of `to_dict`; unknown keys are refused."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    return kind(**vars(parser.instantiate(parser.parse_object(values))))
