"""Checkpoints in the original's file format: converted, they generate what the original does."""

import os
import zipfile

import numpy as np
import pytest
import torch
import yaml
from astropy.io import fits

import generate
from datasets.cutouts.export import export
from datasets.errors import UserError
from datasets.spectra import Preparation
from datasets.survey import Survey
from models.contrastive import best_first
from models.generator import score_candidates
from models.random_streams import RowNoise
from models.samplers import Ancestral
from tests.original_files import (
    TOWERS,
    UNETS,
    HeldState,
    assert_golden,
    original,
    original_buffers,
    predicted_noise,
    restored,
    write_checkpoint,
)
from utils.core.checkpoints import load_contrastive, load_generator
from utils.original.__main__ import main
from utils.original.files import read_original

STATISTICS = ["--image-mean", 0, 0.1, 0.2, 0.3, 0.4, "--image-sigma", 1, 2, 3, 4, 5]


def write_params(path, params, **changes):
    path.write_text(yaml.safe_dump(params | changes))
    return path


def convert(output, *arguments):
    return main(["convert", *map(str, arguments), "--output", str(output)])


@pytest.fixture(scope="module")
def towers_file(tmp_path_factory):
    """The small towers in a file of the original."""
    return write_checkpoint(tmp_path_factory.mktemp("towers"), original("contrastive_small")[0])


def converted(tmp_path, towers_file, name, state=None, params=None):
    """A U-Net and the small towers through files and converter; returns the folder."""
    own_state, own_params, _ = original(name)
    state, params = state or own_state, params or own_params
    of_towers = original("contrastive_small")[1]
    wrong = {key: tensor + 1 for key, tensor in state.items()}  # only the average is to be used
    unet = write_checkpoint(tmp_path / "unet", wrong, state)
    files = [
        write_params(tmp_path / "generative.yml", params),
        write_params(tmp_path / "pair.yml", of_towers, dataset_file=params["dataset_file"]),
    ]
    output = tmp_path / "converted"
    assert convert(output, unet, towers_file, "--params", *files, *STATISTICS) == 0
    return output


def large_ones_slow(names):
    return [
        pytest.param(name, marks=[pytest.mark.slow] if "default" in name else []) for name in names
    ]


@pytest.mark.parametrize("name", large_ones_slow(UNETS))
@torch.no_grad()
def test_converted_u_nets_give_the_originals_noise(name, tmp_path, towers_file):
    *_, reference = original(name)
    folder = converted(tmp_path, towers_file, name)
    stage = load_generator(folder / "generative.pt")
    spectrum = reference.get("full_resolution_spectrum")
    low = None if spectrum is None else spectrum[..., ::8]
    tokens = stage.network.condition.tokens(reference["image"])
    context = stage.network.context(reference["x_t"].shape[-1], low)
    found = stage.network(reference["x_t"], reference["t"], tokens, context)
    assert_golden(tokens, reference["context"])
    assert_golden(found, reference["predicted_noise"])
    assert stage.config.compatibility == "original"
    assert stage.spectra.representation == ("low" if spectrum is None else "super")
    assert stage.contrastive.survey.preparation == Preparation.original()


@pytest.mark.parametrize("name", large_ones_slow(TOWERS))
@torch.no_grad()
def test_converted_towers_give_the_originals_vectors(name, tmp_path):
    state, params, reference = original(name)
    checkpoint = write_checkpoint(tmp_path / "pair", state)
    file = write_params(tmp_path / "pair.yml", params)
    assert convert(tmp_path / "out", checkpoint, "--params", file, *STATISTICS) == 0
    towers = load_contrastive(tmp_path / "out" / "contrastive.pt")
    images, spectra = towers.network(reference["image"], reference["spectrum"][:, None])
    assert_golden(images, reference["image_embedding"])
    assert_golden(spectra, reference["spectrum_embedding"])
    assert not (tmp_path / "out" / "generative.pt").exists()


def quiet_unet():
    """The small U-Net with a schedule and an output under which untrained spectra stay finite."""
    state, params, _ = original("unet_low_resolution_small")
    state = state | original_buffers("linear", 10, len(state["unet.encoder.freqs"]))
    state |= {name: 0.1 * state[name] for name in ("unet.conv_cls.weight", "unet.conv_cls.bias")}
    return state, params | {"beta_schedule": "linear", "num_eval_predictions": 4}


