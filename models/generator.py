"""Candidate spectra, or their parameters, for a batch of galaxies; contrastive scores of spectra.

The noise of a candidate depends on the seed, the galaxy and the candidate's number alone
(`models.random_streams`): a galaxy gets the same spectra in any batch, in any order and on any
device. Condition tokens are computed once per galaxy, however
many candidates and steps there are.

Shapes: B objects, P candidates of an object, R = B·P rows, C channels, L pixels, c l
channels and pixels of a low-resolution spectrum, N tokens, W token width, D parameters or
dimensions of the embedding.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from models.contrastive import ContrastiveModel
from models.diffusion import Denoiser
from models.random_streams import RowNoise
from models.samplers import Sampler

SCORED_ROWS = 256  # candidates that go through the spectrum tower together


@torch.no_grad()
def generate_candidates(
    denoiser: Denoiser,
    sampler: Sampler,
    tokens: Tensor,
    keys: Sequence[str],
    shape: tuple[int, int],
    *,
    count: int,
    seed: int,
    purpose: str = "noise",
    low: Tensor | None = None,
    parameters: Tensor | None = None,
    guidance: float = 1.0,
    rows_at_once: int = 64,
    bfloat16: bool = False,
) -> Tensor:
    """Sample candidate spectra for a batch of objects.

    Args:
        denoiser: trained network, in evaluation mode, on the device of `tokens`.
        sampler: how to sample.
        tokens: condition tokens (B, N, W).
        keys: one string per object, which its noise depends on.
        shape: channels and pixels (C, L) of a spectrum.
        count: candidates P per object.
        seed: seed of the run.
        purpose: distinguishes the noise from that of other stages of the run.
        low: the low-resolution spectrum of every candidate (B, P, c, l), for super resolution.
        parameters: what the denoiser's prior takes of every candidate (B, P, D), for a denoiser
            with a prior.
        guidance: weight w of the image (Ho & Salimans 2022, arXiv 2207.12598, with 1 + their w):
            1 leaves it as it was learnt, more exaggerates it at twice the time.
        rows_at_once: candidates that go through the network together; sets the memory needed.
        bfloat16: run the network in mixed precision.

    Returns:
        (B, P, C, L) float32, in the representation the network was trained in.

    Raises:
        ValueError: the denoiser is in training mode, or there is not one key per object.
    """
    if denoiser.training:
        raise ValueError("the denoiser is in training mode: call .eval() before generating")
    if len(keys) != len(tokens):
        raise ValueError(f"tokens of {len(tokens)} objects came with {len(keys)} keys")
    chunks = []
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=bfloat16):
        for rows in torch.arange(len(tokens) * count).split(rows_at_once):
            owner, candidate = rows // count, rows % count
            context = denoiser.context(
                shape[1],
                None if low is None else low[owner, candidate],
                None if parameters is None else parameters[owner, candidate],
            )
            estimate = partial(denoiser.estimate, context=context)
            names = [(keys[row // count], row % count) for row in rows.tolist()]
            latent = context.channels_of(shape[0]), shape[1]
            noise = RowNoise(seed, purpose, names, latent)
            start = noise().to(tokens.device)  # (rows, c, L)
            clean = sampler.sample(
                guided(estimate, tokens[owner], guidance), denoiser.schedule, start, noise
            )
            if context.given is not None:
                clean = torch.where(context.given.isnan(), clean, context.given)
            chunks.append(context.restored(clean))
    return torch.cat(chunks).unflatten(0, (len(tokens), count))


def guided(estimate: Callable, tokens: Tensor, weight: float) -> Callable:
    """Estimates (x_t, t) -> (ε, x_0) with classifier-free guidance.

    Both are e_0 + w (e_1 - e_0), with e_1 for `tokens` (B, N, W) and e_0 for tokens of zero.
    """
    with_image = partial(estimate, tokens=tokens)
    if weight == 1.0:
        return with_image
    without_image = partial(estimate, tokens=torch.zeros_like(tokens))

    def extrapolated(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        pairs = zip(without_image(x_t, t), with_image(x_t, t), strict=True)
        return tuple(torch.lerp(without, with_, weight) for without, with_ in pairs)

    return extrapolated


@torch.no_grad()
def score_candidates(
    contrastive: ContrastiveModel, embeddings: Tensor, candidates: Tensor
) -> Tensor:
    """Contrastive similarity of every candidate to its image.

    Args:
        contrastive: trained towers, in evaluation mode.
        embeddings: unit vectors of the images (B, D), from the image tower.
        candidates: spectra (B, P, C, L), in the representation these towers were trained in.

    Returns:
        Cosine similarities (B, P) in [-1, 1]; `contrastive.best_first` sorts them.

    Raises:
        ValueError: the towers are in training mode.
    """
    if contrastive.training:
        raise ValueError("the towers are in training mode: call .eval() before ranking")
    spectra = candidates.flatten(0, 1).split(SCORED_ROWS)  # (rows, C, L) each
    vectors = torch.cat([contrastive.encode_spectra(rows) for rows in spectra])  # (R, D)
    return torch.einsum("bd,bpd->bp", embeddings, vectors.unflatten(0, candidates.shape[:2]))
