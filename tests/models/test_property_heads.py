"""p(property | image) is calibrated."""

import math

import pytest
import torch

from models.property_heads import PropertyHead, fit_head, train_head


def gaussian_sample(count, seed):
    """Features that know the value up to a Gaussian error of 0.01."""
    generator = torch.Generator().manual_seed(seed)
    value = 0.05 + 0.1 * torch.rand(count, generator=generator)
    noisy = value + 0.01 * torch.randn(count, generator=generator)
    other = torch.randn(count, 3, generator=generator)
    return torch.cat([noisy[:, None], other], dim=1), value


@pytest.fixture(scope="module")
def head():
    return fit_head(gaussian_sample(4000, 1), gaussian_sample(500, 2), seed=0)


def test_head_is_as_good_as_the_features_allow_and_calibrated(head):
    features, value = gaussian_sample(2000, 3)
    pdf = head(features)
    median = head.quantile(pdf, torch.full((2000, 1), 0.5))[:, 0]
    assert 0.008 < (median - value).std().item() < 0.012
    for share in (0.1, 0.25, 0.75, 0.9):
        below = value < head.quantile(pdf, torch.full((2000, 1), share))[:, 0]
        assert below.float().mean().item() == pytest.approx(share, abs=0.04)


def test_fitting_a_head_is_reproducible_and_leaves_the_global_generator_alone(head):
    before = torch.get_rng_state()
    again = fit_head(gaussian_sample(4000, 1), gaussian_sample(500, 2), seed=0)
    assert torch.equal(before, torch.get_rng_state())
    for name, tensor in head.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_quantiles_of_a_uniform_histogram_are_linear():
    head = PropertyHead(1, torch.linspace(0, 1, 11)).eval()
    pdf = torch.full((1, 10), math.log(0.1))
    shares = torch.tensor([[0.0, 0.05, 0.5, 0.95, 1.0]])
    torch.testing.assert_close(head.quantile(pdf, shares), shares, atol=1e-5, rtol=0)


def test_a_head_comes_back_from_its_state(head):
    features, _ = gaussian_sample(5, 9)
    again = PropertyHead.from_state(head.state_dict())
    torch.testing.assert_close(again(features), head(features))


def test_one_outlier_does_not_widen_the_bins():
    features, value = gaussian_sample(4000, 1)
    value[17] = 0.9
    head = fit_head((features, value), gaussian_sample(500, 2), seed=0)
    assert head.edges.diff()[:-1].max() < 0.0015  # values from 0.05 to 0.15 in 100 bins
    new, truth = gaussian_sample(1000, 3)
    median = head.quantile(head(new), torch.full((1000, 1), 0.5))[:, 0]
    assert (median - truth).std().item() < 0.012


def test_the_initial_state_is_kept_where_no_validation_loss_is_finite():
    generator = torch.Generator().manual_seed(0)
    features, value = torch.randn(40, 30, generator=generator), torch.rand(40, generator=generator)
    checked = torch.randn(200, 30, generator=generator), torch.rand(200, generator=generator)
    head = PropertyHead(30, torch.linspace(0, 1, 11))
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    nan = checked[0], torch.full((200,), math.nan)
    train_head(head, (features, value), nan)  # no validation loss is smaller than another
    assert all(torch.equal(before[name], tensor) for name, tensor in head.state_dict().items())
