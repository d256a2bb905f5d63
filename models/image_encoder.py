"""The image tower: a residual network (ResNet-18, 34 or 50; He et al. 2016, arXiv 1512.03385).

Names of parameters and buffers are torchvision's (`conv1`, `layer1.0.bn2`, `downsample.0`, `fc`),
so that its published ImageNet weights load. As in torchvision, a bottleneck strides in its 3x3
convolution ("v1.5"), not in the first 1x1.

Shapes: B batch, C bands, H W image height and width in pixels, F features, h = H/32, w = W/32,
D embedding.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the block of ResNet-18 and 34."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the block of ResNet-50."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.downsample(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    if inputs == outputs and stride == 1:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


LAYOUTS = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


class ImageEncoder(nn.Module):
    """A ResNet over cutouts that gives its last spatial map and a pooled embedding.

    Args:
        depth: 18, 34 or 50 layers.
        bands: number of image channels C.
        embedding: dimensions D of the embedding; None leaves the last linear layer (`fc`) out.
        width: channels after the first convolution (64 as published).

    Attributes:
        features: channels F of the spatial map, 8 `width` (18, 34) or 32 `width` (50).
        dimensions: D, or F where there is no last layer.

    Raises:
        ValueError: `depth` is not one of 18, 34, 50.
    """

    def __init__(
        self, depth: int = 50, bands: int = 5, embedding: int | None = 128, width: int = 64
    ):
        super().__init__()
        if depth not in LAYOUTS:
            raise ValueError(f"ResNet depth {depth} is not one of {sorted(LAYOUTS)}")
        block, counts = LAYOUTS[depth]
        self.conv1 = nn.Conv2d(bands, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for level, count in enumerate(counts):
            stage = []
            for index in range(count):
                stride = 2 if level > 0 and index == 0 else 1
                stage.append(block(inputs, width * 2**level, stride))
                inputs = width * 2**level * block.expansion
            setattr(self, f"layer{level + 1}", nn.Sequential(*stage))
        self.bands = bands
        self.features = inputs
        self.dimensions = inputs if embedding is None else embedding
        self.fc = nn.Identity() if embedding is None else nn.Linear(inputs, embedding)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # keeps the gradient's variance (He et al. 2015)
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def feature_map(self, images: Tensor) -> Tensor:
        """The last spatial map (B, F, h, w) of `images` (B, C, H, W); 2 x 2 for 64-px cutouts."""
        x = F.relu(self.bn1(self.conv1(images)))  # (B, width, H/2, W/2)
        x = F.max_pool2d(x, 3, 2, 1)  # (B, width, H/4, W/4)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def embed(self, feature_map: Tensor) -> Tensor:
        """The embedding (B, D), not normalised, of a spatial map (B, F, h, w)."""
        return self.fc(feature_map.mean(dim=(2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        """The embedding (B, D), not normalised, of `images` (B, C, H, W)."""
        return self.embed(self.feature_map(images))

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Start from torchvision's ImageNet weights.

        The last layer keeps its random weights, and so does the first convolution unless there are
        3 bands.

        Args:
            state: state dict of torchvision's ResNet of the same depth, at `width` 64.

        Raises:
            RuntimeError: a tensor is missing, left over or of another shape.
        """
        own = self.state_dict()
        fresh = ["fc.weight", "fc.bias"] + (["conv1.weight"] if self.bands != 3 else [])
        kept = {name: own[name] for name in fresh if name in own}
        theirs = {name: tensor for name, tensor in state.items() if name not in fresh}
        self.load_state_dict(theirs | kept)
