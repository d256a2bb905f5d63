"""The ResNet against torchvision's published sizes and names."""

import pytest
import torch
from torch import nn

from models.image_encoder import ImageEncoder


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("depth", "parameters"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)]
)
def test_parameter_counts_are_torchvisions(depth, parameters):
    with torch.device("meta"):
        assert count(ImageEncoder(depth, bands=3, embedding=1000)) == parameters


def test_names_are_torchvisions():
    with torch.device("meta"):
        names = ImageEncoder(50, bands=3).state_dict().keys()
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.num_batches_tracked",
        "layer2.3.conv3.weight",
        "layer4.2.bn3.bias",
        "fc.bias",
    } <= names


def test_the_map_of_a_cutout_has_two_by_two_pixels_and_its_mean_is_embedded():
    network = ImageEncoder(18, bands=5, embedding=7, width=8).eval()
    images = torch.randn(2, 5, 64, 64, generator=torch.Generator().manual_seed(1))
    feature_map = network.feature_map(images)
    assert feature_map.shape == (2, network.features, 2, 2)
    assert network(images).shape == (2, network.dimensions) == (2, 7)
    torch.testing.assert_close(network(images), network.fc(feature_map.mean((2, 3))))


def test_without_last_layer_the_embedding_is_the_pooled_map():
    network = ImageEncoder(18, bands=1, embedding=None, width=8).eval()
    images = torch.ones(1, 1, 32, 32)
    assert network(images).shape == (1, network.dimensions) == (1, 64)
    assert not any(name.startswith("fc") for name in network.state_dict())


def test_a_bottleneck_strides_in_its_second_convolution():
    block = ImageEncoder(50, width=8).layer2[0]
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


def test_initial_weights_have_the_variance_of_he():
    torch.manual_seed(0)
    weight = ImageEncoder(18, width=64).layer3[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


def imagenet(**changes):
    """A state dict as torchvision's older files hold it: 1000 classes, no batch counters."""
    state = ImageEncoder(18, bands=3, embedding=1000, width=8).state_dict()
    state = {name: torch.ones_like(tensor) for name, tensor in state.items()}
    return {k: v for k, v in state.items() if "num_batches" not in k} | changes


def test_imagenet_weights_fill_all_but_the_last_layer():
    network = ImageEncoder(18, bands=3, embedding=16, width=8)
    network.load_imagenet(imagenet())
    assert (network.conv1.weight == 1).all()
    assert (network.layer4[1].bn2.running_mean == 1).all()
    assert network.fc.weight.shape == (16, 64)
    assert not (network.fc.weight == 1).any()


def test_the_first_convolution_stays_new_for_other_bands():
    network = ImageEncoder(18, bands=5, embedding=None, width=8)
    before = network.conv1.weight.clone()
    network.load_imagenet(imagenet())
    assert torch.equal(network.conv1.weight, before)
    assert (network.layer1[0].conv1.weight == 1).all()


def test_weights_of_another_network_are_refused():
    network = ImageEncoder(18, bands=3, width=8)
    with pytest.raises(RuntimeError, match=r"layer1\.0\.conv1\.weight"):
        network.load_imagenet(imagenet(**{"layer1.0.conv1.weight": torch.ones(4, 8, 3, 3)}))
    with pytest.raises(RuntimeError, match="stranger"):
        network.load_imagenet(imagenet(stranger=torch.ones(1)))


def test_unknown_depths_are_refused():
    with pytest.raises(ValueError, match="101"):
        ImageEncoder(101)
