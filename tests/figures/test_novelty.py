"""Impostors differ from the galaxies in what their name says; the area is that of definition."""

from __future__ import annotations

import numpy as np
import pytest

from figures.novelty import PANELS, area_under_curve, draw, draw_examples, impostors

GALAXIES = 32


@pytest.fixture(scope="module")
def galaxies():
    y, x = np.mgrid[:64, :64] - 31.5
    blob = np.exp(-0.5 * (x**2 + y**2) / 25)
    colours = np.array([0.2, 0.5, 1.0, 1.4, 1.7])[:, None, None]
    brightness = np.linspace(1, 2, GALAXIES)[:, None, None, None]
    return (brightness * colours * blob).astype(np.float32)


@pytest.fixture(scope="module")
def made(galaxies):
    return dict(impostors(galaxies))


def test_area_is_the_share_of_pairs_in_order():
    galaxies, others = np.array([0.2, 0.5, 0.5, 1.0]), np.array([0.1, 0.5, 0.7])
    pairs = [(0.5 if b == a else float(b < a)) for a in galaxies for b in others]
    assert area_under_curve(galaxies, others) == pytest.approx(np.mean(pairs))
    assert area_under_curve(galaxies, galaxies) == pytest.approx(0.5)
    assert area_under_curve(galaxies, galaxies - 1) == 1.0


def test_impostors_are_as_many_images_of_the_same_shape(galaxies, made):
    assert all(images.shape == galaxies.shape for images in made.values())
    assert all(np.isfinite(images).all() for images in made.values())


def test_scales_keep_or_lose_flux_as_they_should(galaxies, made):
    total = galaxies.sum((2, 3))
    np.testing.assert_allclose(made["flux in µJy (× 3.6)"].sum((2, 3)), 3.631 * total, rtol=1e-5)
    magnified = made["pixels half as large"].sum((2, 3))
    np.testing.assert_allclose(magnified, galaxies[:, :, 16:48, 16:48].sum((2, 3)), rtol=1e-5)
    half = np.s_[:, :, 16:48, 16:48]
    np.testing.assert_allclose(made["pixels twice as large"][half].sum((2, 3)), total, rtol=1e-5)


def test_bands_are_exchanged_and_the_centre_is_moved(galaxies, made):
    np.testing.assert_array_equal(made["g and r exchanged"][:, 1], galaxies[:, 2])
    np.testing.assert_array_equal(made["bands in reverse order"][:, 0], galaxies[:, 4])
    moved = made["off-centre by 6 arcsec"][0, 2]
    assert np.unravel_index(moved.argmax(), moved.shape) in [(43, 40), (43, 41), (44, 40), (44, 41)]


def test_stars_are_point_sources_above_the_sky(made):
    star, sky = made["stars"][:, 2], made["blank sky"][:, 2]
    core = star[:, 28:36, 28:36].sum((1, 2))
    assert (core > 50 * sky.std()).all()
    assert np.median(core / star.sum((1, 2))) > 0.9


def test_impostors_are_drawn_beside_their_spectra(made):
    chosen = {name: made[name][0] for name in ("stars", "blank sky", "bright column")}
    figure = draw_examples(chosen, "mock-ugriz")
    titles = [axes.get_title("left") for axes in figure.axes]
    assert sum(title.startswith(tuple(chosen)) for title in titles) == 3
    assert any("p < 0.001, flagged" in title for title in titles)


def test_the_picture_has_a_curve_for_each():
    p = np.linspace(0.01, 1, 100)
    others = {name: p / 10 for names in PANELS.values() for name in names}
    figure = draw(p, others | {"stars": p}, 0.05)
    for axes, names in zip(figure.axes, PANELS.values(), strict=True):
        *curves, _, limit = axes.lines
        assert len(curves) == len(names) and limit.get_xdata() == [0.05, 0.05]
    shares = [line.get_ydata() for line in figure.axes[0].lines[:3]]
    np.testing.assert_array_equal(shares[0], figure.axes[0].lines[-2].get_ydata())  # like galaxies
    assert np.all(shares[1] >= shares[0]) and shares[1][10] == 1
