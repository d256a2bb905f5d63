"""Colour composites: one colour at every brightness, bands by name."""

import numpy as np

from datasets.colour_composite import to_rgb


def galaxy(brightness: float) -> np.ndarray:
    """A ugriz image of one colour everywhere: a Gaussian on an empty, noiseless sky."""
    y, x = np.mgrid[:64, :64] - 31.5
    profile = brightness * np.exp(-(x**2 + y**2) / 50)
    return np.array([0.2, 0.5, 1.0, 1.4, 1.7])[:, None, None] * profile


def test_composite_has_one_colour_at_every_brightness():
    rgb = to_rgb(galaxy(5.0), "ugriz")
    assert rgb.shape == (64, 64, 3)
    assert rgb.min() >= 0 and 0.9 < rgb.max() <= 1
    bright = rgb.max(-1) > 0.05
    ratio = rgb[bright][:, 2] / rgb[bright][:, 0]
    assert bright.sum() > 100
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)


def test_composite_takes_the_bands_by_name():
    image = galaxy(5.0)
    grz = to_rgb(image[[1, 2, 4]], "grz")
    red_only = to_rgb(np.stack([0 * image[0], 0 * image[0], image[4]]), "grz")
    assert red_only[32, 32, 0] > 0.5 > red_only[32, 32, 1:].max()
    assert grz[32, 32].min() > 0.2
    picture = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    np.testing.assert_array_equal(to_rgb(picture, "RGB"), picture.transpose(1, 2, 0))
    grey = to_rgb(image[[0, 2]], "ur")
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def test_composite_of_an_empty_image_is_finite():
    assert np.isfinite(to_rgb(np.zeros((5, 16, 16)), "ugriz")).all()
