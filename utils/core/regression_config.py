"""The configuration of the regression baseline."""

from __future__ import annotations

from dataclasses import dataclass, field

from utils.core.config import (
    Config,
    DataConfig,
    Depth,
    OptimiserConfig,
    RunConfig,
    Stretch,
    check_batches,
    complete_data,
)
from utils.core.option_checks import at_least, refuse


@dataclass
class RegressionNetworkConfig:
    """The network of the regression baseline.

    Args:
        stretch: Stretch of the images.
        image_depth: Depth of the ResNet.
        image_width: Channels of its first stage (torchvision's networks have 64).
    """

    stretch: Stretch = "asinh"
    image_depth: Depth = 18
    image_width: int = 64

    def __post_init__(self) -> None:
        at_least(1, "network", self, "image_width")


@dataclass
class RegressionConfig(Config):
    """Spectra from images by regression.

    Args:
        data: The data.
        network: The network.
        optimiser: The optimiser.
        run: The run.
    """

    data: DataConfig = field(default_factory=lambda: DataConfig(flux="none"))
    network: RegressionNetworkConfig = field(default_factory=RegressionNetworkConfig)
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(
            batch_size=256, warmup_iterations=0, weight_decay=0.0
        )
    )
    run: RunConfig = field(default_factory=lambda: RunConfig(output="runs/regression"))

    def __post_init__(self) -> None:
        refuse(
            self.data.representation != "polyphase",
            f"data.representation is {self.data.representation}: the regression predicts all "
            "pixels of a spectrum; leave it polyphase",
        )
        complete_data(self.data)
        check_batches(self.optimiser, self.run)
