"""Networks of the original, restored: its golden outputs, its sizes, its names."""

import pytest
import torch

from datasets.errors import UserError
from models.contrastive import nt_xent
from models.samplers import Ancestral
from tests.original_files import (
    TOWERS,
    UNETS,
    assert_golden,
    count,
    original,
    predicted_noise,
    restored,
)
from utils.original.networks import build_contrastive, build_denoiser, original_name


@pytest.fixture(scope="module")
def small():
    return original("unet_low_resolution_small")


@pytest.mark.parametrize("name", TOWERS)
@torch.no_grad()
def test_towers_give_the_originals_embeddings_and_loss(name):
    state, params, reference = original(name)
    towers = restored(state, params)
    images, spectra = towers(reference["image"], reference["spectrum"][:, None])
    assert_golden(images, reference["image_embedding"])
    assert_golden(spectra, reference["spectrum_embedding"])
    assert nt_xent(images, spectra).item() == pytest.approx(reference["loss"].item(), rel=1e-4)
    assert count(towers.image_encoder) == reference["n_parameters_image"]
    assert count(towers.spectrum_encoder) == reference["n_parameters_spectrum"]


@pytest.mark.parametrize("name", UNETS)
@torch.no_grad()
def test_u_nets_give_the_originals_tokens_and_noise(name):
    state, params, reference = original(name)
    denoiser = restored(state, params)
    spectrum = reference.get("full_resolution_spectrum")
    x_t, image, t = (reference[key] for key in ("x_t", "image", "t"))
    assert_golden(denoiser.condition.tokens(image), reference["context"])
    assert_golden(predicted_noise(denoiser, x_t, image, t, spectrum), reference["predicted_noise"])
    assert count(denoiser) == reference["n_parameters"]
    assert count(denoiser.condition) == reference["n_parameters_condition_encoder"]


@torch.no_grad()
def test_sampling_gives_the_originals_spectra(small):
    state, params, reference = small
    denoiser, noise = restored(state, params), iter(reference["step_noise"])
    tokens = denoiser.condition.tokens(reference["image"])
    found = Ancestral().sample(
        lambda x, t: denoiser.estimate(x, t, tokens),
        denoiser.schedule,
        reference["x_t"],
        lambda: next(noise),
    )
    assert_golden(found, reference["sampled"])


@torch.no_grad()
def test_the_misalignment_of_super_resolution_is_part_of_the_result():
    state, params, reference = original("unet_super_resolution_small")
    denoiser = restored(state, params)
    inputs = [reference[key][:1] for key in ("x_t", "image", "t", "full_resolution_spectrum")]
    noise = predicted_noise(denoiser, *inputs)
    denoiser.alignment = "aligned"
    assert (predicted_noise(denoiser, *inputs) - noise).abs().max() > 1e-3 * noise.abs().max()


@torch.no_grad()
def test_stored_buffers_win_over_the_parameters(small):
    """Only the weights say which ᾱ and which frequencies a network was trained with."""
    state, params, reference = small
    changed = state | {
        "unet.encoder.freqs": state["unet.encoder.freqs"].clamp(max=100),
        "diffusion.cumalphas": state["diffusion.cumalphas"] / 2,
    }
    inputs = [reference[key] for key in ("x_t", "image", "t")]
    denoiser = restored(changed, params)
    noise = predicted_noise(denoiser, *inputs)
    assert (noise - reference["predicted_noise"]).abs().max() > 1e-3
    half = state["diffusion.cumalphas"] / 2
    assert torch.equal(denoiser.schedule.alphas_cumulative, half)


@pytest.mark.parametrize("name", [*UNETS, *TOWERS])
def test_names_translate_one_to_one(name):
    state, params, _ = original(name)
    build = build_contrastive if name in TOWERS else build_denoiser
    with torch.device("meta"):
        ours = build(params).state_dict()
    assert len({original_name(key) for key in ours}) == len(ours)
    assert {original_name(key): tensor.shape for key, tensor in ours.items()} == {
        key: tensor.shape for key, tensor in state.items()
    }


@pytest.mark.parametrize(
    ("dataset", "bands", "total"),
    [("datasets.lr_5band", 5, 35_904_129), ("datasets.sr_5band", 5, 35_904_385)],
)
def test_default_u_nets_have_the_published_sizes(dataset, bands, total):
    _, params, _ = original("unet_low_resolution_default")
    with torch.device("meta"):
        denoiser = build_denoiser(params | {"dataset_file": dataset})
    assert count(denoiser) == total
    assert denoiser.condition.image_encoder.bands == bands


@pytest.mark.parametrize(
    ("dataset", "total"), [("datasets.lr_5band", 43_481_920), ("datasets.rgb", 43_475_648)]
)
def test_default_towers_have_the_published_sizes(dataset, total):
    _, params, _ = original("contrastive_default")
    with torch.device("meta"):
        assert count(build_contrastive(params | {"dataset_file": dataset})) == total


@torch.no_grad()
def test_names_may_carry_the_prefix_of_parallel_training(small):
    state, params, reference = small
    denoiser = restored({f"module.{key}": value for key, value in state.items()}, params)
    inputs = [reference[key] for key in ("x_t", "image", "t")]
    assert_golden(predicted_noise(denoiser, *inputs), reference["predicted_noise"])


@pytest.mark.parametrize(
    "name", ["unet.conv_cls.bias", "diffusion.betas", "unet.up_blocks.1.1.norm.weight"]
)
def test_tensors_that_are_missing_are_named(small, name):
    state, params, _ = small
    with pytest.raises(UserError, match=f"missing: {name}"):
        restored({key: value for key, value in state.items() if key != name}, params)


def test_tensors_that_are_left_over_are_named(small):
    state, params, _ = small
    with pytest.raises(UserError, match=r"left over: unet\.stranger"):
        restored(state | {"unet.stranger": torch.ones(1)}, params)


def test_tensors_of_another_shape_are_named(small):
    state, params, _ = small
    name = "unet.condition_encoder.model.conv1.weight"
    with pytest.raises(UserError, match=rf"shape of {name}: \(64, 3, 7, 7\) instead of \(64, 5"):
        restored(state | {name: torch.ones(64, 3, 7, 7)}, params)


def test_parameters_of_another_network_are_refused(small):
    state, params, _ = small
    wider = params["spectrumunet"] | {"dim": 64}
    with pytest.raises(UserError, match=r"shape of unet\.first_layer_t\.0\.weight"):
        restored(state, params | {"spectrumunet": wider})


def test_missing_parameters_and_options_that_never_ran_are_refused(small):
    state, params, _ = small
    with pytest.raises(UserError, match="lack time_steps"):
        restored(state, {key: value for key, value in params.items() if key != "time_steps"})
    with pytest.raises(UserError, match='conditioning "concat"'):
        restored(state, params | {"conditioning": "concat"})
