"""The figure of observed pairs, on two pairs with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from datasets.errors import UserError
from datasets.mock.build import make_mock
from datasets.sdss.spec_files import spec_object_identifier
from datasets.spectra import METHOD_GRID
from datasets.survey import Survey
from figures import pair_panels, pairs
from tests.spec_files import write_spec_file
from utils.generation.fits_output import GeneratedSpectrum, Provenance, write_spectrum

LOGLAM = 3.58 + 1e-4 * np.arange(3600)
PROVENANCE = Provenance(1, 4, "dpm, 4 steps", ("best.pt 0",), "0", "median", 2.0)


def slope(wavelength: np.ndarray) -> np.ndarray:
    """Spectrum of the "galaxies": a straight line, 1 at the median of 5500–7000 Å."""
    return 1 + 0.2 * (wavelength - 6250) / 2250


@pytest.fixture(scope="module")
def survey(tmp_path_factory) -> Survey:
    path = tmp_path_factory.mktemp("survey") / "pictures.h5"
    return Survey(make_mock(path, 32, seed=1, workers=1, progress=False, colour=True))


@pytest.fixture
def folder(tmp_path):
    """Two pairs: the generated spectra are those observed, and the same plus 0.1."""
    (tmp_path / "out" / "spectra").mkdir(parents=True)
    lines = ["image,spectrum,z"]
    for number, offset in enumerate((0.0, 0.1)):
        colours = np.full((96, 96, 3), 40 * (number + 1), np.uint8)
        colours[:, 48:] = 204
        Image.fromarray(colours).save(tmp_path / f"{number}.png")
        identifier = spec_object_identifier(266, 51630, 100 + number, "26")
        name = f"spec-{number}.fits"
        write_spec_file(tmp_path / name, identifier, LOGLAM, 7.5 * slope(10**LOGLAM))
        lines.append(f"{number}.png,{name},0.{number + 5}")
        flux = (slope(METHOD_GRID.angstrom) + offset).astype(np.float32)
        write_spectrum(
            tmp_path / "out" / "spectra" / f"{number}.fits",
            GeneratedSpectrum(
                str(number), METHOD_GRID.angstrom, flux[None], np.zeros(1, int), np.ones(1), flux,
                np.full_like(flux, 0.05), PROVENANCE,
            ),
        )  # fmt: skip
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_panels_hold_picture_truth_and_redshift(folder, survey):
    first, second = pair_panels.panels_of(folder / "out", folder / "pairs.csv", survey)
    assert (first.redshift, second.redshift) == (0.5, 0.6)
    assert first.image.shape == (3, 64, 64)
    np.testing.assert_allclose(second.image[:, :, :32], 80 / 255, atol=1e-6)
    np.testing.assert_allclose(second.image[:, :, 32:], 0.8, atol=1e-6)
    np.testing.assert_allclose(first.truth, slope(METHOD_GRID.angstrom), atol=2e-3)


def test_command_draws_and_reports(folder, survey, capsys):
    picture = folder / "pairs.png"
    arguments = [str(folder / "out"), "--table", str(folder / "pairs.csv")]
    arguments += ["--survey", str(survey.path), "--output", str(picture)]
    assert pairs.main(arguments) == 0
    with Image.open(picture) as page:
        grey = np.asarray(page.convert("L"))
    assert 0.01 < np.mean(grey < 200) < 0.9  # ink, but not everywhere
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["0.500", "0.600", "all"]
    np.testing.assert_allclose([float(row[1]) for row in rows], [0, 0.01, 0.005], atol=2e-4)


def test_figure_has_an_axis_pair_per_galaxy_and_marks_lines(folder, survey):
    panels = pair_panels.panels_of(folder / "out", folder / "pairs.csv", survey)
    figure = pair_panels.draw(panels[:1])
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == 2
    assert any("Hβ" in text.get_text() for text in shown[1].texts)


def test_a_table_without_a_column_is_refused(folder, survey):
    table = folder / "pairs.csv"
    table.write_text(table.read_text().replace("spectrum", "file"))
    with pytest.raises(UserError, match="spectrum"):
        pair_panels.panels_of(folder / "out", table, survey)


def test_missing_spectra_are_named(folder, survey, capsys):
    (folder / "out" / "spectra" / "1.fits").unlink()
    arguments = [str(folder / "out"), "--table", str(folder / "pairs.csv")]
    arguments += ["--survey", str(survey.path), "--output", str(folder / "pairs.png")]
    assert pairs.main(arguments) == 2
    assert "1.fits" in capsys.readouterr().err
