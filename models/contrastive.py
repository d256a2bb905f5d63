"""Stage 1: image and spectrum towers trained so that a pair has similar unit vectors.

By default photometry of the same cutout adds to the unit vector u that a ResNet makes of an image,

    z = (u + f(photometry)) / |u + f(photometry)|,

because a ResNet learns magnitudes and colours from pixels slowly and roughly.

NT-Xent (Chen et al. 2020, arXiv 2002.05709, eq. 1) over the 2B unit vectors z of a batch of pairs,

    l(i, j) = -log [ exp(z_i . z_j / τ) / Σ_{k != i} exp(z_i . z_k / τ) ],

averaged over the positive pairs (i, j) in both orders; negatives within one modality count too. It
is the cross-entropy of picking the partner among the 2B - 1 others: all vectors equal give
log(2B - 1).

Shapes: B pairs, C channels, L pixels, P candidates of an image, D embedding, m photometric
features.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

TEMPERATURE = 0.05  # τ of Doorenbos et al. 2024
RETRIEVAL_ROWS = 1024  # rows of the similarity matrix held at a time
PHOTOMETRY_WIDTH = 128  # neurons of the photometry's hidden layers


class PhotometryEncoder(nn.Sequential):
    """f: what photometry (B, m) adds to the vectors (B, D) of images; a perceptron.

    Args:
        features: m.
        embedding: D.
    """

    def __init__(self, features: int, embedding: int):
        super().__init__(
            nn.BatchNorm1d(features, affine=False),  # standardises
            nn.Linear(features, PHOTOMETRY_WIDTH),
            nn.SiLU(),
            nn.Linear(PHOTOMETRY_WIDTH, PHOTOMETRY_WIDTH),
            nn.SiLU(),
            nn.Linear(PHOTOMETRY_WIDTH, embedding),
        )


class ContrastiveModel(nn.Module):
    """An image tower and a spectrum tower that end in unit vectors of the same dimension.

    Args:
        image_encoder: module from images (B, bands, H, W) to (B, D).
        spectrum_encoder: module from spectra (B, C, L) to (B, D).
        photometry_encoder: module from photometry (B, m) to (B, D); None: images alone count, as
            published.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        spectrum_encoder: nn.Module,
        photometry_encoder: nn.Module | None = None,
    ):
        super().__init__()
        self.image_encoder = image_encoder
        self.spectrum_encoder = spectrum_encoder
        self.photometry_encoder = photometry_encoder

    def encode_images(self, images: Tensor, photometry: Tensor | None = None) -> Tensor:
        """Unit vectors (B, D), float32, of `images` (B, bands, H, W); where there is a photometry
        encoder, their photometry (B, m) is needed too."""
        embedding = F.normalize(self.image_encoder(images).float(), dim=-1)
        return self.with_photometry(embedding, photometry)

    def with_photometry(self, embedding: Tensor, photometry: Tensor | None) -> Tensor:
        """Unit vectors z (B, D) of the image encoder's u (B, D) and of photometry (B, m)."""
        if self.photometry_encoder is None:
            return embedding
        return F.normalize(embedding + self.photometry_encoder(photometry).float(), dim=-1)

    def encode_spectra(self, spectra: Tensor) -> Tensor:
        """Unit vectors (B, D), float32, of `spectra` (B, C, L)."""
        return F.normalize(self.spectrum_encoder(spectra).float(), dim=-1)

    def forward(
        self, images: Tensor, spectra: Tensor, photometry: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The unit vectors of images and of spectra, (B, D) each."""
        return self.encode_images(images, photometry), self.encode_spectra(spectra)


def nt_xent(a: Tensor, b: Tensor, temperature: float = TEMPERATURE, gather: bool = True) -> Tensor:
    """NT-Xent loss of a batch of pairs; over the pairs of all processes where there are several.

    Args:
        a, b: unit vectors (B, D); row i of `a` and row i of `b` are a pair.
        temperature: τ > 0.
        gather: include the pairs of the other processes, if there are any; every process must then
            call this with the same B.

    Returns:
        The mean loss over all pairs, a scalar. Averaging the gradients over processes, as
        DistributedDataParallel does, gives the gradient of one process with the whole batch.
    """
    if gather and dist.is_available() and dist.is_initialized():
        a, b = _GatheredRows.apply(a), _GatheredRows.apply(b)
    z = torch.cat([a, b]).float()  # (2B, D)
    with torch.autocast(z.device.type, enabled=False):  # dividing by τ multiplies rounding errors
        similarity = z @ z.T / temperature  # (2B, 2B)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    partner = torch.arange(len(z), device=z.device).roll(len(a))
    return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), partner)


class _GatheredRows(torch.autograd.Function):
    """Rows (B, D) of all processes (world · B, D), with the gradient through all of their losses;
    `torch.distributed.all_gather` has none."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()  # all_reduce works in place
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def add_noise(
    flux: Tensor,
    generator: torch.Generator,
    levels: tuple[float, float] = (0.0, 0.2),
    smoothing_px: float = 2.0,
) -> Tensor:
    """Spectra with Gaussian noise, each of a random level.

    Without it the towers learn to match a spectrum's noise to the brightness of the image. The
    noise is smoothed like the spectra: the towers could distinguish white noise from theirs.

    Args:
        flux: linear normalised flux (B, L).
        generator: source of the levels and of the noise, on any device.
        levels: smallest and largest standard deviation per pixel, in units of the flux; uniform
            between the two.
        smoothing_px: standard deviation of the smoothing, in pixels; 0 for white noise.

    Returns:
        A new tensor (B, L).
    """
    device = generator.device
    low, high = levels
    level = low + (high - low) * torch.rand(len(flux), 1, generator=generator, device=device)
    noise = torch.randn(flux.shape, generator=generator, device=device)
    if smoothing_px > 0:
        reach = round(4 * smoothing_px)
        offset = torch.arange(-reach, reach + 1, device=device)
        kernel = torch.exp(-0.5 * (offset / smoothing_px) ** 2)
        kernel = kernel / kernel.norm()  # unit sum of squares: the variance stays 1
        padded = F.pad(noise[:, None], (reach, reach), mode="circular")
        noise = F.conv1d(padded, kernel[None, None])[:, 0]
    return flux + (level * noise).to(flux)


def retrieval_ranks(a: Tensor, b: Tensor) -> Tensor:
    """The rank of each row's partner when the rows of `b` are sorted by similarity to it.

    Args:
        a, b: unit vectors (N, D); row i of `a` and row i of `b` are a pair.

    Returns:
        Ranks (N,), int64, 0 is the best. Ties and NaN count against the partner, so that a constant
        or broken network has rank N - 1.
    """
    ranks = []
    for start in range(0, len(a), RETRIEVAL_ROWS):
        similarity = a[start : start + RETRIEVAL_ROWS] @ b.T  # (rows, N)
        partner = similarity.diagonal(start)[:, None]
        ranks.append((~(similarity < partner)).sum(dim=1) - 1)
    return torch.cat(ranks)


def recall_at(ranks: Tensor, k: int) -> float:
    """The fraction of `ranks` (N,) among the best `k`."""
    return (ranks < k).double().mean().item()


def best_first(scores: Tensor) -> Tensor:
    """Candidate numbers (B, P), int64, sorted by falling score (B, P); NaN comes last."""
    return scores.nan_to_num(nan=-torch.inf).argsort(dim=1, descending=True, stable=True)
