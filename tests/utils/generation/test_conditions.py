"""The conditions of a network: only those that it was trained with."""

import pytest
import torch

import train_generative
from datasets.survey import Survey
from tests.support import tiny
from utils.core.checkpoints import load_generator
from utils.generation.conditions import catalogue_conditions


def test_a_condition_that_is_left_out_is_not_in_the_tensor(tiny_survey):
    survey = Survey(tiny_survey)
    both, noise_alone = catalogue_conditions(survey), catalogue_conditions(survey, ["snr"])
    assert torch.isfinite(both).all()
    assert noise_alone[:, 0].isnan().all()
    assert torch.equal(noise_alone[:, 1], both[:, 1])


@pytest.mark.parametrize(("flux", "standardise"), [("none", "pixel"), ("log", "none")])
def test_spectra_in_other_representations_are_expected_too(
    flux, standardise, tiny_survey, tiny_towers, tmp_path
):
    """The settings of the YAML file that no other test trains with."""
    survey, output = Survey(tiny_survey), tmp_path / "run"
    given = [f"--data.survey={tiny_survey}", f"--diffusion.contrastive={tiny_towers}"]
    given += [f"--data.flux={flux}", f"--data.standardise={standardise}"]
    arguments = [tiny("generative"), *given, "--optimiser.epochs=1", f"--run.output={output}"]
    assert train_generative.main(arguments) == 0
    stage = load_generator(output / "best.pt")
    assert stage.spectra.flux == flux
    assert stage.spectra.mean.ndim == (1 if standardise == "pixel" else 0)
    true = torch.from_numpy(survey.read("spectra", survey.indices("train")[:4]))
    known = torch.full((4, 2 + stage.network.prior.residuals.shape[1]), 0.0)
    known[:, 0] = torch.from_numpy(survey.catalogue["z"][survey.indices("train")[:4]])
    known[:, 1] = 20.0
    expected = stage.spectra.decode(stage.network.prior(known).mean)
    assert torch.isfinite(expected).all()
    assert (expected - true).abs().mean() < true.abs().mean()
