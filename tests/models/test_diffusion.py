"""Schedules against their definition and stored ones, conversions, loss, grid alignment."""

import numpy as np
import pytest
import torch
from torch import nn

from models.conditioning import JointCondition
from models.diffusion import (
    Context,
    Denoiser,
    DenoisingLoss,
    NoiseSchedule,
    upsample_aligned,
    upsample_original,
)
from models.image_encoder import ImageEncoder
from models.unet import SpectrumUNet
from tests.support import GOLDEN

STORED = np.load(GOLDEN / "schedules.npz")


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("steps", [1, 50, 250])
def test_cumulative_alphas_are_the_product_of_alphas(name, steps):
    schedule = NoiseSchedule(name, steps)
    product = np.cumprod(schedule.alphas.numpy().astype(np.float64))
    np.testing.assert_allclose(schedule.alphas_cumulative, product, rtol=1e-6)
    np.testing.assert_allclose(schedule.alphas + schedule.betas, 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("steps", [50, 250])
def test_schedules_are_the_stored_ones(name, steps):
    schedule = NoiseSchedule(name, steps, cumulative="original")
    betas, cumulative = STORED[f"{name}_{steps}_betas"], STORED[f"{name}_{steps}_cumalphas"]
    np.testing.assert_allclose(schedule.betas, betas, atol=1e-6)
    np.testing.assert_allclose(schedule.alphas_cumulative, cumulative, atol=1e-6)


def test_the_originals_cosine_was_one_index_early():
    ours = NoiseSchedule("cosine", 250).alphas_cumulative.numpy()
    theirs = STORED["cosine_250_cumalphas"]
    # f(0) of the stored one is cos²(s/(1 + s) π/2) instead of 1, hence the tolerance.
    np.testing.assert_allclose(ours[:-1], theirs[1:], rtol=2e-4)
    assert np.abs(ours - theirs).max() > 6e-3


def test_cosine_betas_are_clipped_at_the_end_only():
    betas = NoiseSchedule("cosine", 250).betas
    assert betas[-1].item() == pytest.approx(0.999)
    assert (betas[:-1] < 0.999).all()


@pytest.mark.parametrize(
    "arguments", [("quadratic", 10), ("cosine", 10, "shifted"), ("linear", 10, "shifted")]
)
def test_unknown_schedules_are_refused(arguments):
    with pytest.raises(ValueError, match=r"quadratic|shifted"):
        NoiseSchedule(*arguments)


def test_noise_velocity_and_clean_spectrum_convert_into_each_other():
    schedule, generator = NoiseSchedule(), torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 250, 2, 30, generator=generator)
    t = torch.arange(250)
    x_t = schedule.q_sample(clean, t, noise)
    velocity = schedule.velocity(clean, t, noise)
    torch.testing.assert_close(schedule.from_velocity(velocity, x_t, t), (noise, clean))
    early = t < 240  # later, √ᾱ is too small to divide by
    found = schedule.from_noise(noise[early], x_t[early], t[early])
    torch.testing.assert_close(found, (noise[early], clean[early]), rtol=1e-3, atol=1e-3)


def test_the_forward_process_keeps_unit_variance_and_fades_the_signal():
    schedule, generator = NoiseSchedule(), torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 250, 1, 4000, generator=generator)
    x_t = schedule.q_sample(clean, torch.arange(250), noise)
    torch.testing.assert_close(x_t.var(dim=2), torch.ones(250, 1), rtol=0.1, atol=0)
    kept = (x_t * clean).mean(dim=(1, 2))
    torch.testing.assert_close(kept, schedule.alphas_cumulative.sqrt(), rtol=0, atol=0.1)


class Perfect(nn.Module):
    """In place of a Denoiser: knows the clean spectra, and remembers what it was asked."""

    def __init__(self, clean, prediction, offset=0.0):
        super().__init__()
        self.clean, self.prediction, self.offset = clean, prediction, offset
        self.schedule, self.condition = NoiseSchedule(), self
        self.times, self.lows = [], []

    def tokens(self, features):
        return features

    def context(self, length, low=None, parameters=None):
        self.lows.append(low)
        if parameters is None:
            return Context()
        return Context(parameters[:, :1, None], torch.full((len(parameters), 1, 1), 2.0))

    def forward(self, x_t, t, tokens, context):
        self.times.append(t)
        signal, spread = self.schedule.scales(t)
        noise = (x_t - signal * self.clean) / spread
        if self.prediction == "noise":
            return noise + self.offset
        return self.schedule.velocity(self.clean, t, noise) + self.offset


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_the_loss_of_a_perfect_network_is_zero(prediction):
    clean = torch.randn(64, 1, 20, generator=torch.Generator().manual_seed(0))
    perfect = DenoisingLoss(Perfect(clean, prediction))
    assert perfect(clean, None, torch.Generator()).item() < 1e-6
    biased = DenoisingLoss(Perfect(clean, prediction, offset=0.5))
    assert biased(clean, None, torch.Generator()).item() == pytest.approx(0.25, rel=1e-3)


