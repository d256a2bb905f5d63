"""Candidates that depend on the object and the seed, and on nothing else."""

import pytest
import torch
from torch import nn

from models.conditioning import JointCondition
from models.contrastive import ContrastiveModel
from models.diffusion import Denoiser, NoiseSchedule
from models.generator import generate_candidates, guided, score_candidates
from models.image_encoder import ImageEncoder
from models.samplers import DDIM, Ancestral
from models.spectrum_encoder import SpectrumEncoder
from models.unet import SpectrumUNet

SHAPE = (1, 40)
KEYS = ["1237651", "1237652", "1237653"]


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 5, 64, 64, generator=torch.Generator().manual_seed(0))


def network(given=0):
    torch.manual_seed(0)
    condition = JointCondition(ImageEncoder(18, embedding=None, width=8))
    unet = SpectrumUNet(1 + given, 1, 32, (1, 2), (), token_width=64, steps=8)
    nn.init.normal_(unet.bottom.attention.project_out.weight, std=0.1)
    return Denoiser(condition, unet, NoiseSchedule(steps=8)).eval()


@pytest.fixture(scope="module")
def denoiser():
    return network()


def candidates(denoiser, images, keys=KEYS, **changes):
    options = {"count": 4, "seed": 1, "sampler": Ancestral()} | changes
    with torch.no_grad():
        tokens = denoiser.condition.tokens(images)
    return generate_candidates(denoiser, options.pop("sampler"), tokens, keys, SHAPE, **options)


def test_candidates_do_not_depend_on_batch_order_or_chunk(denoiser, images):
    together = candidates(denoiser, images)
    assert together.shape == (3, 4, *SHAPE)
    close = {"rtol": 1e-4, "atol": 1e-4}  # batches of other sizes add in another order
    torch.testing.assert_close(candidates(denoiser, images, rows_at_once=5), together, **close)
    reversed_ = candidates(denoiser, images.flip(0), KEYS[::-1]).flip(0)
    torch.testing.assert_close(reversed_, together, **close)
    alone = candidates(denoiser, images[1:2], KEYS[1:2])
    torch.testing.assert_close(alone[0], together[1], **close)
    fewer = candidates(denoiser, images, count=2)
    torch.testing.assert_close(fewer, together[:, :2], **close)


def test_seed_object_candidate_and_image_all_matter(denoiser, images):
    base = candidates(denoiser, images)
    for other in (
        candidates(denoiser, images, seed=2),
        candidates(denoiser, images, purpose="another stage"),
        candidates(denoiser, images, ["x", "y", "z"]),
        candidates(denoiser, images.flip(3)),
        base.roll(1, dims=1),
    ):
        assert (other - base).abs().amax(dim=(2, 3)).min() > 1e-3


def test_every_candidate_has_its_low_resolution_spectrum(images):
    denoiser, seen = network(given=1), []
    denoiser.network.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0][:, 1]))
    low = torch.arange(12.0).view(3, 4, 1, 1).expand(3, 4, 1, 5)
    candidates(denoiser, images, low=low, rows_at_once=12)
    assert seen[0][:, 0].tolist() == list(range(12))


def test_mixed_precision_gives_nearly_the_same(denoiser, images):
    exact = candidates(denoiser, images, sampler=DDIM(4))
    mixed = candidates(denoiser, images, sampler=DDIM(4), bfloat16=True)
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, exact)
    assert (mixed - exact).square().mean().sqrt() < 0.05 * exact.std()


def test_training_mode_and_missing_keys_are_refused(images):
    denoiser = network()
    with pytest.raises(ValueError, match="2 keys"):
        candidates(denoiser, images, KEYS[:2])
    with pytest.raises(ValueError, match=r"\.eval\(\)"):
        candidates(denoiser.train(), images)


def test_scores_are_the_cosines_of_the_towers(images, monkeypatch):
    monkeypatch.setattr("models.generator.SCORED_ROWS", 5)
    torch.manual_seed(0)
    towers = ContrastiveModel(
        ImageEncoder(18, embedding=8, width=8), SpectrumEncoder(1, 40, 8, 8, (1, 2))
    )
    spectra = torch.randn(3, 4, *SHAPE)
    with pytest.raises(ValueError, match=r"\.eval\(\)"):
        score_candidates(towers, images, spectra)
    vectors = towers.eval().encode_images(images)
    scores = score_candidates(towers, vectors, spectra)
    assert scores.shape == (3, 4)
    a, b = towers(images[2:], spectra[2, 1:2])
    assert scores[2, 1].item() == pytest.approx((a @ b.T).item(), abs=1e-5)


def test_guidance_moves_away_from_what_is_drawn_without_the_image():
    def estimate(x_t, t, tokens):
        level = tokens.mean(dim=(1, 2))[:, None, None]
        return x_t + level, x_t - 2 * level

    x_t, tokens = torch.randn(3, 1, 5), torch.ones(3, 2, 4)
    plain = guided(estimate, tokens, 1.0)(x_t, None)
    torch.testing.assert_close(plain, (x_t + 1, x_t - 2))
    torch.testing.assert_close(guided(estimate, tokens, 2.5)(x_t, None), (x_t + 2.5, x_t - 5))
    torch.testing.assert_close(guided(estimate, tokens, 0.0)(x_t, None), (x_t, x_t))