@torch.no_grad()
def test_generate_draws_what_the_original_would(tmp_path, towers_file, tiny_survey):
    """From the original's file to FITS: candidates, ranking, mean of the best."""
    state, params = quiet_unet()
    folder = converted(tmp_path, towers_file, "unet_low_resolution_small", state, params)
    export(Survey(tiny_survey), tmp_path / "cutouts", "test", 2)
    output = tmp_path / "spectra"
    arguments = [tmp_path / "cutouts", "--checkpoint", folder / "generative.pt", "--output", output]
    more = ["--device", "cpu", "--mean-of-best", "2", "--no-pictures", "--no-measure"]
    assert generate.main([*map(str, arguments), *more]) == 0

    path = sorted((output / "spectra").glob("*.fits"))[0]
    cutout = next(p for p in (tmp_path / "cutouts").iterdir() if p.stem == path.stem)
    with fits.open(cutout) as hdus:
        image = next(h.data for h in hdus if h.data is not None).astype(np.float32)
    towers = load_contrastive(folder / "contrastive.pt")
    assert towers.images.mean.tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    view = towers.images.evaluation(torch.from_numpy(image)[None])
    unet = restored(state, params)
    noise = RowNoise(1, "low", [(path.stem, k) for k in range(4)], (1, 563))
    sampled = Ancestral().sample(
        lambda x, t: unet.schedule.from_noise(
            predicted_noise(unet, x, view.expand(4, -1, -1, -1), t), x, t
        ),
        unet.schedule,
        noise(),
        noise,
    )
    scores = score_candidates(towers.network, towers.network.encode_images(view), sampled[None])
    order = best_first(scores)[0].numpy()
    with fits.open(path) as hdus:
        assert hdus["SCORES"].data["candidate"].tolist() == order.tolist()
        expected = sampled.exp()[:, 0].numpy()[order]
        np.testing.assert_allclose(hdus["CANDIDATES"].data, expected, rtol=1e-4)
        mean = hdus["SPECTRUM"].data["normalised_mean"]
        np.testing.assert_allclose(mean, expected[:2].mean(0), rtol=1e-4)
        assert hdus[0].header["NMEAN"] == 2
        assert hdus[0].header["NORM"] == "mean of 6900-6950 Angstrom"


def test_the_report_names_what_is_not_used(tmp_path, towers_file, capsys):
    converted(tmp_path, towers_file, "unet_low_resolution_small")
    report = capsys.readouterr().out
    assert "[average_model] -> generative.pt: all " in report
    assert report.rstrip().endswith("not used: model, optimizer, scheduler, engine")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_bare_state_dicts_are_read(tmp_path, prefix):
    state, *_ = original("contrastive_small")
    torch.save({prefix + key: value for key, value in state.items()}, tmp_path / "bare.pt")
    found = read_original(tmp_path / "bare.pt")
    assert found.contrastive and found.weights.keys() == state.keys() and not found.unused


def test_arrays_of_older_numpy_are_read(tmp_path, towers_file):
    """NumPy 1 wrote its arrays' function under another name."""
    old = tmp_path / "old.pt"
    with zipfile.ZipFile(towers_file) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in data
                data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            target.writestr(name, data)
    assert read_original(old).weights.keys() == read_original(towers_file).weights.keys()
    assert "scheduler" in read_original(old).unused