def test_a_training_step_sees_all_times_alike():
    denoiser, generator = Perfect(torch.zeros(5000, 1, 1), "noise"), torch.Generator()
    loss = DenoisingLoss(denoiser)
    for _ in range(5):
        loss(torch.zeros(5000, 1, 1), None, generator)
    counts = torch.bincount(torch.cat(denoiser.times), minlength=250)
    assert len(counts) == 250
    assert counts.min() > 50  # 100 expected, standard deviation 10
    assert counts.max() < 150


def test_the_generator_alone_decides_what_is_drawn():
    clean = torch.randn(8, 1, 20)
    losses = [
        DenoisingLoss(Perfect(torch.zeros(8, 1, 20), "noise"))(
            clean, None, torch.Generator().manual_seed(seed)
        )
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_noise_on_the_low_resolution_has_levels_up_to_the_largest():
    clean, low = torch.zeros(500, 1, 8), torch.ones(500, 1, 400)
    denoiser = Perfect(clean, "noise")
    DenoisingLoss(denoiser)(clean, None, torch.Generator(), low=low)
    DenoisingLoss(denoiser, augmentation_sigma=0.5)(clean, None, torch.Generator(), low=low)
    assert torch.equal(denoiser.lows[0], low)
    levels = (denoiser.lows[1] - low).std(dim=2)
    assert levels.min() < 0.01
    assert levels.max().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("length", [4500, 4499, 4497, 563])
def test_aligned_interpolation_puts_every_pixel_back(length):
    full = torch.arange(length, dtype=torch.float32)[None, None]
    low = full[..., ::8]
    found = upsample_aligned(low, length)
    covered = 8 * (low.shape[-1] - 1) + 1
    torch.testing.assert_close(found[..., :covered], full[..., :covered], rtol=0, atol=1e-3)
    assert (found[..., covered:] == full[..., covered - 1]).all()
    assert found.shape == full.shape


def test_the_originals_interpolation_is_off_by_more_than_three_pixels():
    full = torch.arange(4500.0)[None, None]
    error = (upsample_original(full[..., ::8], 4500) - full).abs()
    assert 3.3 < error[..., 4:-8].max() < 3.6


def denoiser(prediction="velocity", channels=1, alignment="aligned"):
    torch.manual_seed(0)
    return Denoiser(
        JointCondition(ImageEncoder(18, embedding=None, width=8)),
        SpectrumUNet(channels, 1, 32, (1, 2), (), token_width=64),
        NoiseSchedule(),
        prediction,
        alignment,
    ).eval()


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_estimates_add_up_to_the_noisy_spectrum(prediction):
    network, x_t = denoiser(prediction), torch.randn(2, 1, 60)
    t, tokens = torch.tensor([3, 120]), network.condition.tokens(torch.randn(2, 5, 64, 64))
    noise, clean = network.estimate(x_t, t, tokens)
    torch.testing.assert_close(network.schedule.q_sample(clean, t, noise), x_t)
    if prediction == "noise":
        torch.testing.assert_close(noise, network(x_t, t, tokens))
    else:
        torch.testing.assert_close(
            network.schedule.velocity(clean, t, noise), network(x_t, t, tokens)
        )


def test_the_low_resolution_reaches_the_network_on_the_full_grid():
    network = denoiser(channels=2)
    seen = []
    network.network.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    x_t, low = torch.randn(2, 1, 96), torch.randn(2, 1, 12)
    network(x_t, torch.tensor([0, 5]), torch.randn(2, 4, 64), network.context(96, low))
    assert torch.equal(seen[0][:, :1], x_t)
    torch.testing.assert_close(seen[0][:, 1:, ::8], low)


@pytest.mark.parametrize("wrong", [{"prediction": "score"}, {"alignment": "centred"}])
def test_unknown_choices_are_refused(wrong):
    with pytest.raises(ValueError, match=r"score|centred"):
        denoiser(**wrong)


def test_hidden_images_are_tokens_of_zero():
    class Remembering(Perfect):
        def forward(self, x_t, t, tokens, context):
            self.seen = tokens
            return super().forward(x_t, t, tokens, context)

    denoiser = Remembering(torch.zeros(4000, 1, 1), "velocity")
    loss = DenoisingLoss(denoiser, image_dropout=0.25)
    loss(torch.zeros(4000, 1, 1), torch.ones(4000, 2, 3), torch.Generator())
    hidden = (denoiser.seen == 0).all(dim=(1, 2))
    assert hidden.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (denoiser.seen[~hidden] == 1).all()


def test_the_residual_about_the_prior_is_diffused():
    clean = torch.randn(16, 1, 6, generator=torch.Generator().manual_seed(3))
    mean = torch.arange(16.0)[:, None]
    loss = DenoisingLoss(Perfect((clean - mean[:, :, None]) / 2, "velocity"))
    assert loss(clean, None, torch.Generator(), parameters=mean).item() < 1e-6
    assert loss(clean, None, torch.Generator(), parameters=mean + 1).item() > 0.01
