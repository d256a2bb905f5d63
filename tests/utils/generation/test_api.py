"""Generation from Python."""

from __future__ import annotations

import numpy as np
import pytest
from specutils import Spectrum

from datasets.cutouts.export import export
from datasets.errors import UserError
from datasets.survey import Survey
from utils.generation import load
from utils.generation.fits_output import write_spectrum

UNIT = "1e-17 erg / (s cm2 Angstrom)"


@pytest.fixture(scope="module")
def generator(tiny_generator):
    return load(str(tiny_generator), device="cpu")


@pytest.fixture(scope="module")
def images(tiny_survey):
    survey = Survey(tiny_survey)
    return survey.read("images", survey.indices("test")[:3])


def test_three_lines_from_an_array_to_specutils(generator, images, tmp_path):
    spectra = generator(images)
    spectrum = spectra[1].to_specutils()
    assert isinstance(spectrum, Spectrum) and len(spectra) == 3
    np.testing.assert_array_equal(spectrum.spectral_axis.value, generator.wavelength_angstrom)
    write_spectrum(tmp_path / "file.fits", spectra[1])  # the same as what the file says
    from_file = Spectrum.read(tmp_path / "file.fits")
    for ours, theirs in (
        (spectrum.flux, from_file.flux),
        (spectrum.uncertainty.quantity, from_file.uncertainty.quantity),
    ):
        np.testing.assert_allclose(ours.to_value(UNIT), theirs.to_value(UNIT), rtol=1e-5)
    second = spectra[1].to_specutils(candidate=1)
    assert second.uncertainty is None and not np.allclose(second.flux / spectrum.flux, 1)


def test_a_name_and_a_seed_give_a_spectrum(generator, images):
    first = generator(images[0], names=["a"])[0]
    assert first.name == "a"
    again, other = generator(images[0], names=["a"])[0], generator(images[0], names=["b"])[0]
    np.testing.assert_array_equal(first.candidates, again.candidates)
    assert not np.allclose(first.candidates, other.candidates)
    assert not np.allclose(generator(images[0], names=["a"], seed=2)[0].mean, first.mean)


def test_conditions_are_given(generator, images):
    spectra = generator(images, redshift=np.array([0.06, 0.1, np.nan]), candidates=2, keep=1)
    assert spectra[0].redshifts == pytest.approx([0.06])
    assert spectra[1].redshift == 0.1 and spectra[2].assumptions  # sampled, and said so
    assert len(generator(images[0], redshift=0.07, snr=np.inf)[0].candidates) == 3


def test_candidates_are_ranked_as_asked_for(generator, images):
    similar, coloured = (generator(images, rank=rank) for rank in ("contrastive", "photometric"))
    assert all(np.all(np.diff(galaxy.scores) <= 0) for galaxy in similar)
    assert not all(np.all(np.diff(galaxy.scores) <= 0) for galaxy in coloured)
    for one, other in zip(similar, coloured, strict=True):
        assert set(one.numbers) == set(other.numbers)


def test_masked_pixels_are_not_taken_for_flux(generator, images):
    masked = np.ma.MaskedArray(images.copy(), np.zeros(images.shape, bool))
    masked[0, 2, 3, 3], masked.mask[0, 2, 3, 3] = 1e6, True
    with pytest.raises(UserError, match="cutout 0: 1 pixels are not finite"):
        generator(masked, candidates=2)


def test_a_galaxy_of_an_array_that_cannot_be_used_is_named(generator, images):
    with pytest.warns(UserWarning, match="1: redshift 9 in the cutout"):
        spectra = generator(images, redshift=np.array([0.1, 9, 0.1]), candidates=2)
    assert [spectrum.name for spectrum in spectra] == ["0", "2"]


def test_files_are_read_as_by_the_script(generator, tiny_survey, tmp_path):
    export(Survey(tiny_survey), tmp_path / "cutouts", "test", 2)
    (tmp_path / "cutouts" / "broken.fits").write_text("no FITS file")
    with pytest.warns(UserWarning, match=r"broken\.fits"):
        spectra = generator(tmp_path / "cutouts")
    assert len(spectra) == 2 and all(np.isfinite(spectrum.best).all() for spectrum in spectra)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"colour": 1}, "colour: no such option"),
        ({"names": ["a"]}, "1 names for 3 cutouts"),
        ({"names": ["a", "a", "b"]}, "have the same"),
        ({"redshift": np.zeros(2)}, "2 redshifts for 3 cutouts"),
        ({"redshift": 9.0}, "trained for"),
        ({"bands": ["g", "r"]}, "cutout 0"),
        ({"snr": 0}, "invalid snr value"),
        ({"keep": -1}, "at least 1"),
        ({"guidance": 3}, "image_dropout"),
        ({"sampler": "ancestral", "steps": 3}, "all of the schedule"),
        ({"precision": "bfloat16"}, "no such option"),
    ],
)
def test_mistakes_are_named(generator, images, options, complaint):
    with pytest.raises(UserError, match=complaint):
        generator(images, **options)


def test_the_shipped_weights_are_the_default():
    assert load(device="cpu").bands == ("u", "g", "r", "i", "z")
