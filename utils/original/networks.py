"""Networks of the original code (Doorenbos et al. 2022, 2024) under this project's names.

`build_denoiser` and `build_contrastive` make the networks that the original's parameters describe;
with the tensors of `load_original` they have the outputs of the original, including its ᾱ, its
overflowing time frequencies and its misaligned interpolation. Every tensor is used, or named in an
error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from datasets.errors import UserError
from datasets.spectrum_transform import SpectrumTransform
from models.contrastive import ContrastiveModel
from models.diffusion import Denoiser
from utils.core import model_factory as networks
from utils.core.model_factory import assemble_denoiser, joint_condition
from utils.original.params import band_count, contrastive_config, generative_config

TRANSFORMS = {resolution: SpectrumTransform(resolution) for resolution in ("low", "super")}

# Our name -> the original's, by patterns that are applied from top to bottom.
RENAMING = [
    # blocks, wherever they are
    (r"\.residual\.", ".0."),
    (r"\.first\.", ".block1."),
    (r"\.second\.", ".block2."),
    (r"\.time\.1\.", ".time_mlp.1."),
    (r"\.shortcut\.", ".res_conv."),
    (r"\.shrink\.", ".0.down."),
    (r"\.grow\.", ".0.upsample."),
    (r"\.attention\.", ".1."),
    (r"\.project_in\.", ".proj_in."),
    (r"\.project_out\.", ".proj_out."),
    (r"\.self_norm\.", ".transformer_blocks.0.norm1."),
    (r"\.cross_norm\.", ".transformer_blocks.0.norm2."),
    (r"\.feed_norm\.", ".transformer_blocks.0.norm3."),
    (r"\.self_attention\.", ".transformer_blocks.0.attn1."),
    (r"\.cross_attention\.", ".transformer_blocks.0.attn2."),
    (r"\.feed_forward\.expand\.", ".transformer_blocks.0.ff.net.0.proj."),
    (r"\.feed_forward\.contract\.", ".transformer_blocks.0.ff.net.2."),
    (r"\.(query|key|value)\.", lambda found: f".to_{found[1][0]}."),
    (r"\.out\.", ".to_out.0."),
    # the generative network
    (r"^schedule\.alphas_cumulative$", "diffusion.cumalphas"),
    (r"^schedule\.", "diffusion."),
    (r"^condition\.image_encoder\.", "unet.condition_encoder.model."),
    (r"^network\.time\.frequencies$", "unet.encoder.freqs"),
    (r"^network\.time\.mlp\.", "unet.first_layer_t."),
    (r"^network\.bottom\.enter\.", "unet.bottom_block.0."),
    (r"^network\.bottom\.1\.", "unet.bottom_block.1."),
    (r"^network\.bottom\.leave\.", "unet.bottom_block.2."),
    (r"^network\.output\.", "unet.conv_cls."),
    (r"^network\.", "unet."),
    # the contrastive network
    (r"^image_encoder\.", "image_model."),
    (r"^spectrum_encoder\.stages\.", "spectrum_model.down_layers."),
    (r"^spectrum_encoder\.", "spectrum_model."),
]


def original_name(name: str) -> str:
    """The original's name of the tensor that is called `name` in our networks."""
    for pattern, replacement in RENAMING:
        name = re.sub(pattern, replacement, name)
    return name


def load_original(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy an original state dict into one of our networks.

    Args:
        network: `Denoiser` or `ContrastiveModel` of the same sizes.
        state: tensors under the original's names, with or without the prefix `module.`.

    Raises:
        UserError: a tensor is missing, left over or of another shape; all of them are named.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    ours = {original_name(name): name for name in network.state_dict()}
    own = network.state_dict()
    problems = [f"missing: {name}" for name in ours if name not in state]
    problems += [f"left over: {name}" for name in state if name not in ours]
    for name in ours.keys() & state.keys():
        found, expected = tuple(state[name].shape), tuple(own[ours[name]].shape)
        if found != expected:
            problems.append(f"shape of {name}: {found} instead of {expected}")
    if problems:
        raise UserError(
            "the state dict does not belong to the network that the parameters describe:\n  "
            + "\n  ".join(sorted(problems))
        )
    network.load_state_dict({ours[name]: tensor for name, tensor in state.items()})


def build_denoiser(params: Mapping[str, Any]) -> Denoiser:
    """The U-Net, its encoder and its schedule that the original's parameters describe.

    Args:
        params: the original's `params_generative.yml` as a dict.

    Raises:
        UserError: a parameter is missing, or has a value that the original cannot run.
    """
    config = generative_config(params)
    return assemble_denoiser(
        config,
        joint_condition(config.diffusion, band_count(params)),
        TRANSFORMS[config.data.representation],
    )


def build_contrastive(params: Mapping[str, Any]) -> ContrastiveModel:
    """The towers that the original's parameters describe.

    Args:
        params: the original's `params_contrastive.yml` as a dict.

    Raises:
        UserError: a parameter is missing.
    """
    config = contrastive_config(params)
    spectra = TRANSFORMS[config.data.representation]
    return networks.build_contrastive(
        config.towers, band_count(params), spectra.channels, spectra.length
    )
