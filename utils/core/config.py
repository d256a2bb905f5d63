"""The typed, closed configuration of the training scripts, and the one home of their defaults.

Every key of the parameter files is a field below. An unknown key, a value out of range and a
contradiction are refused before anything is read. Later arguments of a command line, be they keys
or `--config` files, override earlier ones, and all of them the defaults here. This module imports
nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar

from jsonargparse import ArgumentParser

from utils.core.option_checks import at_least, fraction, multiples, positive, refuse, unused

Representation = Literal["low", "super", "polyphase", "native"]
Stretch = Literal["asinh", "linear"]
Depth = Literal[18, 34, 50]
Precision = Literal["float32", "bfloat16", "auto"]
NORM_GROUPS = 8  # of group normalisation in `models.blocks`
ATTENTION_CHANNELS = 32  # per head and normalisation group in `models.attention`
IMAGENET_WIDTH = 64  # channels of the first stage of torchvision's networks


@dataclass
class DataConfig:
    """Survey file, and how its spectra become tensors.

    Args:
        survey: Survey file (HDF5), from `python -m datasets.mock` or `utils.build_survey`. In
            stage 2, null takes the file that the contrastive checkpoint was trained on.
        representation: `polyphase`: 4500 px as 8 interleaved phases; `low`: every 8th pixel;
            `super`: 4500 px, given the 563 px (second stage of the cascade); `native`: all pixels.
            In stage 2, null takes that of the contrastive checkpoint.
        flux: Flux transform before standardisation: `none` keeps the flux linear, in which stellar
            and nebular light add; `log` has a floor; `log_positive` needs `positive_only`
            (published).
        standardise: Mean and sigma of the transformed flux: `global` numbers, per `pixel`, or none.
        positive_only: Train only on spectra that are positive everywhere (published).
        galaxies: Train on at most so many galaxies, the first ones of the training split, to see
            how results depend on their number.
        workers: Processes that read the survey file; 0 reads in the training process.
        in_memory: Hold the training split in memory; null does so if it takes less than 2 GB, or
            half of the free memory of the GPU that trains, which then holds it.
    """

    survey: str | None = "data/survey.h5"
    representation: Representation | None = "polyphase"
    flux: Literal["log", "log_positive", "none"] = "log"
    standardise: Literal["global", "pixel", "none"] = "global"
    positive_only: bool = False
    galaxies: int | None = None
    workers: int = 0
    in_memory: bool | None = None

    def __post_init__(self) -> None:
        at_least(0, "data", self, "workers")
        at_least(1, "data", self, "galaxies")
        refuse(
            self.flux == "log_positive" and not self.positive_only,
            "data.flux log_positive has no value for pixels that are not positive: set "
            "data.positive_only true, or data.flux log",
        )


def complete_data(data: DataConfig) -> None:
    """Refuse what only stage 2 may leave open."""
    for name in ("survey", "representation"):
        refuse(
            getattr(data, name) is None,
            f"data.{name} is null, which only train_generative.py can fill in: give one",
        )


@dataclass
class OptimiserConfig:
    """Adam, a warm-up, a linear decay per iteration, and the average of the weights.

    Args:
        name: `adam`, with coupled (L2) weight decay, or `adamw`, with decoupled weight decay.
        batch_size: Galaxies per iteration, over all processes.
        accumulate: Parts of a batch that are computed one after the other, and whose gradients are
            summed: less memory, the same mean. Not for the contrastive loss, which compares the
            galaxies of a batch with one another.
        epochs: Passes over the training split; may be fractional.
        learning_rate: Learning rate after the warm-up.
        final_learning_rate: Learning rate of the last iteration (linear decay).
        warmup_iterations: Iterations over which the rate rises linearly from zero.
        weight_decay: Weight decay.
        gradient_clip: Largest norm of the gradient; 0 switches clipping off.
        ema_decay: Decay per iteration of the exponential moving average of the weights; it
            grows from 0.1 as (1 + n) / (10 + n) to this value. 0 switches averaging off.
    """

    name: Literal["adam", "adamw"] = "adam"
    batch_size: int = 512
    accumulate: int = 1
    epochs: float = 100
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-6
    warmup_iterations: int = 500
    weight_decay: float = 1e-3
    gradient_clip: float = 1.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        at_least(1, "optimiser", self, "batch_size", "accumulate")
        positive("optimiser", self, "epochs", "learning_rate")
        at_least(0, "optimiser", self, "final_learning_rate", "warmup_iterations")
        at_least(0, "optimiser", self, "weight_decay", "gradient_clip")
        fraction("optimiser", self, "ema_decay")
        refuse(
            self.final_learning_rate > self.learning_rate,
            f"optimiser.final_learning_rate {self.final_learning_rate:g} is more than "
            f"optimiser.learning_rate {self.learning_rate:g}: the rate must fall; lower the former",
        )


@dataclass
class RunConfig:
    """Where a run writes, and where and in which precision it computes.

    Args:
        output: Run directory, made new, never overwritten; environment variables are expanded.
        start_from: Checkpoint of the same stage and sizes, or exported weights such as
            `weights/mock-ugriz.safetensors`, that are trained further.
        seed: Seed of initial weights, order, augmentation and noise.
        device: `auto` (a GPU if there is one, else the CPU), `cpu`, `cuda`, `cuda:1`, …
        precision: `bfloat16` runs the networks in bfloat16 where that is safe; `auto` does so
            where that is faster.
        processes: Processes on this machine that share each batch: one per GPU, or on the cores of
            a CPU. `device: auto` starts at most as many as there are GPUs, if there are any; `cuda`
            refuses more. Leave it at 1 under torchrun.
        checkpoint_minutes: Minutes between two checkpoints within an epoch; 0 makes none there.
        validate_every_epochs: Epochs between two validations.
        preview_every_epochs: Epochs between two preview pictures; 0 makes none.
        tensorboard: Write TensorBoard event files into the run directory.
    """

    output: str = "runs/run"
    start_from: str | None = None
    seed: int = 1
    device: str = "auto"
    precision: Precision = "float32"
    processes: int = 1
    checkpoint_minutes: float = 10.0
    validate_every_epochs: int = 1
    preview_every_epochs: int = 10
    tensorboard: bool = True

    def __post_init__(self) -> None:
        at_least(0, "run", self, "seed", "checkpoint_minutes", "preview_every_epochs")
        at_least(1, "run", self, "processes", "validate_every_epochs")


def check_batches(optimiser: OptimiserConfig, run: RunConfig) -> None:
    """Refuse batches that processes and parts cannot share evenly."""
    refuse(
        optimiser.batch_size % (run.processes * optimiser.accumulate) > 0,
        f"optimiser.batch_size {optimiser.batch_size} is not a multiple of run.processes "
        f"{run.processes} × optimiser.accumulate {optimiser.accumulate}: change one of them",
    )


class Config:
    """A whole configuration, of one training script; every one has these sections."""

    data: DataConfig
    optimiser: OptimiserConfig
    run: RunConfig


ConfigType = TypeVar("ConfigType", bound=Config)


@dataclass
class TowersConfig:
    """The two towers of the contrastive stage, and their loss.

    Args:
        stretch: Stretch of the images: `asinh` (keeps faint outskirts) or `linear` (published).
        image_statistics: Mean and sigma of the images: those of the `survey`, or of `imagenet`
            (RGB pictures only).
        image_depth: Depth of the image ResNet.
        image_width: Channels of its first stage (torchvision's networks have 64).
        imagenet_weights: Local file with torchvision's ImageNet weights of that depth.
        photometry: Photometry of the cutout adds to what the ResNet makes of it (not published).
        embedding: Dimensions of the common space.
        spectrum_channels: Channels of the spectrum tower's first stage.
        spectrum_multipliers: Channels of its stages, in units of `spectrum_channels`.
        spectrum_pooling: `mean` over wavelength (published), or `flatten`, which keeps absolute
            wavelength and so redshift.
        temperature: Temperature of the NT-Xent loss.
        noise: Range of the random noise added to training spectra, per pixel and in units of
            the normalised flux, so that the towers cannot match noise levels.
    """

    stretch: Stretch = "asinh"
    image_statistics: Literal["survey", "imagenet"] = "survey"
    image_depth: Depth = 50
    image_width: int = 64
    imagenet_weights: str | None = None
    photometry: bool = True
    embedding: int = 128
    spectrum_channels: int = 64
    spectrum_multipliers: tuple[int, ...] = (1, 2, 4, 8, 16)
    spectrum_pooling: Literal["mean", "flatten"] = "flatten"
    temperature: float = 0.05
    noise: tuple[float, float] = (0.0, 0.2)

    def __post_init__(self) -> None:
        at_least(1, "towers", self, "image_width", "embedding")
        positive("towers", self, "temperature")
        _some("towers.spectrum_multipliers", self.spectrum_multipliers)
        widths = [self.spectrum_channels * multiplier for multiplier in self.spectrum_multipliers]
        keys = "towers.spectrum_channels or towers.spectrum_multipliers"
        multiples(NORM_GROUPS, "towers.spectrum_channels", widths, keys)
        refuse(
            not 0 <= self.noise[0] <= self.noise[1] < float("inf"),
            f"towers.noise is {list(self.noise)}: give two numbers, 0 <= lowest <= highest",
        )
        refuse(
            self.imagenet_weights is not None and self.image_width != IMAGENET_WIDTH,
            f"towers.imagenet_weights are for towers.image_width {IMAGENET_WIDTH}, not "
            f"{self.image_width}: set that width, or leave the weights out",
        )


def _some(key: str, values: tuple[int, ...]) -> None:
    refuse(len(values) == 0, f"{key} is empty: give one multiplier per level")


@dataclass
class ContrastiveConfig(Config):
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

    def __post_init__(self) -> None:
        complete_data(self.data)
        check_batches(self.optimiser, self.run)
        # The loss compares each galaxy with the others of its batch.
        at_least(2, "optimiser", self.optimiser, "batch_size")
        refuse(
            self.towers.photometry and self.optimiser.batch_size == self.run.processes,
            f"optimiser.batch_size {self.optimiser.batch_size} leaves one galaxy to each of the "
            "run.processes: towers.photometry needs two, to standardise it",
        )
        refuse(
            self.optimiser.accumulate > 1,
            "optimiser.accumulate: the contrastive loss compares the galaxies of a whole batch; "
            "leave it at 1, and share the batch among more processes or lower "
            "optimiser.batch_size",
        )


@dataclass
class DiffusionConfig:
    """The conditional diffusion model.

    Args:
        contrastive: Checkpoint of the contrastive stage: the frozen image tower is the condition,
            both towers rank the candidates.
        condition: `frozen`: the contrastive image tower; `joint`: a ResNet that is trained together
            with the U-Net (published).
        condition_depth: Depth of the `joint` ResNet.
        condition_views: Augmented views of each image that the `frozen` tower encodes once, before
            training; 0 encodes a new view at each step.
        channels: Channels of the U-Net's first level.
        multipliers: Channels of its levels, in units of `channels`.
        attention_levels: Levels (from 0) with a transformer block; the bottom always has one.
        condition_width: Width of the condition tokens of `frozen`; `joint` has its encoder's.
        film: Also inject the mean condition token into every block as FiLM scale and shift.
        imagenet_weights: Local file with torchvision's ImageNet weights, to start `joint` from.
        time_width: Features of the diffusion time; null: 4 times `channels`.
        prediction: What the network predicts: `velocity`, or `noise` (published).
        schedule: Noise schedule.
        steps: Diffusion steps T of the schedule.
        prior: `parameters`: mean and sigma of every pixel given the galaxy's parameters, which the
            parameter diffusion samples first; `none`: the spectrum itself is diffused (published).
        image_dropout: Fraction of the images dropped in training, of both diffusion models;
            guidance needs some (0.1).
        augmentation_sigma: Representation `super`: largest noise added to the low-resolution input
            in training, in units of its sigma.
        checkpoint_gradients: Recompute activations in the backward pass to save memory.
    """

    contrastive: str = "runs/contrastive/best.pt"
    condition: Literal["frozen", "joint"] = "frozen"
    condition_depth: Depth = 18
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
    prior: Literal["parameters", "none"] = "parameters"
    image_dropout: float = 0.0
    augmentation_sigma: float = 0.3
    checkpoint_gradients: bool = False

    def __post_init__(self) -> None:
        at_least(0, "diffusion", self, "condition_views", "augmentation_sigma")
        at_least(1, "diffusion", self, "condition_width")
        at_least(2, "diffusion", self, "steps", "time_width")
        fraction("diffusion", self, "image_dropout")
        self._check_sizes()
        meaningless = {
            "frozen": ("condition_depth", "imagenet_weights"),
            "joint": ("condition_views", "condition_width"),
        }[self.condition]
        unused("diffusion", self, f"diffusion.condition {self.condition}", *meaningless)

    def _check_sizes(self) -> None:
        refuse(
            (self.time_width or 0) % 2 > 0,
            f"diffusion.time_width is {self.time_width}: it must be even (sines and cosines)",
        )
        _some("diffusion.multipliers", self.multipliers)
        widths = [self.channels * multiplier for multiplier in self.multipliers]
        multiples(
            NORM_GROUPS, "diffusion.channels", widths, "diffusion.channels or diffusion.multipliers"
        )
        beyond = [level for level in self.attention_levels if not 0 <= level < len(widths)]
        refuse(
            bool(beyond),
            f"diffusion.attention_levels {beyond} do not exist: diffusion.multipliers makes levels "
            f"0 to {len(widths) - 1}, and the bottom always has attention",
        )
        # On the way up, a level ends with the width of the one above it.
        levels = {i for level in self.attention_levels for i in (level, max(level - 1, 0))}
        attended = {widths[-1], *(widths[i] for i in levels)}
        multiples(
            ATTENTION_CHANNELS,
            "attention after diffusion.channels",
            sorted(attended),
            "diffusion.channels, diffusion.multipliers or diffusion.attention_levels",
        )


@dataclass
class PriorConfig:
    """Mean and sigma of a spectrum given its galaxy's parameters, and how they are fitted.

    Args:
        components: Principal components K of rest-frame spectra whose coefficients are parameters;
            0 leaves redshift and S/N.
        template_channels: Templates (the mean first) that are input channels of the U-Net.
        galaxies: Training galaxies, at most, that mean and sigma are fitted to.
        basis_galaxies: Those, at most, that the components are fitted to; 10,000 take 1 GB.
        rest_bin: Rest-frame pixels (1e-4 dex) that share a variance.
        ridge: Of the projection on the components, in units of a component's mean square.
        largest_q: Galaxies of more squared noise, in units of the median, are left out.
        clip_sigma: Residuals are clipped at so many sigma.
        pseudo_count: Spectra of average variance that are added to those of each rest-frame pixel.
        variance_floor: Least variance, in units of that of a typical pixel.
        smoothing_pixels: Of the running median of the noise over wavelength; odd.
        bandwidth: Share of the frequencies along wavelength in which polyphase residuals are
            diffused, a multiple of 1/8. Spectra smoothed with 2 px have no power in the rest.
    """

    components: int = 24
    template_channels: int = 4
    galaxies: int = 20_000
    basis_galaxies: int = 10_000
    rest_bin: int = 4
    ridge: float = 0.01
    largest_q: float = 25.0
    clip_sigma: float = 10.0
    pseudo_count: float = 5.0
    variance_floor: float = 0.01
    smoothing_pixels: int = 21
    bandwidth: float = 0.5

    def __post_init__(self) -> None:
        at_least(0, "prior", self, "components", "template_channels", "ridge", "pseudo_count")
        at_least(1, "prior", self, "galaxies", "basis_galaxies", "rest_bin", "largest_q")
        positive("prior", self, "clip_sigma", "variance_floor", "smoothing_pixels")
        refuse(
            self.smoothing_pixels % 2 == 0,
            f"prior.smoothing_pixels is {self.smoothing_pixels}: it must be odd",
        )
        refuse(
            self.bandwidth not in [eighths / 8 for eighths in range(1, 9)],
            f"prior.bandwidth is {self.bandwidth}: it must be a multiple of 0.125, at most 1",
        )


@dataclass
class ParametersConfig:
    """The parameter diffusion: redshift, S/N and coefficients, given the image.

    Args:
        width: Channels of its network, a multiple of 32.
        depth: Blocks of cross-attention and feed-forward.
        token_width: Width of its condition tokens.
        dropout: Dropout in every block.
        given: Fraction of the training galaxies whose redshift is given; likewise of the S/N.
        redshift_scale: Standard deviation of the redshift in the diffusion, where coefficients have
            1: the larger, the sooner it emerges from the noise.
        snr_scale: Likewise of ln S/N.
        sampling_steps: Steps of Adams-Bashforth 2, at most those of the schedule.
        optimiser: The optimiser.
    """

    width: int = 96
    depth: int = 2
    token_width: int = 64
    dropout: float = 0.3
    given: float = 0.2
    redshift_scale: float = 4.0
    snr_scale: float = 2.0
    sampling_steps: int = 20
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(
            name="adamw",
            epochs=100,
            learning_rate=5e-4,
            warmup_iterations=100,
            weight_decay=0.05,
        )
    )

    def __post_init__(self) -> None:
        at_least(1, "parameters", self, "depth", "token_width", "sampling_steps")
        fraction("parameters", self, "dropout", "given")
        positive("parameters", self, "redshift_scale", "snr_scale")
        multiples(ATTENTION_CHANNELS, "parameters.width", [self.width], "parameters.width")


@dataclass
class SamplingConfig:
    """How candidates are sampled.

    Args:
        sampler: `adams`: Adams-Bashforth 2 in the diffusion angle; `dpm`: DPM-Solver++(2M); `ddim`;
            or `ancestral` sampling (published).
        steps: Sampling steps; more are needed without a prior. Ancestral sampling always takes
            all of the schedule.
        candidates: Candidate spectra per galaxy.
        mean_of_best: Candidates, best first, whose mean is written; null: all of them.
        guidance: Weight of the image (classifier-free guidance); 1 switches guidance off.
        preview_galaxies: Validation galaxies of a preview.
    """

    sampler: Literal["adams", "dpm", "ddim", "ancestral"] = "adams"
    steps: int = 3
    candidates: int = 16
    mean_of_best: int | None = None
    guidance: float = 1.0
    preview_galaxies: int = 8

    def __post_init__(self) -> None:
        at_least(1, "sampling", self, "steps", "candidates", "mean_of_best", "preview_galaxies")
        at_least(0, "sampling", self, "guidance")


@dataclass
class GenerativeConfig(Config):
    """Stage 2: spectra from images.

    Args:
        data: The data.
        prior: Mean and sigma of a spectrum given its galaxy's parameters.
        parameters: The diffusion of these parameters.
        diffusion: The diffusion of the spectrum around them, and the schedule of both.
        sampling: Candidates, for previews and as the default of `generate.py`.
        optimiser: The optimiser of the spectrum diffusion.
        run: The run.
        compatibility: `original` computes what the original code computes: its time features, ᾱ
            and misaligned low-resolution input; the survey must be prepared in its way.
    """

    data: DataConfig = field(
        default_factory=lambda: DataConfig(survey=None, representation=None, flux="none")
    )
    prior: PriorConfig = field(default_factory=PriorConfig)
    parameters: ParametersConfig = field(default_factory=ParametersConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(
            batch_size=256, epochs=200, learning_rate=2e-4, weight_decay=0.0, ema_decay=0.9995
        )
    )
    run: RunConfig = field(default_factory=lambda: RunConfig(output="runs/generative"))
    compatibility: Literal["none", "original"] = "none"

    def __post_init__(self) -> None:
        check_batches(self.optimiser, self.run)
        check_batches(self.parameters.optimiser, self.run)
        self._check_prior()
        if self.data.representation not in (None, "super") and self.diffusion.augmentation_sigma:
            reason = f"data.representation {self.data.representation}"
            unused("diffusion", self.diffusion, reason, "augmentation_sigma")
        self._check_sampling()
        if self.compatibility == "original":
            self._check_original()

    def _check_prior(self) -> None:
        """Refuse settings of what is not built."""
        reason = None
        if self.diffusion.prior == "none":
            reason = "diffusion.prior none has no prior"
            refuse(self.prior != PriorConfig(), f"{reason}: leave the section prior out")
        elif self.data.representation == "super":
            reason = "data.representation super takes the parameters of the first stage"
        refuse(
            reason is not None and self.parameters != ParametersConfig(),
            f"{reason}: leave the section parameters out",
        )

    def _check_sampling(self) -> None:
        size, sampling = self.diffusion, self.sampling
        if sampling.sampler == "ancestral":
            unused("sampling", sampling, "sampling.sampler ancestral", "steps")
        else:
            refuse(
                sampling.steps > size.steps,
                f"sampling.steps {sampling.steps} is more than diffusion.steps {size.steps}: lower "
                "the former",
            )
        refuse(
            (sampling.mean_of_best or 1) > sampling.candidates,
            f"sampling.mean_of_best {sampling.mean_of_best} is more than sampling.candidates "
            f"{sampling.candidates}: lower the former, or give null",
        )
        refuse(
            sampling.guidance != 1 and size.image_dropout == 0,
            f"sampling.guidance {sampling.guidance:g} needs a network trained with "
            "diffusion.image_dropout above 0 (0.1)",
        )

    def _check_original(self) -> None:
        """The original has one way to use image, redshift and S/N."""
        for name, value in {"prior": "none", "film": False}.items():
            refuse(
                getattr(self.diffusion, name) != value,
                f"compatibility original needs diffusion.{name} {str(value).lower()}, not "
                f"{str(getattr(self.diffusion, name)).lower()}: set it so",
            )

    def trained_on(self, data: DataConfig) -> GenerativeConfig:
        """The configuration with what `data` of the contrastive stage fills in for null.

        Raises:
            UserError: an option has no effect on that representation.
        """
        filled = replace(
            self.data,
            survey=self.data.survey or data.survey,
            representation=self.data.representation or data.representation,
        )
        return replace(self, data=filled)


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as nested dicts of YAML's own types."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return list(value) if isinstance(value, tuple) else value

    return plain(asdict(config))


def from_dict(kind: type[ConfigType], values: dict[str, Any]) -> ConfigType:
    """The inverse of `to_dict`.

    Raises:
        UserError: a value is out of range, or contradicts another.
        jsonargparse.ArgumentError: a key is unknown, or a value is of another type.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    return kind(**vars(parser.instantiate(parser.parse_object(values))))
