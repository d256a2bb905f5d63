"""The paper's cascade: a low-resolution generator, then a super-resolution one."""

import numpy as np
import pytest

import generate
import train_contrastive
import train_generative
from datasets.cutouts.export import export
from datasets.errors import UserError
from datasets.survey import Survey
from tests.support import tiny
from utils.core.checkpoints import load_generator
from utils.core.device import pick_device
from utils.generation.fits_output import read_spectrum
from utils.generation.pipeline import Pipeline


@pytest.fixture(scope="module")
def stages(tiny_survey, tmp_path_factory):
    """Checkpoints of both stages of the cascade."""
    folder, checkpoints = tmp_path_factory.mktemp("cascade"), {}
    for resolution in ("low", "super"):
        towers, network = folder / f"towers_{resolution}", folder / resolution
        data = [f"--data.survey={tiny_survey}", f"--data.representation={resolution}"]
        shown = ["--run.preview_every_epochs=1", "--run.tensorboard=true"]
        common = [*data, *shown, "--optimiser.epochs=1"]
        first = [tiny("contrastive"), *common, f"--run.output={towers}"]
        second = [tiny("generative"), *common, f"--run.output={network}"]
        assert train_contrastive.main(first) == 0
        given = f"--diffusion.contrastive={towers / 'best.pt'}"
        assert train_generative.main([*second, given]) == 0
        for run in (towers, network):
            assert (run / "preview_0001.png").stat().st_size > 10_000
            assert list((run / "tensorboard").iterdir()) and (run / "log.txt").read_text()
        checkpoints[resolution] = network / "best.pt"
    return checkpoints


def test_cascade_generates_at_full_resolution(stages, tiny_survey, tmp_path):
    export(Survey(tiny_survey), tmp_path / "cutouts", "test", 2)
    both = [str(stages["low"]), str(stages["super"])]
    arguments = [str(tmp_path / "cutouts"), "--checkpoint", *both, "--output"]
    more = ["--candidates", "4", "--device", "cpu", "--no-pictures"]
    assert generate.main([*arguments, str(tmp_path / "out"), *more]) == 0
    paths = sorted((tmp_path / "out" / "spectra").iterdir())
    assert len(paths) == 2
    for path in paths:
        spectrum = read_spectrum(path)
        assert (
            len(spectrum.wavelength_angstrom) == 4500 and len(spectrum.provenance.checkpoints) == 2
        )
        # two low-resolution candidates guide two each, which share their redshifts
        assert len(set(spectrum.redshifts)) == 2


def test_low_resolution_alone_is_every_eighth_pixel(stages):
    pipeline = Pipeline([load_generator(stages["low"])], pick_device("cpu"))
    np.testing.assert_array_equal(pipeline.wavelength_angstrom, 4000.0 + 8 * np.arange(563))


def test_stages_in_the_wrong_order_are_refused(stages):
    low, fine = (load_generator(stages[name]) for name in ("low", "super"))
    with pytest.raises(UserError, match="super \\+ low"):
        Pipeline([fine, low], pick_device("cpu"))
    with pytest.raises(UserError, match="give one of"):
        Pipeline([fine], pick_device("cpu"))


def test_towers_of_another_resolution_are_refused(tiny_survey, tiny_towers, tmp_path, capsys):
    arguments = [tiny("generative"), f"--data.survey={tiny_survey}", "--data.representation=low"]
    towers = f"--diffusion.contrastive={tiny_towers}"
    assert train_generative.main([*arguments, towers, f"--run.output={tmp_path / 'r'}"]) == 1
    assert "data.representation is low" in capsys.readouterr().err
