"""What each part of the generator contributes: candidates with one part exchanged.

Seeds, galaxies and candidates stay the same, so that differences are those of the part:

    other-image             every network gets the features of another galaxy's image
    other-image-parameters  the parameter diffusion attends to another galaxy's image
    other-image-spectrum    the U-Net attends to another galaxy's image
    other-photometry        aperture photometry is another galaxy's, the image tower sees the own
    other-tower             the image tower sees another galaxy, aperture photometry is the own
    no-unet                 stationary Gaussian noise with one power spectrum replaces the U-Net

"Another galaxy" is the next one of the evaluated galaxies, so that the features are those of a real
image, without the information. A row near the climatology shows that the networks use what was
exchanged; a row near the generator's shows that they do not. A generator that was trained without
one of its inputs would need a checkpoint of that training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from datasets.errors import UserError
from datasets.survey import Survey
from models.samplers import Sampler, StationaryNoise
from utils.core.checkpoints import TrainedGenerator
from utils.core.survey_rows import random_subset
from utils.training.fit_prior import galaxy_parameters

ROWS_OF_POWER = 2000  # training galaxies whose residuals give the power spectrum
BATCH = 256

ABLATIONS = {  # option: name of the row, and the features that are another galaxy's
    "other-image": ("another image: all networks", ("parameters", "spectrum")),
    "other-image-parameters": ("another image: parameters", ("parameters",)),
    "other-image-spectrum": ("another image: U-Net", ("spectrum",)),
    "other-photometry": ("another image: photometry", ("photometry",)),
    "other-tower": ("another image: tower", ("tower",)),
    "no-unet": ("without the U-Net", ()),
}


@dataclass(frozen=True)
class Ablation:
    """One exchanged part.

    Args:
        option: of `ABLATIONS`.
        sampler: in place of the one of the options, or None.
    """

    option: str
    sampler: Sampler | None = None

    @property
    def name(self) -> str:
        """Of the row."""
        return ABLATIONS[self.option][0]

    @property
    def features(self) -> tuple[str, ...]:
        """Those that are another galaxy's."""
        return ABLATIONS[self.option][1]


def ablation_of(option: str, stage: TrainedGenerator, survey: Survey, seed: int) -> Ablation:
    """The ablation with everything that it needs.

    Args:
        option: of `ABLATIONS`.
        stage: the generator, whose residuals `no-unet` imitates.
        survey: with the training galaxies.
        seed: of their choice.

    Raises:
        UserError: the generator has no U-Net around a prior to replace.
    """
    if option != "no-unet":
        return Ablation(option)
    if stage.network.prior is None:
        raise UserError("--ablations no-unet: this network generates the spectrum itself")
    rows = random_subset(survey, survey.indices("train"), ROWS_OF_POWER, seed)
    return Ablation(option, StationaryNoise(residual_power(stage, survey, rows)))


@torch.no_grad()
def residual_power(stage: TrainedGenerator, survey: Survey, rows: np.ndarray) -> torch.Tensor:
    """Mean power spectrum of the standardised residuals of true spectra.

    Args:
        stage: a generator with a prior.
        survey: with the spectra.
        rows: of the survey.

    Returns:
        (C·L // 2 + 1,) squared modulus of the discrete Fourier transform over C·L pixels in order
        of wavelength, divided by C·L: 1 everywhere for white noise of unit variance.
    """
    prior = stage.network.prior
    parameters = galaxy_parameters(prior, stage.spectra, survey, rows)[rows]
    device, total = prior.noise.device, 0.0
    for start in range(0, len(rows), BATCH):
        part = slice(start, start + BATCH)
        flux = torch.from_numpy(survey.read("spectra", rows[part])).to(device)
        moments = prior(parameters[part].to(device))
        residual = (stage.spectra.encode(flux) - moments.mean) / moments.sigma
        transform = torch.fft.rfft(residual.transpose(1, 2).flatten(1).double())
        total = total + (transform.abs() ** 2).sum(dim=0)
    pixels = residual.shape[1] * residual.shape[2]
    return (total / (len(rows) * pixels)).float()
