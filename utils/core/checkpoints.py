"""Trained networks from checkpoints, and the description that a checkpoint carries.

`best.pt` holds each weight once: the averaged ones, without the state of the optimiser. `last.pt`
also holds what resuming needs. A `.safetensors` file of `python -m utils.export` holds what a
`best.pt` of stage 2 does, in half the bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from datasets.atomic_files import atomic_path
from datasets.errors import UserError
from datasets.image_transform import ImageTransform
from datasets.photometry import PHOTOMETRY_VERSION
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey_description import SurveyDescription
from models.conditioning import ImageFeatures
from models.contrastive import ContrastiveModel
from models.diffusion import Denoiser
from models.novelty import NoveltyTest
from utils.core.config import ContrastiveConfig, GenerativeConfig, from_dict
from utils.core.model_factory import (
    build_contrastive,
    build_denoiser,
    build_parameter_denoiser,
)
from utils.core.provenance import code_version
from utils.core.weights_file import SUFFIX, read_weights_file

CHECKPOINT_FORMAT = 4


@dataclass
class TrainedContrastive:
    """A contrastive checkpoint, ready to use.

    Args:
        network: Both towers, averaged weights, evaluation mode.
        images, spectra: The transforms in front of them.
        survey: What they were trained on.
        config: How.
        about: The checkpoint's own description.
    """

    network: ContrastiveModel
    images: ImageTransform
    spectra: SpectrumTransform
    survey: SurveyDescription
    config: ContrastiveConfig
    about: dict[str, Any]

    def vectors_of(self, features: ImageFeatures) -> torch.Tensor:
        """The unit vectors (B, D) of images that are compared with those of spectra."""
        return self.network.with_photometry(features.embedding, features.photometry)

    def to(self, device: torch.device) -> TrainedContrastive:
        """Everything moved to `device`; returns itself."""
        self.network.to(device)
        self.images, self.spectra = self.images.to(device), self.spectra.to(device)
        return self


def describe(
    kind: str,
    config: dict[str, Any],
    survey: SurveyDescription,
    images: ImageTransform,
    spectra: SpectrumTransform,
) -> dict[str, Any]:
    """The part of a checkpoint that describes its weights."""
    return {
        "kind": kind,
        "format": CHECKPOINT_FORMAT,
        "photometry": PHOTOMETRY_VERSION,
        "code": code_version(),
        "config": config,
        "survey": survey.to_dict(),
        "images": images.to_dict(),
        "spectra": spectra.to_dict(),
    }


def trained_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The averaged weights of a checkpoint, or the raw ones where there was no average.

    `best.pt` holds no others, `last.pt` both.
    """
    if "average" not in checkpoint:
        return checkpoint["network"]
    prefix = "module."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint["average"].items()
        if name.startswith(prefix)
    }


def restore_contrastive(
    about: dict[str, Any], weights: dict[str, torch.Tensor]
) -> TrainedContrastive:
    """The towers that `about` describes, with `weights`, frozen and in evaluation mode."""
    config = from_dict(ContrastiveConfig, about["config"])
    if "photometry" not in about["config"]["towers"]:  # trained before there was the key
        config.towers.photometry = False
    survey = SurveyDescription.from_dict(about["survey"])
    spectra = SpectrumTransform.from_dict(about["spectra"])
    config.towers.imagenet_weights = None  # the trained weights replace them
    network = build_contrastive(config.towers, len(survey.bands), spectra.channels, spectra.length)
    network.load_state_dict(weights)
    network.requires_grad_(False).eval()
    images = ImageTransform.from_dict(about["images"])
    return TrainedContrastive(network, images, spectra, survey, config, about)


def load_contrastive(path: str | Path) -> TrainedContrastive:
    """A trained pair of towers from a checkpoint of stage 1, or of stage 2, which holds its own.

    Raises:
        UserError: as `read_checkpoint`.
    """
    checkpoint = read_checkpoint(path, "contrastive")
    with _damage_reported(path):
        return restore_contrastive(checkpoint["about"], trained_weights(checkpoint))


def with_data_of(towers: TrainedContrastive, config: GenerativeConfig) -> GenerativeConfig:
    """The configuration with survey and representation of the towers where it has null.

    Raises:
        UserError: the survey file that the towers were trained on is gone, or an option has no
            effect on their representation.
    """
    survey = towers.config.data.survey
    if config.data.survey is None and not Path(survey).exists():
        raise UserError(
            f"{config.diffusion.contrastive} was trained on {survey}, which does not exist here: "
            "name the survey file with --data.survey"
        )
    return config.trained_on(towers.config.data)


