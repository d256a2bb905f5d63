"""What networks see: inverses, phases, moments, state."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.spectra import WavelengthGrid
from datasets.spectrum_transform import (
    FLUX_TRANSFORMS,
    LOG_FLOOR,
    SpectrumTransform,
    from_phases,
    to_phases,
)

SHAPES = {"low": (1, 563), "super": (1, 4500), "polyphase": (8, 563), "native": (1, 4500)}


def spectra(count=32, pixels=4500, seed=0):
    rng = np.random.default_rng(seed)
    level = 1 + 0.3 * np.sin(np.arange(pixels) / 200)
    return (level * np.exp(rng.normal(0, 0.2, (count, pixels)))).astype(np.float32)


@pytest.mark.parametrize("name", FLUX_TRANSFORMS)
@given(values=st.lists(st.floats(LOG_FLOOR, 300), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_inverse_undoes_forward(name, values):
    forward, inverse = FLUX_TRANSFORMS[name]
    flux = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(inverse(forward(flux)), flux, rtol=1e-9, atol=1e-9)


def test_transforms_of_noise_about_zero():
    """The floored logarithm stays finite, the published one does not."""
    flux = torch.tensor([-1.0, 0.0, 0.01], dtype=torch.float64)
    log = FLUX_TRANSFORMS["log"]
    torch.testing.assert_close(log[1](log[0](flux)), torch.full_like(flux, LOG_FLOOR))
    assert not torch.isfinite(FLUX_TRANSFORMS["log_positive"][0](flux)).all()


@given(count=st.integers(1, 100), phases=st.integers(1, 9), seed=st.integers(0, 9))
def test_phases_there_and_back_exactly(count, phases, seed):
    x = torch.randn(2, 3, count, generator=torch.Generator().manual_seed(seed))
    split = to_phases(x, phases)
    assert split.shape == (2, 3, phases, -(-count // phases))
    assert torch.equal(from_phases(split, count), x)


def test_phase_k_holds_every_eighth_pixel_from_k():
    split = to_phases(torch.arange(20.0))
    assert split[3].tolist() == [3, 11, 19]
    assert split[5].tolist() == [5, 13, 19]  # filled up with the last pixel


@pytest.mark.parametrize("representation", SHAPES)
@pytest.mark.parametrize("standardise", ["global", "pixel", "none"])
def test_decode_undoes_encode(representation, standardise):
    flux = spectra()
    transform = SpectrumTransform.fit([flux], representation, "log", standardise)
    x = transform.encode(torch.from_numpy(flux))
    assert x.shape == (32, *SHAPES[representation]) == (32, transform.channels, transform.length)
    expected = flux[:, ::8] if representation == "low" else flux
    assert transform.output_grid.count == expected.shape[1]
    np.testing.assert_allclose(transform.decode(x), expected, rtol=2e-6)


def test_low_resolution_is_aligned():
    """Pixel k of what `low` decodes lies at the wavelength of pixel 8k."""
    wavelength = WavelengthGrid().angstrom
    low = SpectrumTransform("low", "none")
    decoded = low.decode(low.encode(torch.from_numpy(wavelength)))
    np.testing.assert_array_equal(decoded, low.output_grid.angstrom)


@pytest.mark.parametrize("standardise", ["global", "pixel"])
def test_moments_equal_numpy_in_float64_however_the_spectra_arrive(standardise):
    flux = spectra(101) + 1e3  # a large mean: float32 sums would lose the spread
    chunks = SpectrumTransform.fit(np.array_split(flux, 7), "super", "none", standardise)
    whole = SpectrumTransform.fit([flux], "super", "none", standardise)
    axis = 0 if standardise == "pixel" else None
    reference = flux.astype(np.float64)
    for transform in (chunks, whole):
        np.testing.assert_allclose(transform.mean, reference.mean(axis), rtol=1e-6)
        np.testing.assert_allclose(transform.sigma, reference.std(axis), rtol=1e-6)


@pytest.mark.parametrize("representation", SHAPES)
def test_training_spectra_become_standard(representation):
    flux = spectra(200)
    x = SpectrumTransform.fit([flux], representation, standardise="pixel").encode(
        torch.from_numpy(flux)
    )
    assert abs(x.mean()) < 1e-3 and abs(x.std() - 1) < 1e-2


@pytest.mark.parametrize("representation", SHAPES)
def test_state_is_read_back_without_pickle(representation):
    flux = spectra()
    transform = SpectrumTransform.fit([flux], representation, "log", "pixel")
    file = io.BytesIO()
    torch.save(transform.to_dict(), file)
    file.seek(0)
    restored = SpectrumTransform.from_dict(torch.load(file, weights_only=True))
    x = torch.from_numpy(flux)
    assert torch.equal(restored.encode(x), transform.to("cpu").encode(x))
    assert restored.output_grid == transform.output_grid


def test_what_cannot_work_is_refused():
    with pytest.raises(ValueError, match="representation"):
        SpectrumTransform("medium")
    with pytest.raises(ValueError, match="flux transform"):
        SpectrumTransform("low", "sqrt")
    with pytest.raises(ValueError, match="use 'log'"):
        SpectrumTransform.fit([-spectra()], "low", "log_positive")
    with pytest.raises(ValueError, match="sigma"):
        SpectrumTransform.fit([spectra(1)], "low", standardise="pixel")
    with pytest.raises(ValueError, match="3598 pixels"):
        SpectrumTransform("low").encode(torch.ones(2, 3598))
    with pytest.raises(ValueError, match="no spectra"):
        SpectrumTransform.fit([], "low")
