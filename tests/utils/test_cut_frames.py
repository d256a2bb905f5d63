"""Cutting frames: known positions, the bands aligned, and real frames against a published cut."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from datasets.constants import SDSS_BANDS
from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.reader import CutoutReader
from datasets.errors import UserError
from datasets.sdss.frames import (
    Frame,
    Position,
    cut_out,
    group_fields,
    read_positions,
)
from tests.support import REAL_DATA
from utils.cut_frames import main
from utils.generation.catalogue_output import write_catalogue

DATA = REAL_DATA
real_data = pytest.mark.skipif(not DATA.is_dir(), reason="real survey data not at hand")


def frame_header(column: float, row: float) -> fits.Header:
    """World coordinates with RA 150°, Dec 20° at the given 0-based pixel, turned by 10°."""
    degrees, angle = 0.396 / 3600, np.deg2rad(10)
    header = fits.Header()
    header.update(
        CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.0, CRVAL2=20.0,
        CRPIX1=column + 1, CRPIX2=row + 1,
        CD1_1=-degrees * np.cos(angle), CD1_2=degrees * np.sin(angle),
        CD2_1=degrees * np.sin(angle), CD2_2=degrees * np.cos(angle), BUNIT="nanomaggy",
    )  # fmt: skip
    return header


def star(column: float, row: float, flux: float) -> np.ndarray:
    y, x = np.mgrid[:200, :240]
    width = 2.0
    profile = np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * width**2))
    return (flux * profile / (2 * np.pi * width**2)).astype(np.float32)


CENTRES = {"u": (111.3, 92.8), "g": (118.0, 97.4), "r": (120.2, 99.7), "i": (123.9, 104.1),
           "z": (126.5, 101.0)}  # fmt: skip


def mock_frames() -> dict[str, Frame]:
    return {
        band: Frame(star(*CENTRES[band], flux=k + 1), WCS(frame_header(*CENTRES[band])))
        for k, band in enumerate(SDSS_BANDS)
    }


def test_a_star_lies_in_the_centre_of_every_band_with_its_flux():
    (image,) = cut_out(mock_frames(), [150.0], [20.0])
    np.testing.assert_allclose(image.sum((1, 2)), [1, 2, 3, 4, 5], rtol=1e-4)
    y, x = np.mgrid[:64, :64] - 31.5
    for plane in image:
        centre = (plane * x).sum() / plane.sum(), (plane * y).sum() / plane.sum()
        np.testing.assert_allclose(centre, 0, atol=1e-3)


def test_positions_near_the_edge_of_a_band_give_no_cutout():
    outside, inside = cut_out(mock_frames(), [150.0, 150.0], [20.0078, 20.0])
    assert outside is None and inside is not None


def write_frames(folder: Path) -> list[Path]:
    paths = []
    for band, frame in mock_frames().items():
        path = folder / f"frame-{band}-000001-2-0003.fits.bz2"
        fits.writeto(path, frame.pixels, frame_header(*CENTRES[band]))
        paths.append(path)
    return paths


def test_the_command_writes_cutouts_that_are_read_back(tmp_path, capsys):
    paths = write_frames(tmp_path)
    table = tmp_path / "positions.csv"
    table.write_text("RA,Dec,name,objid\n150,20,star,1237648721217716541\n151,20,far,2\n")
    arguments = [*map(str, paths), "--positions", str(table), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "far: not inside any field" in capsys.readouterr().err
    (cutout,) = CutoutReader(tmp_path / "out", CutoutFormat(SDSS_BANDS, 0.396))
    assert (cutout.name, cutout.identifier, cutout.assumptions) == ("star", 1237648721217716541, ())
    np.testing.assert_array_equal(cutout.image, cut_out(mock_frames(), [150.0], [20.0])[0])


def test_the_header_of_a_cutout_has_the_orientation_of_its_pixels(tmp_path):
    paths = write_frames(tmp_path)
    east = 150.0 + 20 * 0.396 / 3600 / np.cos(np.deg2rad(20))
    (tmp_path / "p.csv").write_text("ra,dec,name\n150,20,star\n" + f"{east},20,west\n")
    table, output = str(tmp_path / "p.csv"), tmp_path / "out"
    assert main([*map(str, paths), "--positions", table, "--output", str(output)]) == 0
    for name, offset in (("star", 0.0), ("west", 20.0)):
        header = fits.getheader(output / f"{name}.fits")
        column, row = WCS(header).celestial.all_world2pix(150.0, 20.0, 0)
        image = fits.getdata(output / f"{name}.fits")[2]
        y, x = np.mgrid[:64, :64]
        centre = (image * x).sum() / image.sum(), (image * y).sum() / image.sum()
        np.testing.assert_allclose(centre, (column, row), atol=0.02)
        assert np.hypot(column - 31.5, row - 31.5) == pytest.approx(offset, abs=0.01)


def test_positions_may_be_the_catalogue_of_generated_spectra(tmp_path):
    columns = {"name": ["star#0"], "identifier": [1237648721217716541], "ra": [150.0]}
    write_catalogue(tmp_path / "catalogue.fits", columns | {"dec": [20.0], "redshift": [np.nan]})
    (position,), refused = read_positions(tmp_path / "catalogue.fits")
    assert refused == []
    assert position == Position("star#0", 150.0, 20.0, 1237648721217716541, None)


def test_incomplete_fields_and_tables_are_refused_by_name(tmp_path, capsys):
    paths = write_frames(tmp_path)
    with pytest.raises(UserError, match="lacks band u"):
        group_fields(paths[1:])
    with pytest.raises(UserError, match="not named"):
        group_fields([Path("drC-000001-2-0003.fits")])
    (tmp_path / "p.csv").write_text("x,y\n1,2\n")
    arguments = ["--positions", str(tmp_path / "p.csv"), "--output", str(tmp_path)]
    assert main([*map(str, paths), *arguments]) == 2
    assert "p.csv needs a column ra in degrees; it has x, y" in capsys.readouterr().err


@real_data
@pytest.mark.slow
def test_real_frames_give_the_published_cutouts():
    (paths,) = group_fields((DATA / "frames").glob("*.bz2"))
    frames = {band: Frame.read(path) for band, path in paths.items()}
    with np.load(DATA / "cutouts_field_5112.npz", allow_pickle=False) as file:
        cube, ra, dec = (file[name][:8] for name in ("cube", "ra", "dec"))
    cutouts = np.stack(cut_out(frames, ra, dec))
    noise = 1.4826 * np.median(np.abs(cube), axis=(0, 1, 2))
    difference = np.abs(cutouts - cube.transpose(0, 3, 1, 2)).max((0, 2, 3))
    assert (difference < 0.1 * noise).all(), difference / noise
