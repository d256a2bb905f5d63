"""Checkpoints of the original code as checkpoints of this project.

A checkpoint here describes itself; the original's holds weights alone. The rest comes from the
published code (wavelengths, preparation, bands), from its parameter file (sizes, schedule) and from
the user: mean and σ of the training images, which the original computes at every start and stores
nowhere. A generator carries the towers that rank its candidates, so both are converted together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.cutouts.formats import PICTURE_BANDS, PICTURE_UNIT
from datasets.errors import UserError
from datasets.image_transform import IMAGENET_MEAN, IMAGENET_SIGMA, ImageTransform
from datasets.spectra import METHOD_GRID, Preparation
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from datasets.survey_description import SurveyDescription
from utils.core.checkpoints import describe, write_checkpoint
from utils.core.config import ContrastiveConfig, GenerativeConfig, to_dict
from utils.original.files import OriginalState
from utils.original.networks import (
    build_contrastive,
    build_denoiser,
    load_original,
)
from utils.original.params import (
    Params,
    band_count,
    contrastive_config,
    generative_config,
    is_generative,
)

CONTRASTIVE_FILE, GENERATIVE_FILE = "contrastive.pt", "generative.pt"
PICTURE_SCALE_ARCSEC = 0.4  # per pixel, of the colour pictures of the 2022 paper
# Mean and σ per band of the training images, in the order of the bands and in their unit.
ImageStatistics = tuple[Sequence[float], Sequence[float]]


def image_statistics(
    bands: tuple[str, ...],
    mean: Sequence[float] | None,
    sigma: Sequence[float] | None,
    survey: str | Path | None,
) -> ImageStatistics:
    """Those of a survey file, else the given ones, else ImageNet's for colour pictures.

    Raises:
        UserError: no statistics of images of five bands, not one value per band, or an unreadable
            survey file.
    """
    if survey is not None:
        file = Survey(survey)
        if file.bands != bands:
            raise UserError(f"{survey} has the bands {file.bands}, the network {bands}")
        return file.image_mean.tolist(), file.image_sigma.tolist()
    if mean is None and sigma is None and bands == PICTURE_BANDS:
        return IMAGENET_MEAN, IMAGENET_SIGMA
    if mean is None or sigma is None:
        raise UserError(
            "the original stores no image statistics: give the mean and the standard deviation "
            f"of its training images in {', '.join(bands)} with --image-mean and "
            "--image-sigma, or a survey file of these images with --survey"
        )
    if len(mean) != len(bands) or len(sigma) != len(bands):
        raise UserError(f"--image-mean and --image-sigma take {len(bands)} values each")
    return mean, sigma


def bands_of(params: Params) -> tuple[str, ...]:
    """The bands of the images that the parameters are for."""
    return SDSS_BANDS if band_count(params) == len(SDSS_BANDS) else PICTURE_BANDS


def convert(
    states: Sequence[OriginalState],
    params: Sequence[Params],
    statistics: ImageStatistics,
    folder: Path,
) -> list[str]:
    """Write the checkpoints.

    Args:
        states: Towers, or towers and U-Net in any order.
        params: The original's parameters: of the U-Net, of the towers, or both; where only one is
            given the towers are built from it too, as the original's generation does.
        statistics: Of the training images.
        folder: Made if needed; checkpoints in it are never overwritten.

    Returns:
        A report: for every file what became of its tensors, and its states that are not used.

    Raises:
        UserError: the states do not make a generator, a file exists, a tensor is missing, left over
            or misshapen (all are named), or a parameter is missing.
    """
    towers, unet = _towers_and_unet(states)
    of_unet, of_towers = _params_of(params, unet is not None)
    existing = [n for n in (CONTRASTIVE_FILE, GENERATIVE_FILE) if (folder / n).exists()]
    if existing:
        raise UserError(f"{folder} holds {existing[0]} already: name another --output")
    network = build_contrastive(of_towers)
    load_original(network, towers.weights)
    about = _describe(contrastive_config(of_towers), bands_of(of_towers), statistics)
    checkpoint = {"about": about, "network": network.state_dict()}
    files = {CONTRASTIVE_FILE: (towers, checkpoint)}
    if unet is not None:
        ranking = {"about": about, "weights": network.state_dict()}
        network = build_denoiser(of_unet)
        load_original(network, unet.weights)
        about = _describe(generative_config(of_unet), bands_of(of_unet), statistics)
        checkpoint = {"about": about, "contrastive": ranking, "network": network.state_dict()}
        files[GENERATIVE_FILE] = (unet, checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    report = []
    for name, (state, checkpoint) in files.items():
        write_checkpoint(folder / name, checkpoint)
        report += _summary(state, name)
    return report


def _towers_and_unet(states: Sequence[OriginalState]) -> tuple[OriginalState, OriginalState | None]:
    towers = [state for state in states if state.contrastive]
    unets = [state for state in states if not state.contrastive]
    if len(towers) != 1 or len(unets) > 1:
        raise UserError(
            f"{len(towers)} contrastive and {len(unets)} generative checkpoints: give one "
            "contrastive checkpoint, and with it the generative one whose candidates it ranks"
        )
    return towers[0], unets[0] if unets else None


def _params_of(params: Sequence[Params], with_unet: bool) -> tuple[Params | None, Params]:
    """Parameters of the U-Net and of the towers."""
    of_unet = next((one for one in params if is_generative(one)), None)
    of_towers = next((one for one in params if not is_generative(one)), of_unet)
    if with_unet and of_unet is None:
        raise UserError("the generative checkpoint needs the original's params_generative.yml too")
    if of_unet is not None and of_unet["dataset_file"] != of_towers["dataset_file"]:
        raise UserError(
            f"the parameters are of two data sets, {of_unet['dataset_file']} and "
            f"{of_towers['dataset_file']}: ranking needs the towers of the same resolution"
        )
    return of_unet, of_towers


def _describe(
    config: ContrastiveConfig | GenerativeConfig,
    bands: tuple[str, ...],
    statistics: ImageStatistics,
) -> dict[str, Any]:
    """The description that a checkpoint carries."""
    pictures = bands == PICTURE_BANDS
    survey = SurveyDescription(
        bands,
        PICTURE_SCALE_ARCSEC if pictures else SDSS_PIXEL_ARCSEC,
        image_size=64,
        image_unit=PICTURE_UNIT if pictures else "nanomaggy",
        grid=METHOD_GRID,
        preparation=Preparation.original(),
        name="the original's data",
    )
    kind = "generative" if isinstance(config, GenerativeConfig) else "contrastive"
    images = ImageTransform("linear", *statistics)
    spectra = SpectrumTransform(config.data.representation, config.data.flux)
    return describe(kind, to_dict(config), survey, images, spectra)


def _summary(state: OriginalState, name: str) -> list[str]:
    section = f" [{state.section}]" if state.section else ""
    used = f"{state.path}{section} -> {name}: all {len(state.weights)} tensors used"
    return [used, f"{state.path}: not used: {', '.join(state.unused) or 'nothing'}"]
