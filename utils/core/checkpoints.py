"""Trained networks from checkpoints, and what a checkpoint says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from datasets.errors import UserError
from datasets.image_transform import ImageTransform
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey_description import SurveyDescription
from models.contrastive import ContrastiveModel
from models.diffusion import Denoiser
from models.property_heads import PropertyHead
from utils.core.config import ContrastiveConfig, GenerativeConfig, from_dict
from utils.core.model_factory import build_contrastive, build_denoiser
from utils.core.provenance import code_version


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

    def to(self, device: torch.device) -> TrainedContrastive:
        """Everything moved to `device`; returns itself."""
        self.network.to(device)
        self.images.to(device)
        self.spectra = self.spectra.to(device)
        return self


def describe(
    kind: str,
    config: dict[str, Any],
    survey: SurveyDescription,
    images: ImageTransform,
    spectra: SpectrumTransform,
) -> dict[str, Any]:
    """The part of a checkpoint that says what its weights are."""
    return {
        "kind": kind,
        "format": CHECKPOINT_FORMAT,
        "code": code_version(),
        "config": config,
        "survey": survey.to_dict(),
        "images": images.to_dict(),
        "spectra": spectra.to_dict(),
    }


def trained_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The averaged weights of a checkpoint, or the raw ones where there was no average."""
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
    survey = SurveyDescription.from_dict(about["survey"])
    spectra = SpectrumTransform.from_dict(about["spectra"])
    config.towers.imagenet_weights = None  # the trained weights replace them
    network = build_contrastive(config.towers, len(survey.bands), spectra.channels, spectra.length)
    network.load_state_dict(weights)
    network.requires_grad_(False).eval()
    images = ImageTransform.from_dict(about["images"])
    return TrainedContrastive(network, images, spectra, survey, config, about)


def load_contrastive(path: str | Path) -> TrainedContrastive:
    """A trained pair of towers from a checkpoint of stage 1.

    Raises:
        UserError: as `read_checkpoint`.
    """
    checkpoint = read_checkpoint(path, "contrastive")
    return restore_contrastive(checkpoint["about"], trained_weights(checkpoint))


@dataclass
class TrainedGenerator:
    """A generative checkpoint, ready to use: one stage of generation.

    Args:
        network: The denoiser, averaged weights, evaluation mode.
        spectra: Transform of the spectra it generates.
        contrastive: The towers that condition (where frozen) and rank.
        config: How it was trained; `config.sampling` is the default for drawing.
        about: The checkpoint's own description.
        heads: p(property | image) of what is drawn first, by name.
    """

    network: Denoiser
    spectra: SpectrumTransform
    contrastive: TrainedContrastive
    config: GenerativeConfig
    about: dict[str, Any]
    heads: dict[str, PropertyHead] = field(default_factory=dict)

    def to(self, device: torch.device) -> TrainedGenerator:
        """Everything moved to `device`; returns itself."""
        self.network.to(device)
        for head in self.heads.values():
            head.to(device)
        self.contrastive.to(device)
        self.spectra = self.spectra.to(device)
        return self


def load_generator(path: str | Path) -> TrainedGenerator:
    """A trained generator from a checkpoint of stage 2; it needs no other file.

    Raises:
        UserError: as `read_checkpoint`.
    """
    checkpoint = read_checkpoint(path, "generative")
    about = checkpoint["about"]
    inner = checkpoint["contrastive"]
    contrastive = restore_contrastive(inner["about"], inner["weights"])
    config = from_dict(GenerativeConfig, about["config"])
    config.diffusion.imagenet_weights = None  # the trained weights replace them
    spectra = SpectrumTransform.from_dict(about["spectra"])
    network = build_denoiser(config, contrastive.network, spectra, about.get("known"))
    network.load_state_dict(trained_weights(checkpoint))
    network.requires_grad_(False).eval()
    heads = checkpoint.get("heads", {})
    heads = {name: PropertyHead.from_state(state) for name, state in heads.items()}
    return TrainedGenerator(network, spectra, contrastive, config, about, heads)


CHECKPOINT_FORMAT = 2


def read_checkpoint(path: str | Path, kind: str | None = None) -> dict[str, Any]:
    """A checkpoint as a dict of tensors and primitives, on the CPU.

    Args:
        path: A `.pt` file written by a training script.
        kind: `contrastive` or `generative`, to refuse the other; None takes both.

    Raises:
        UserError: there is no such file, it cannot be read safely, or it is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; train one, or name another file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    about = checkpoint.get("about") if isinstance(checkpoint, dict) else None
    if not isinstance(about, dict) or "kind" not in about:
        raise UserError(
            f"{path}: not a checkpoint of this project; one of the original code is converted "
            "with `python -m utils.original convert`"
        )
    if about["format"] != CHECKPOINT_FORMAT:
        raise UserError(f"{path}: checkpoint format {about['format']}, not {CHECKPOINT_FORMAT}")
    if kind is not None and about["kind"] != kind:
        raise UserError(f"{path}: a {about['kind']} checkpoint, but a {kind} one is needed")
    return checkpoint
