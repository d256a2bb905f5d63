"""The published set-ups as parameter files: they build the published networks."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import generate
import train_contrastive
import train_generative
from datasets.errors import UserError
from datasets.sdss.survey_builder import PREPARATIONS
from datasets.spectra import METHOD_GRID, NATIVE_GRID
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from datasets.survey_description import SurveyDescription
from datasets.survey_writer import SurveyWriter
from tests.original_files import count
from tests.support import ROOT
from utils.core.config import ContrastiveConfig, DataConfig, GenerativeConfig, from_dict
from utils.core.model_factory import build_contrastive, build_denoiser
from utils.generation.fits_output import read_spectrum
from utils.training.setup import check_towers

PARAMS = ROOT / "params"


@pytest.mark.parametrize(
    ("year", "suffix", "bands", "grid", "towers_count", "unet_count", "condition_count"),
    [
        ("2024", "_low", 5, METHOD_GRID, 43_481_920, 35_904_129, 11_182_784),
        ("2024", "_super", 5, METHOD_GRID, 43_481_920, 35_904_385, 11_182_784),
        ("2022", "", 3, NATIVE_GRID, 43_475_648, 34_840_129, 11_176_512),
    ],
)
def test_published_sizes(year, suffix, bands, grid, towers_count, unet_count, condition_count):
    contrastive, generative = (
        from_dict(kind, yaml.safe_load((PARAMS / f"{year}_{name}{suffix}.yml").read_text()))
        for kind, name in ((ContrastiveConfig, "contrastive"), (GenerativeConfig, "generative"))
    )
    generative = generative.trained_on(contrastive.data)
    spectra = SpectrumTransform(generative.data.representation, grid=grid)
    with torch.device("meta"):
        towers = build_contrastive(contrastive.towers, bands, spectra.channels, spectra.length)
        denoiser = build_denoiser(generative, towers, spectra)
        images = torch.zeros(2, bands, 64, 64)
        encoded = towers(images, torch.zeros(2, spectra.channels, spectra.length))
    assert [tuple(vectors.shape) for vectors in encoded] == [(2, 128), (2, 128)]
    assert count(towers) == towers_count
    assert count(denoiser) == unet_count
    assert count(denoiser.condition) == condition_count


def test_every_published_set_up_is_there():
    stages = ["contrastive_low", "contrastive_super", "generative_low", "generative_super"]
    expected = {f"2024_{stage}.yml" for stage in stages}
    expected |= {"2022_contrastive.yml", "2022_generative.yml"}
    assert {path.name for path in PARAMS.glob("20*.yml")} == expected


TINY_RUN = ["--optimiser.batch_size=16", "--run.tensorboard=false", "--run.device=cpu"]
TINY_CONTRASTIVE = [
    *TINY_RUN,
    "--towers.image_depth=18",
    "--towers.image_width=8",
    "--towers.embedding=16",
    "--towers.spectrum_channels=8",
    "--towers.spectrum_multipliers=[1,2]",
]
TINY_GENERATIVE = [
    *TINY_RUN,
    "--diffusion.channels=32",
    "--diffusion.multipliers=[1,1]",
    "--diffusion.attention_levels=[]",
    "--diffusion.schedule=linear",
    "--diffusion.steps=5",
    "--sampling.candidates=6",
    "--sampling.preview_galaxies=2",
]


def small_survey(path, preparation, bands, galaxies=40):
    """Smooth spectra, some with a gap, and random images, as the named preparation leaves them."""
    generator = np.random.default_rng(0)
    grid, prepared = PREPARATIONS[preparation]
    slope = generator.uniform(-0.4, 0.4, (galaxies, 1))
    spectra = 0.5 + slope * np.linspace(-1, 1, grid.count)
    spectra[::4, 96:112] = -0.1
    images = generator.uniform(0, 1, (galaxies, len(bands), 64, 64)).astype(np.float32)
    catalogue = {
        "identifier": np.arange(galaxies),
        "ra": np.linspace(10.0, 50.0, galaxies),
        "dec": np.zeros(galaxies),
        "z": np.full(galaxies, 0.1),
    }
    unit = "picture" if len(bands) == 3 else "nanomaggy"
    options = {"image_unit": unit, "fractions": (0.2, 0.2)}
    with SurveyWriter(path, bands, 0.396, grid, prepared, **options) as writer:
        writer.append(images, spectra, catalogue, np.ones(galaxies))
    return path, images


def train(script, year, stage, survey, output, *options):
    arguments = [f"--config={PARAMS}/{year}_{stage}.yml", f"--data.survey={survey}"]
    arguments += [f"--run.output={output}", "--optimiser.epochs=1", "--data.workers=0"]
    return script.main([*arguments, *map(str, options)])


@pytest.mark.parametrize(
    ("year", "suffix", "preparation", "bands"),
    [
        ("2024", "_low", "original", tuple("ugriz")),
        pytest.param("2022", "", "native", tuple("RGB"), marks=pytest.mark.slow),
    ],
)
def test_published_set_ups_run(year, suffix, preparation, bands, tmp_path):
    """Both stages from their files and generation, but for sizes that fit a test."""
    survey, images = small_survey(tmp_path / "survey.h5", preparation, bands)
    first, second = tmp_path / "contrastive", tmp_path / "generative"
    contrastive = train(
        train_contrastive, year, f"contrastive{suffix}", survey, first, *TINY_CONTRASTIVE
    )
    assert contrastive == 0
    with open(first / "metrics.csv") as file:
        assert all(np.isfinite(float(row["validation_loss"])) for row in csv.DictReader(file))
    options = [*TINY_GENERATIVE, f"--diffusion.contrastive={first}/best.pt"]
    generative = train(train_generative, year, f"generative{suffix}", survey, second, *options)
    assert generative == 0
    np.save(tmp_path / "one.npy", images[0])
    arguments = [tmp_path / "one.npy", "--checkpoint", second / "best.pt"]
    arguments += ["--output", tmp_path / "spectra", "--device", "cpu", "--no-measure"]
    assert generate.main(list(map(str, arguments))) == 0
    spectrum = read_spectrum(tmp_path / "spectra" / "spectra" / "one.fits")
    assert spectrum.candidates.shape == (6, 3598 if year == "2022" else 563)
    averaged = 5 if year == "2022" else None
    assert spectrum.provenance.averaged == averaged
    expected = spectrum.candidates[:averaged].mean(0)
    np.testing.assert_allclose(spectrum.mean, expected, rtol=1e-5)
    assert spectrum.provenance.sampler == "ancestral"


def test_other_preparations_are_refused_in_compatible_mode(tmp_path):
    config = from_dict(
        GenerativeConfig, yaml.safe_load((PARAMS / "2024_generative_low.yml").read_text())
    ).trained_on(DataConfig(representation="low"))
    spectra = SpectrumTransform("low")
    for preparation in ("original", "median"):
        path, _ = small_survey(tmp_path / f"{preparation}.h5", preparation, tuple("ugriz"))
        survey = Survey(path)
        towers = SimpleNamespace(survey=SurveyDescription.of(survey), spectra=spectra)
        config.data.representation = "low"  # as the towers
        if preparation == "original":
            check_towers(towers, survey, config)
        else:
            with pytest.raises(UserError, match="build it again with --preparation original"):
                check_towers(towers, survey, config)
            config.compatibility = "none"
            check_towers(towers, survey, config)


def test_imagenets_statistics_are_for_colour_pictures(tmp_path, capsys):
    survey, _ = small_survey(tmp_path / "survey.h5", "native", tuple("ugriz"))
    assert train(train_contrastive, "2022", "contrastive", survey, tmp_path, *TINY_CONTRASTIVE) == 2
    assert "imagenet is for pictures in R, G, B" in capsys.readouterr().err
