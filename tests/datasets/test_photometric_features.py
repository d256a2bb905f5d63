"""What is measured in images for the generator."""

import math

import pytest
import torch

from datasets.photometry import aperture_features, photometric_features, photometry_count

SCALE = 0.396  # arcsec per pixel
BANDS = 5


def galaxy(axes_arcsec: tuple[float, float], flux: float = 1e4, angle: float = 0.0) -> torch.Tensor:
    """A Gaussian galaxy (1, BANDS, 64, 64), every band twice as bright as the one before."""
    axis = (torch.arange(64.0) - 31.5) * SCALE
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    along, across = (
        x * math.cos(angle) + y * math.sin(angle),
        y * math.cos(angle) - x * math.sin(angle),
    )
    profile = torch.exp(-0.5 * ((along / axes_arcsec[0]) ** 2 + (across / axes_arcsec[1]) ** 2))
    return (flux * profile / profile.sum() * 2.0 ** torch.arange(BANDS).view(-1, 1, 1))[None]


def test_the_first_are_the_aperture_features():
    images = torch.cat([galaxy((2.0, 1.0)), galaxy((1.0, 1.0), 50.0)])
    features = photometric_features(images, SCALE)
    assert features.shape == (2, photometry_count(BANDS))
    first = aperture_features(images, SCALE)
    assert first.shape == (2, 2 * BANDS)
    assert torch.equal(features[:, : first.shape[1]], first)


def test_colours_of_a_bright_galaxy_are_those_of_its_light_everywhere():
    features = photometric_features(galaxy((2.0, 1.0), 1e6), SCALE)[0, 2 * BANDS : -2]
    colours = features.view(-1, BANDS)[:, : BANDS - 1]  # in apertures, and of the profile
    assert len(colours) == 5
    torch.testing.assert_close(
        colours, torch.full_like(colours, 2.5 * math.log10(2)), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("angle", [0.0, 0.5, 2.0])
def test_ellipticity_and_size_are_those_of_the_windowed_profile(angle):
    a, b, window, box = 3.0, 1.5, 3.0, 2 / 3 * SCALE**2  # variance of three pixels
    ellipticity, log_size = photometric_features(galaxy((a, b), angle=angle), SCALE)[0, -2:]
    xx, yy = (1 / (1 / (s**2 + box) + 1 / window**2) for s in (a, b))
    assert ellipticity.item() == pytest.approx((xx - yy) / (xx + yy), abs=2e-3)
    assert log_size.item() == pytest.approx(math.log(xx + yy), abs=2e-3)


def test_features_keep_their_precision_where_the_tower_computes_in_bfloat16():
    images = galaxy((2.0, 1.0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = photometric_features(images, SCALE)
    assert torch.equal(mixed, photometric_features(images, SCALE))


@pytest.mark.parametrize("level", [0.0, -1.0])
def test_an_image_without_light_has_finite_features(level):
    assert photometric_features(torch.full((1, 3, 64, 64), level), SCALE).isfinite().all()