class Malicious:
    """An object whose pickle runs a command when it is opened."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_pickled_code_never_runs(tmp_path):
    target = tmp_path / "made_by_the_pickle"
    state, bad = {"weight": torch.ones(1)}, Malicious(target)
    array = np.empty(1, dtype=object)
    array[0] = bad
    for number, more in enumerate(
        [{"engine": HeldState({"a": bad})}, {"scheduler": HeldState({"a": array})}]
    ):
        path = write_checkpoint(tmp_path / str(number), state, **more)
        with pytest.raises(UserError, match="it holds a"):
            read_original(path)
    torch.save(bad, tmp_path / "bare.pt")
    with pytest.raises(UserError, match=r"it holds a posix\.mkdir"):
        read_original(tmp_path / "bare.pt")
    assert not target.exists()
    torch.load(tmp_path / "bare.pt", weights_only=False)  # control: it would have
    assert target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {}}, "neither a state dict nor a checkpoint"),
        ({"optimizer": {"lr": 1.0}}, "neither a state dict nor a checkpoint"),
        ([1, 2], "neither a state dict nor a checkpoint"),
        ({"model": {"a": torch.ones(1)}, "x": np.ones(2)}, "holds a numpy.dtypes.Float64DType"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(UserError, match=message):
        read_original(tmp_path / "other.pt")


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        read_original(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(UserError, match="damaged or not a PyTorch file"):
        read_original(tmp_path / "text.pt")


@pytest.fixture(scope="module")
def pair(tmp_path_factory, towers_file):
    """Files of a U-Net and of towers, and their parameters."""
    tmp_path = tmp_path_factory.mktemp("pair")
    unet, of_towers = original("unet_low_resolution_small"), original("contrastive_small")[1]
    return {
        "unet": write_checkpoint(tmp_path / "unet", unet[0], unet[0]),
        "towers": towers_file,
        "unet.yml": write_params(tmp_path / "unet.yml", unet[1]),
        "towers.yml": write_params(tmp_path / "towers.yml", of_towers),
        "super.yml": write_params(
            tmp_path / "super.yml", of_towers, dataset_file="datasets.sr_5band"
        ),
        "wide.yml": write_params(tmp_path / "wide.yml", of_towers, latent_dimensionality=64),
    }


@pytest.mark.parametrize(
    ("checkpoints", "params", "more", "message"),
    [
        (["unet"], ["unet.yml"], STATISTICS, "0 contrastive and 1 generative"),
        (["unet", "unet"], ["unet.yml"], STATISTICS, "0 contrastive and 2 generative"),
        (["unet", "towers"], ["towers.yml"], STATISTICS, "needs the original's params_generative"),
        (["unet", "towers"], ["unet.yml", "super.yml"], STATISTICS, "of two data sets"),
        (["unet", "towers"], ["unet.yml"], STATISTICS, "lack resnet"),
        (["towers"], ["towers.yml"], [], "--image-mean and --image-sigma, or a survey file"),
        (["towers"], ["towers.yml"], STATISTICS[:6], "--image-mean and --image-sigma"),
        (["towers"], ["towers.yml"], ["--image-mean", 1, "--image-sigma", 1], "5 values each"),
        (["towers"], ["wide.yml"], STATISTICS, "shape of image_model.fc.weight: (32, 2048)"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    pair, checkpoints, params, more, message, tmp_path, capsys
):
    checkpoints, params = [pair[name] for name in checkpoints], [pair[name] for name in params]
    assert convert(tmp_path / "out", *checkpoints, "--params", *params, *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(pair, tmp_path, capsys):
    arguments = [pair["towers"], "--params", pair["towers.yml"], *STATISTICS]
    assert convert(tmp_path / "out", *arguments) == 0
    assert convert(tmp_path / "out", *arguments) == 2
    assert "holds contrastive.pt already" in capsys.readouterr().err


def test_statistics_come_from_a_survey_file(pair, tmp_path, tiny_survey):
    arguments = [pair["towers"], "--params", pair["towers.yml"], "--survey", tiny_survey]
    assert convert(tmp_path / "out", *arguments) == 0
    images = load_contrastive(tmp_path / "out" / "contrastive.pt").images
    np.testing.assert_allclose(images.mean, Survey(tiny_survey).image_mean, rtol=1e-6)
    np.testing.assert_allclose(images.sigma, Survey(tiny_survey).image_sigma, rtol=1e-6)


def test_colour_pictures_have_imagenets_statistics(tmp_path):
    state, params, _ = original("contrastive_small")
    state = state | {"image_model.conv1.weight": state["image_model.conv1.weight"][:, :3]}
    checkpoint = write_checkpoint(tmp_path / "pair", state)
    file = write_params(tmp_path / "pair.yml", params, dataset_file="datasets.rgb")
    assert convert(tmp_path / "out", checkpoint, "--params", file) == 0
    towers = load_contrastive(tmp_path / "out" / "contrastive.pt")
    assert towers.survey.bands == ("R", "G", "B") and towers.survey.pixel_scale_arcsec == 0.4
    assert towers.images.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