@dataclass
class TrainedGenerator:
    """A generative checkpoint, ready to use: one stage of generation.

    Args:
        network: The denoiser of spectra, averaged weights, evaluation mode.
        parameters: The denoiser of parameters likewise; None for a network without a prior and for
            super resolution.
        spectra: Transform of the spectra it generates.
        contrastive: The towers that condition (where frozen) and rank.
        config: How it was trained; `config.sampling` is the default of generation.
        about: The checkpoint's own description.
        novelty: Tells images from those of the training; None in older checkpoints.
    """

    network: Denoiser
    parameters: Denoiser | None
    spectra: SpectrumTransform
    contrastive: TrainedContrastive
    config: GenerativeConfig
    about: dict[str, Any]
    novelty: NoveltyTest | None = None

    def to(self, device: torch.device) -> TrainedGenerator:
        """Everything moved to `device`; returns itself."""
        self.network.to(device)
        for module in (self.parameters, self.novelty):
            if module is not None:
                module.to(device)
        self.contrastive.to(device)
        self.spectra = self.spectra.to(device)
        return self


def load_generator(path: str | Path) -> TrainedGenerator:
    """A trained generator from a checkpoint of stage 2; it needs no other file.

    Raises:
        UserError: as `read_checkpoint`.
    """
    checkpoint = read_checkpoint(path, "generative")
    with _damage_reported(path):
        return _restore_generator(checkpoint)


def _restore_generator(checkpoint: dict[str, Any]) -> TrainedGenerator:
    about = checkpoint["about"]
    inner = checkpoint["contrastive"]
    contrastive = restore_contrastive(inner["about"], inner["weights"])
    config = from_dict(GenerativeConfig, about["config"])
    config.diffusion.imagenet_weights = None  # the trained weights replace them
    spectra = SpectrumTransform.from_dict(about["spectra"])
    network = build_denoiser(config, contrastive.network, spectra, about.get("conditions"))
    network.load_state_dict(trained_weights(checkpoint))
    network.requires_grad_(False).eval()
    parameters = build_parameter_denoiser(config, contrastive.network, spectra)
    if parameters is not None:
        parameters.load_state_dict(checkpoint["parameters"])
        parameters.requires_grad_(False).eval()
    novelty = NoveltyTest.from_state(checkpoint["novelty"]) if "novelty" in checkpoint else None
    return TrainedGenerator(network, parameters, spectra, contrastive, config, about, novelty)


@contextmanager
def _damage_reported(path: str | Path) -> Iterator[None]:
    """Contents that do not fit each other, as UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of torch, jsonargparse or missing entries
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: damaged ({type(error).__name__}: {reason}): copy it again, or train again"
        ) from error


def write_checkpoint(path: Path, contents: dict[str, Any]) -> None:
    """Write a checkpoint, atomically.

    Raises:
        OSError: the disk is full, for example; torch, writing by itself, calls that a RuntimeError.
    """
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_checkpoint(path: str | Path, kind: str | None = None) -> dict[str, Any]:
    """A checkpoint as a dict of tensors and primitives, on the CPU.

    Args:
        path: A `.pt` file written by a training script, or a `.safetensors` file of
            `python -m utils.export`.
        kind: `contrastive`, `parameters`, `generative` or `regression`, to refuse the others; a
            generative one gives its towers as a contrastive one. None takes all.

    Raises:
        UserError: there is no such file, it cannot be read safely, or it is of another kind or
            format.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; train one, or name another file")
    try:
        if path.suffix == SUFFIX:
            checkpoint = read_weights_file(path)
        else:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    about = checkpoint.get("about") if isinstance(checkpoint, dict) else None
    if not isinstance(about, dict) or "kind" not in about:
        raise UserError(
            f"{path}: not a checkpoint of this project; one of the original code is converted "
            "with `python -m utils.original convert`"
        )
    _check_format(path, checkpoint)
    if kind == "contrastive" and about["kind"] == "generative" and "contrastive" in checkpoint:
        towers = checkpoint["contrastive"]
        return {"about": towers["about"], "network": towers["weights"]}
    if kind is not None and about["kind"] != kind:
        raise UserError(f"{path}: a {about['kind']} checkpoint, but a {kind} one is needed")
    return checkpoint


def _check_format(path: Path, checkpoint: dict[str, Any]) -> None:
    about = checkpoint["about"]
    found, photometry = about.get("format", 1), about.get("photometry")
    if found == CHECKPOINT_FORMAT and photometry == PHOTOMETRY_VERSION:
        return
    if found == CHECKPOINT_FORMAT:
        raise UserError(
            f"{path}: trained with version {photometry} of the photometric features, this code "
            f"computes {PHOTOMETRY_VERSION}: train it again, or use the version that wrote it"
        )
    code, reason = about.get("code", "unknown"), "written by a newer version; update this code"
    if found < CHECKPOINT_FORMAT:
        reason = "written before residuals were whitened: train it again, or use its own version"
    raise UserError(f"{path}: checkpoint format {found} (code {code}): {reason}")
