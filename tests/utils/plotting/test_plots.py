"""Figures show their input, in any number, without touching global state."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from tests.support import ROOT
from utils.plotting.plots import (
    Cell,
    contact_sheets,
    plot_cells,
    plot_generated,
    plot_preview,
    plot_retrieval,
    save_figure,
)
from utils.plotting.spectrum_panel import MARKS, WAVELENGTH_LABEL, Panel, flux_limits
from utils.plotting.style import COLOURS

BANDS = ("u", "g", "r", "i", "z")
GRID = np.arange(4000.0, 8500.0, 8.0)


def panel(**changes) -> Panel:
    generator = np.random.default_rng(0)
    candidates = 1 + 0.1 * generator.standard_normal((4, len(GRID)))
    settings = {
        "title": "galaxy",
        "image": generator.random((5, 64, 64)),
        "bands": BANDS,
        "wavelength_angstrom": GRID,
        "candidates": candidates,
        "mean": candidates.mean(0),
        "sigma": candidates.std(0),
    }
    return Panel(**settings | changes)


def curves(axes, colour: str) -> list:
    return [line for line in axes.lines if line.get_color() == COLOURS[colour]]


def legend_labels(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_generated_shows_best_truth_and_spread_in_physical_units():
    shown = panel(truth=np.linspace(0.5, 1.5, len(GRID)), scale=3.0, redshift=0.1)
    figure = plot_generated(shown)
    cutout, spectrum = figure.axes
    (best,), (truth, *_) = curves(spectrum, "generated"), curves(spectrum, "truth")
    shift = 0.5 * 1.0  # half of the median of the truth
    np.testing.assert_allclose(best.get_ydata(), 3 * (shown.candidates[0] + shift))
    np.testing.assert_allclose(truth.get_ydata(), 3 * shown.truth)
    assert "erg s" in spectrum.get_ylabel() and "vacuum" in spectrum.get_xlabel()
    labels = ["true", "generated, shifted up", "68 % of candidates", "other candidates"]
    assert legend_labels(figure) == labels
    alone = plot_generated(panel())
    assert legend_labels(alone) == ["generated", *labels[2:]]
    (best,) = curves(alone.axes[1], "generated")
    np.testing.assert_allclose(best.get_ydata(), panel().candidates[0])
    assert "z = 0.1000" in cutout.get_title(loc="left")


def test_lines_are_marked_at_their_observed_wavelengths_if_the_redshift_is_known():
    spectrum = plot_generated(panel(redshift=0.1)).axes[1]
    names = {text.get_text(): text.xy[0] for text in spectrum.texts}
    assert names["Hα + [N II]"] == pytest.approx(1.1 * 6564.61)
    assert names["Mg b"] == pytest.approx(1.1 * MARKS["Mg b"])
    assert len(names) == len(spectrum.lines) - len(panel().candidates)
    assert not plot_generated(panel()).axes[1].texts
    assert not plot_generated(panel(redshift=np.nan)).axes[1].texts


def test_lines_outside_the_wavelengths_are_not_marked():
    names = {text.get_text() for text in plot_generated(panel(redshift=0.4)).axes[1].texts}
    assert "Hβ" in names and "Hα + [N II]" not in names


def test_contact_sheets_hold_every_galaxy_once():
    pages = list(contact_sheets([panel(title=str(k)) for k in range(11)], rows=2))
    assert len(pages) == 3
    titles = [axes.get_title(loc="left") for page in pages for axes in page.axes]
    assert sorted(filter(None, titles), key=int) == [str(k) for k in range(11)]


@pytest.mark.parametrize("count", [1, 3])
def test_preview_takes_candidates_as_drawn(count):
    generator = np.random.default_rng(1)
    images, truth = generator.random((count, 5, 64, 64)), generator.random((count, len(GRID)))
    figure = plot_preview(images, BANDS, GRID, generator.random((count, 2, len(GRID))), truth)
    drawn = [line.get_ydata() for axes in figure.axes for line in curves(axes, "truth")]
    np.testing.assert_array_equal(drawn, truth)


def test_retrieval_frames_the_own_image():
    images = np.random.default_rng(0).random((9, 5, 64, 64))
    matches, own = np.array([[4, 1, 2], [5, 6, 7]]), np.array([1, 8])
    figure = plot_retrieval(GRID, np.ones((2, len(GRID))), images, matches, own, BANDS)
    grid = np.reshape(figure.axes, (2, 5))
    framed = [[axes.spines["top"].get_linewidth() == 2 for axes in row] for row in grid]
    assert framed == [[False, True, False, True, False], [False, True, False, False, False]]


def test_spectra_that_are_found_have_labelled_axes_and_images_have_not():
    image = Cell("image", image=np.ones((5, 64, 64)), bands=BANDS)
    spectrum = Cell("spectrum", GRID, np.ones(len(GRID)))
    figure = plot_cells([[image, spectrum, spectrum], [spectrum, image, image]])
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["", "Flux (arb. units)", "", "Flux (arb. units)", "", ""]
    assert figure.get_supxlabel() == WAVELENGTH_LABEL
    assert plot_cells([[image, image]]).get_supxlabel() == ""


def test_limits_show_lines_but_not_at_any_price():
    flux = np.ones(1000)
    flux[500] = 3.0
    assert flux_limits([flux]) == pytest.approx((0, 3.24))
    flux[500] = 50.0
    assert flux_limits([flux])[1] == pytest.approx(4.32)
    assert flux_limits([np.full(5, np.nan)]) == (0, 1)


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_saved_figures_are_reproducible_and_leave_no_state(suffix, tmp_path):
    before = dict(matplotlib.rcParams)
    for name in "ab":
        save_figure(plot_generated(panel(pixel_scale_arcsec=0.396)), tmp_path / f"{name}.{suffix}")
    first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    assert first == second
    assert len(list(tmp_path.iterdir())) == 2
    assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_imported_with_the_first_figure_and_pyplot_never():
    program = "import sys, utils.plotting.plots as p; print('matplotlib' in sys.modules); "
    program += (
        "p.new_figure(1.0); print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    printed = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
    assert printed.split() == ["False", "True", "False"]
