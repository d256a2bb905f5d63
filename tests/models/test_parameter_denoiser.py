"""The parameter diffusion: exact where given, calibrated on a known distribution."""

import pytest
import torch

from models.conditioning import FrozenCondition, ImageFeatures
from models.diffusion import Denoiser, DenoisingLoss, NoiseSchedule
from models.generator import generate_candidates
from models.parameter_denoiser import ParameterNetwork, ParameterPrior
from models.samplers import DPMSolverPP2M

SIGMA = 0.5  # of the parameters given the image


def make_denoiser(parameters=2, dropout=0.0):
    torch.manual_seed(0)
    condition = FrozenCondition(4, 3, 1, width=16)
    network = ParameterNetwork(parameters, 16, width=32, depth=2, dropout=dropout, steps=50)
    return Denoiser(
        condition, network, NoiseSchedule(steps=50), prior=ParameterPrior(parameters, (4, 2))
    )


def galaxies(count, generator):
    """Parameters that are the photometry plus correlated noise: p(b | a, x) = N(a, SIGMA²)."""
    x = torch.randn(count, 1, generator=generator)
    a = 3 * x + SIGMA * torch.randn(count, 1, generator=generator)
    b = a + SIGMA * torch.randn(count, 1, generator=generator)
    features = ImageFeatures(torch.zeros(count, 4, 1, 1), torch.zeros(count, 3), x)
    return features, torch.cat([a, b], dim=1)


@pytest.fixture(scope="module")
def trained():
    generator = torch.Generator().manual_seed(1)
    denoiser = make_denoiser()
    denoiser.prior.fit(galaxies(2000, generator)[1])
    loss = DenoisingLoss(denoiser)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, 600)
    for _ in range(600):
        features, parameters = galaxies(256, generator)
        known = torch.rand(parameters.shape, generator=generator) < 0.3
        given = torch.where(known, parameters, torch.nan)
        optimiser.zero_grad()
        loss(parameters[:, None], features, generator, parameters=given).backward()
        optimiser.step()
        schedule.step()
    return denoiser.eval().requires_grad_(False)


def sample(denoiser, features, given):
    """(B, 32, 2) for `given` (B, 2)."""
    keys = [str(number) for number in range(len(given))]
    tokens = denoiser.condition.tokens(features)
    known = given[:, None].expand(-1, 32, -1)
    options = {"count": 32, "seed": 1, "parameters": known, "rows_at_once": 4096}
    return generate_candidates(denoiser, DPMSolverPP2M(20), tokens, keys, (1, 2), **options)[
        :, :, 0
    ]


def test_samples_have_mean_and_spread_of_the_conditional_distribution(trained):
    features, _ = galaxies(200, torch.Generator().manual_seed(2))
    samples = sample(trained, features, torch.full((200, 2), torch.nan))
    error = samples.mean(dim=1) - 3 * features.photometry
    assert error.abs().mean() < 0.2
    spread = (samples - samples.mean(dim=1, keepdim=True)).square().mean(dim=(0, 1)).sqrt()
    assert spread[0].item() == pytest.approx(SIGMA, rel=0.15)
    assert spread[1].item() == pytest.approx(SIGMA * 2**0.5, rel=0.15)


def test_redshift_and_snr_are_diffused_on_a_larger_scale():
    prior = ParameterPrior(4, (4.0, 2.0))
    parameters = 5 + 3 * torch.randn(500, 4, generator=torch.Generator().manual_seed(7))
    prior.fit(parameters)
    given = parameters.clone()
    given[:, 1:] = torch.nan
    context = prior(given)
    clean = context.standardised(parameters[:, None])
    torch.testing.assert_close(clean.std(dim=0)[0], torch.tensor([4.0, 2.0, 1.0, 1.0]))
    torch.testing.assert_close(context.restored(clean)[:, 0], parameters)
    assert torch.equal(context.given[:, 0, 0], clean[:, 0, 0])
    assert torch.equal(context.channels[0][0, 0], torch.tensor([4.0, 0.0, 0.0, 0.0]))


def test_a_given_value_conditions_the_other(trained):
    features, _ = galaxies(200, torch.Generator().manual_seed(3))
    a = 3 * features.photometry + 1.0  # two σ from the image's own
    given = torch.cat([a, torch.full_like(a, torch.nan)], dim=1)
    samples = sample(trained, features, given)
    torch.testing.assert_close(samples[..., 0], a.expand(-1, 32), rtol=0, atol=1e-4)
    assert (samples[..., 1] - a).mean().abs().item() < 0.25 * SIGMA
    assert (samples[..., 1] - a).std().item() == pytest.approx(SIGMA, rel=0.2)


def test_the_loss_counts_what_is_not_given():
    denoiser = make_denoiser()
    features, parameters = galaxies(64, torch.Generator().manual_seed(4))
    loss = DenoisingLoss(denoiser)
    losses = [
        loss(parameters[:, None], features, torch.Generator().manual_seed(5), parameters=given)
        for given in (parameters, torch.full_like(parameters, torch.nan))
    ]
    assert losses[0].item() == 0 and losses[1].item() > 0.5


def test_a_noisy_value_in_a_given_place_is_not_seen():
    denoiser = make_denoiser().eval()
    torch.nn.init.normal_(denoiser.network.output.weight)
    features, parameters = galaxies(8, torch.Generator().manual_seed(6))
    given = parameters.clone()
    given[:, 1] = torch.nan
    context, tokens = denoiser.context(2, None, given), denoiser.condition.tokens(features)
    x_t, t = torch.randn(2, 8, 1, 2), torch.full((8,), 20)
    x_t[1, :, :, 1] = x_t[0, :, :, 1]
    first, second = (denoiser(x, t, tokens, context) for x in x_t)
    assert torch.equal(first, second)
    other = denoiser(x_t[0], t, tokens, denoiser.context(2, None, given + 1))
    assert not torch.allclose(other, first)


def test_the_default_network_is_small():
    network = ParameterNetwork(26, 64)
    assert network(torch.zeros(3, 2, 26), torch.zeros(3), torch.zeros(3, 6, 64)).shape == (3, 1, 26)
    assert sum(p.numel() for p in network.parameters()) < 500_000
