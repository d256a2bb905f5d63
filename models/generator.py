"""Trained networks together: candidate spectra for a batch of cutouts, and their ranking.

Every candidate has noise of its own, a pure function of (seed, object, candidate number): the same
galaxy gets the same spectra in any batch, in any order and on any device. An image is encoded once,
however many candidates and steps there are.

Shapes: B objects, P candidates of an object, R = B·P rows, C channels, L pixels, K kept
low-resolution candidates, D embedding.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from models.contrastive import ContrastiveModel, candidate_scores
from models.diffusion import Denoiser
from models.samplers import Sampler


def row_seed(seed: int, key: str, candidate: int) -> int:
    """A seed from (seed, object, candidate), the same on every machine.

    It has 32 bits, all that torch's CPU generator heeds: among a million rows about a hundred pairs
    share their noise, which meets different images.
    """
    digest = hashlib.blake2b(f"{seed}/{key}/{candidate}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def uniform_numbers(seed: int, purpose: str, keys: Sequence[str], count: int) -> Tensor:
    """A number in [0, 1) per object and candidate (B, P), a pure function of these, `seed` and
    `purpose`."""

    def share(key: str, candidate: int) -> Tensor:
        seeded = torch.Generator().manual_seed(row_seed(seed, f"{key}/{purpose}", candidate))
        return torch.rand((), generator=seeded)

    return torch.tensor([[share(key, candidate) for candidate in range(count)] for key in keys])


class RowNoise:
    """Standard normal noise in which every row has its own generator.

    Args:
        seed: seed of the run.
        rows: (object, candidate number) of every row; an object is named by a string that stays
            with it, such as its identifier.
        shape: shape (C, L) of a row.
    """

    def __init__(self, seed: int, rows: Sequence[tuple[str, int]], shape: tuple[int, ...]):
        self.shape = shape
        self.generators = [
            torch.Generator().manual_seed(row_seed(seed, key, candidate)) for key, candidate in rows
        ]

    def __call__(self) -> Tensor:
        """The next noise (rows, C, L) on the CPU, where it is the same for every device."""
        return torch.stack([torch.randn(self.shape, generator=g) for g in self.generators])


@torch.no_grad()
def generate_candidates(
    denoiser: Denoiser,
    sampler: Sampler,
    images: Tensor,
    keys: Sequence[str],
    shape: tuple[int, int],
    *,
    count: int,
    seed: int,
    low: Tensor | None = None,
    known: Tensor | None = None,
    guidance: float = 1.0,
    rows_at_once: int = 64,
    bfloat16: bool = False,
    progress: Callable[[], object] | None = None,
) -> Tensor:
    """Draw candidate spectra for a batch of cutouts.

    Args:
        denoiser: trained network, in evaluation mode, on the device of `images`.
        sampler: how to sample.
        images: standardised cutouts (B, bands, H, W).
        keys: one string per object, from which its noise is drawn.
        shape: channels and pixels (C, L) of a spectrum.
        count: candidates P per object.
        seed: seed of the run.
        low: kept low-resolution candidates (B, K, c, l), for super resolution; each guides an equal
            share of the P candidates.
        known: what is known of every candidate (B, P, 2 + E), for a denoiser with an prior.
        guidance: weight w of the image (Ho & Salimans 2022, arXiv 2207.12598, with 1 + their w):
            1 leaves it as it was learnt, more exaggerates it at twice the time.
        rows_at_once: candidates that go through the network together; sets the memory needed.
        bfloat16: run the network in mixed precision.
        progress: called after every step of the sampler, for `rows_at_once` candidates at a time.

    Returns:
        (B, P, C, L) float32, in the representation the network was trained in.

    Raises:
        ValueError: the denoiser is in training mode, or there is not one key per image.
    """
    if denoiser.training:
        raise ValueError("the denoiser is in training mode: call .eval() before generating")
    if len(keys) != len(images):
        raise ValueError(f"{len(images)} images came with {len(keys)} keys")
    chunks = []
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
        tokens = denoiser.encode(images)  # (B, N, W)
        for rows in torch.arange(len(images) * count).split(rows_at_once):
            owner, candidate = rows // count, rows % count
            guide = None if low is None else low[owner, candidate * low.shape[1] // count]
            moments = None
            if denoiser.prior is not None:
                moments = denoiser.prior(known.flatten(0, 1)[rows.to(known.device)])
            estimate = partial(denoiser.estimate, low=guide, moments=moments)
            estimate = guided(estimate, tokens[owner], guidance)
            names = [(keys[row // count], row % count) for row in rows.tolist()]
            noise = RowNoise(seed, names, shape)
            start = noise().to(images)  # (rows, C, L)
            drawn = sampler.sample(estimate, denoiser.schedule, start, noise, progress)
            if moments is not None:
                drawn = moments.mean + moments.sigma * drawn
            chunks.append(drawn)
    return torch.cat(chunks).unflatten(0, (len(images), count))


def guided(estimate: Callable, tokens: Tensor, weight: float) -> Callable:
    """Estimates (x_t, t) -> (ε, x_0) with the image, moved away from those without it.

    Both are e_0 + w (e_1 - e_0), with e_1 for `tokens` (B, N, W) and e_0 for tokens of zero.
    """
    with_image = partial(estimate, tokens=tokens)
    if weight == 1.0:
        return with_image
    without_image = partial(estimate, tokens=torch.zeros_like(tokens))

    def both(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        pairs = zip(without_image(x_t, t), with_image(x_t, t), strict=True)
        return tuple(torch.lerp(without, with_, weight) for without, with_ in pairs)

    return both


@torch.no_grad()
def score_candidates(
    contrastive: ContrastiveModel, images: Tensor, candidates: Tensor, rows_at_once: int = 256
) -> Tensor:
    """Contrastive similarity of every candidate to its image.

    Args:
        contrastive: trained towers, in evaluation mode, on the device of `images`.
        images: cutouts (B, bands, H, W), standardised as for these towers.
        candidates: spectra (B, P, C, L), in the representation these towers were trained in.
        rows_at_once: candidates that go through the spectrum tower together.

    Returns:
        Cosine similarities (B, P) in [-1, 1]; `contrastive.best_first` sorts them.

    Raises:
        ValueError: the towers are in training mode.
    """
    if contrastive.training:
        raise ValueError("the towers are in training mode: call .eval() before ranking")
    spectra = candidates.flatten(0, 1).split(rows_at_once)  # (rows, C, L) each
    embeddings = torch.cat([contrastive.encode_spectra(rows) for rows in spectra])
    embeddings = embeddings.unflatten(0, candidates.shape[:2])  # (B, P, D)
    return candidate_scores(contrastive.encode_images(images), embeddings)
