"""The spectrum tower: shapes, and what its two ways of pooling keep."""

import pytest
import torch

from models.spectrum_encoder import SpectrumEncoder


def small(pooling="mean", channels=1, length=563):
    torch.manual_seed(0)
    return SpectrumEncoder(channels, length, 8, 8, (1, 2, 4), pooling).eval()


@pytest.mark.parametrize("pooling", ["mean", "flatten"])
@pytest.mark.parametrize(("channels", "length"), [(1, 563), (8, 563), (1, 4500), (1, 41)])
def test_any_spectrum_gets_an_embedding(pooling, channels, length):
    network = small(pooling, channels, length)
    assert network(torch.randn(2, channels, length)).shape == (2, 8)


def test_the_published_size_is_the_default_and_takes_any_length():
    with torch.device("meta"):
        network = SpectrumEncoder()
        assert sum(p.numel() for p in network.parameters()) == 19_705_344
        assert network(torch.empty(2, 1, 3598)).shape == (2, 128)


def test_flattening_keeps_the_network_small():
    with torch.device("meta"):
        mean, flat = SpectrumEncoder(), SpectrumEncoder(pooling="flatten")
    sizes = [sum(p.numel() for p in network.parameters()) for network in (mean, flat)]
    assert sizes[1] < 1.01 * sizes[0]


def test_only_flattening_knows_where_a_line_is():
    """A line moved by 10 strides of the last map changes an average little, a flat map much."""
    spectra = torch.zeros(2, 1, 563)
    spectra[0, 0, 160:168], spectra[1, 0, 240:248] = 5.0, 5.0

    def change(network):
        with torch.no_grad():
            a, b = network(spectra)
        return ((a - b).norm() / a.norm()).item()

    assert change(small("mean")) < 1e-3
    assert change(small("flatten")) > 1e-2


def test_flattening_refuses_another_length():
    with pytest.raises(ValueError, match=r"562 px .* 563 px"):
        small("flatten")(torch.zeros(1, 1, 562))


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="max"):
        small("max")
