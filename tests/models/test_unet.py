"""The U-Net: published sizes, any length, time embeddings, checkpointing."""

import math

import pytest
import torch

from models.image_encoder import ImageEncoder
from models.unet import SpectrumUNet, TimeEmbedding, bounded_frequencies, original_frequencies


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def small(channels=1, out_channels=1, **options):
    torch.manual_seed(0)
    return SpectrumUNet(channels, out_channels, 32, (1, 1, 2), (2,), token_width=12, **options)


@pytest.mark.parametrize(
    ("bands", "options", "total"),
    [
        (5, {}, 35_904_129),
        (5, {"channels": 2}, 35_904_385),
        (3, {"time_width": 64}, 34_840_129),  # Doorenbos et al. 2022
    ],
)
def test_parameter_counts_are_the_published_ones(bands, options, total):
    with torch.device("meta"):
        encoder, unet = ImageEncoder(18, bands, embedding=None), SpectrumUNet(**options)
    assert count(encoder) == {3: 11_176_512, 5: 11_182_784}[bands]
    assert count(encoder) + count(unet) == total


@pytest.mark.parametrize("length", [15, 64, 100, 563, 4500])
def test_any_length_comes_out_as_it_went_in(length):
    x, tokens = torch.randn(2, 3, length), torch.randn(2, 4, 12)
    assert small(3, 2)(x, torch.tensor([0, 249]), tokens).shape == (2, 2, length)


def test_every_weight_matters():
    network = small()
    for block in (network.bottom, *network.down_blocks, *network.up_blocks):
        if block.attention is not None:  # new transformer blocks end in zeros
            torch.nn.init.normal_(block.attention.project_out.weight)
    network(torch.randn(2, 1, 100), torch.tensor([3, 100]), torch.randn(2, 4, 12)).sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_time_changes_the_prediction():
    network, x, tokens = small(), torch.randn(1, 1, 64), torch.randn(1, 4, 12)
    early, late = (network(x, torch.tensor([t]), tokens) for t in (0, 200))
    assert (early - late).abs().max() > 1e-3


def test_spectra_of_a_batch_do_not_mix():
    network, x = small().eval(), torch.randn(3, 1, 100)
    t, tokens = torch.tensor([0, 10, 200]), torch.randn(3, 4, 12)
    together = network(x, t, tokens)
    alone = torch.cat([network(x[i : i + 1], t[i : i + 1], tokens[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_checkpointing_changes_memory_not_gradients():
    x, t, tokens = torch.randn(2, 1, 64), torch.tensor([1, 2]), torch.randn(2, 4, 12)
    gradients = []
    for checkpointing in (False, True):
        network = small(checkpointing=checkpointing)
        network(x, t, tokens).square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    torch.testing.assert_close(*gradients)


def test_original_frequencies_overflow_like_64_bit_integers():
    expected = 2 ** torch.arange(128) * math.pi
    assert torch.equal(original_frequencies(128), expected)
    assert expected[63] < 0
    assert (expected[64:] == 0).all()


def test_bounded_frequencies_tell_neighbours_apart_by_a_radian_at_most():
    steps = 250
    frequencies = bounded_frequencies(128, steps)
    assert frequencies[0].item() == pytest.approx(1)
    assert (frequencies * 2 / steps).max().item() == pytest.approx(1)
    angle = frequencies * (2 * torch.arange(steps) / steps - 1)[:, None]
    features = torch.cat([angle.sin(), angle.cos()], dim=1)
    assert torch.cdist(features, features).fill_diagonal_(9).min() > 0.1
    assert features.std(dim=0).min() > 0.1  # none is constant, unlike half of the original's


def test_attention_levels_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"\[3\] do not exist.*levels 0 to 2"):
        SpectrumUNet(base_channels=32, multipliers=(1, 1, 2), attention_levels=(2, 3))


def test_attention_at_narrow_levels_is_refused():
    with pytest.raises(ValueError, match="multiple of 32, not 16"):
        SpectrumUNet(base_channels=16, multipliers=(1, 2), attention_levels=(0,))


def test_unknown_time_embeddings_are_refused():
    with pytest.raises(ValueError, match="fourier"):
        TimeEmbedding(8, 10, "fourier")
