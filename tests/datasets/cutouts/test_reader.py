"""Reading cutouts: every layout gives the same image, and nothing wrong gets through."""

import bz2
import csv
import gzip
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from datasets.cutouts.conversion import CutoutFormat, nanomaggies_per
from datasets.cutouts.fits_files import write_cutout
from datasets.cutouts.formats import CutoutError
from datasets.cutouts.reader import Cutout, CutoutReader, Rejected, write_rejects
from datasets.spectra import METHOD_GRID, Preparation
from datasets.survey_writer import SurveyWriter
from tests.support import REAL_DATA

DATA = REAL_DATA
real_data = pytest.mark.skipif(not DATA.is_dir(), reason="real survey data not at hand")

BANDS = ("u", "g", "r", "i", "z")
UGRIZ = CutoutFormat(BANDS, 0.396)
RGB = CutoutFormat(("R", "G", "B"), 0.4)


def image(side: int = 64, seed: int = 0) -> np.ndarray:
    """(5, side, side): one Gaussian galaxy of 5 px width, of another flux in each band."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    profile = np.exp(-(x**2 + y**2) / 50) / (50 * np.pi)
    noise = np.random.default_rng(seed).normal(0, 1e-4, (5, side, side))
    flux = np.array([3.0, 10.0, 20.0, 30.0, 35.0])
    return (flux[:, None, None] * profile + noise).astype(np.float32)


def read(source, target: CutoutFormat = UGRIZ) -> list[Cutout | Rejected]:
    return list(CutoutReader(source, target))


def read_one(source, target: CutoutFormat = UGRIZ) -> Cutout:
    (cutout,) = read(source, target)
    assert isinstance(cutout, Cutout), cutout
    return cutout


def reason(source, target: CutoutFormat = UGRIZ) -> str:
    (rejected,) = read(source, target)
    assert isinstance(rejected, Rejected)
    return rejected.reason


def save_fits(path: Path, data, **header) -> Path:
    hdu = fits.PrimaryHDU(data)
    hdu.header.update({"PIXSCALE": 0.396, "BUNIT": "nanomaggy", **header})
    hdu.writeto(path)
    return path


# Layouts: the same galaxy in every container


def as_cube(folder):
    save_fits(folder / "galaxy.fits", image(), BANDS="ugriz")


def as_cube_bands_last(folder):
    save_fits(folder / "galaxy.fit", image().transpose(1, 2, 0), BANDS="u,g,r,i,z")


def as_cube_with_numbered_bands_in_another_order(folder):
    numbered = {f"BAND{k}": band for k, band in enumerate("zirgu", start=1)}
    save_fits(folder / "galaxy.fits.gz", image()[::-1].copy(), **numbered)


def as_extensions(folder):
    names = ["SDSS-r", "IVAR", "u", "g", "Z", "i"]
    planes = [image()[k] for k in (2, 2, 0, 1, 4, 3)]
    hdus = [fits.ImageHDU(p, name=n) for n, p in zip(names, planes, strict=True)]
    primary = fits.PrimaryHDU()
    primary.header.update(PIXSCALE=0.396, BUNIT="nmgy")
    fits.HDUList([primary, *hdus]).writeto(folder / "galaxy.fits")


def as_compressed_extensions(folder):
    hdus = []
    for band, plane in zip(BANDS, image(), strict=True):
        hdu = fits.CompImageHDU(plane, compression_type="GZIP_1", quantize_level=0)
        hdu.header.update(FILTER=f"{band} filter", PIXSCALE=0.396, BUNIT="nanomaggies")
        hdus.append(hdu)
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(folder / "galaxy.fits.fz")


def as_files_per_band(folder):
    for band, plane in zip(BANDS, image(), strict=True):
        save_fits(folder / f"galaxy-{band}.fits", plane)
    save_fits(folder / "galaxy-y.fits", image()[0])


def as_files_per_band_with_an_axis_of_one(folder):
    for band, plane in zip(BANDS, image(), strict=True):
        save_fits(folder / f"galaxy-{band}.fits", plane[None])


def as_uncompressed_file_named_gz(folder):
    save_fits(folder / "a.fits", image(), BANDS="ugriz").rename(folder / "galaxy.fits.gz")


def as_npz(folder):
    arrays = {"cube": image().transpose(1, 2, 0), "bands": np.array(BANDS), "pixel_scale": 0.396}
    np.savez_compressed(folder / "galaxy.npz", **arrays, unit="nanomaggy")


def as_hdf5(folder):
    with h5py.File(folder / "galaxy.h5", "w") as file:
        file["image"] = image()
        file.attrs.update(bands=list(BANDS), pixel_scale_arcsec=0.396, unit="nanomaggy")


LAYOUTS = [
    as_cube, as_cube_bands_last, as_cube_with_numbered_bands_in_another_order, as_extensions,
    as_compressed_extensions, as_files_per_band, as_files_per_band_with_an_axis_of_one,
    as_uncompressed_file_named_gz, as_npz, as_hdf5,
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_image_without_assumptions(layout, tmp_path):
    layout(tmp_path)
    cutout = read_one(tmp_path)
    assert cutout.name == "galaxy"
    passed_over = ("planes passed over: IVAR",) if layout is as_extensions else ()
    assert cutout.assumptions == passed_over
    assert cutout.image.dtype == np.float32
    np.testing.assert_allclose(cutout.image, image(), rtol=1e-6, atol=1e-7)


def test_npy_needs_assumptions_and_says_so(tmp_path):
    np.save(tmp_path / "galaxy.npy", image())
    cutout = read_one(tmp_path / "galaxy.npy")
    np.testing.assert_array_equal(cutout.image, image())
    assert len(cutout.assumptions) == 3
    stated = CutoutFormat(BANDS, 0.396, 64, BANDS, 0.396, "nanomaggy")
    assert read_one(tmp_path / "galaxy.npy", stated).assumptions == ()


def test_stated_bands_reorder_and_extra_bands_are_dropped(tmp_path):
    np.save(tmp_path / "galaxy.npy", image()[[4, 0, 2, 1, 3]])
    target = CutoutFormat(("g", "r"), 0.396, input_bands=("z", "u", "r", "g", "i"))
    np.testing.assert_array_equal(read_one(tmp_path, target).image, image()[1:3])


# Files of many

IDENTIFIERS = np.array([2**63 + 1, 3, 1237648721217716541], dtype=np.uint64)


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_files_of_many_carry_their_catalogue_exactly(suffix, tmp_path):
    stack = np.stack([image(seed=k) for k in range(3)])
    columns = {"specObjID": IDENTIFIERS, "ra": [1.0, 2, 3], "dec": [-1.0, 0, 1], "z": [0.1, 0.2, 0]}
    path = tmp_path / f"many.{suffix}"
    if suffix == "npz":
        np.savez(path, images=stack, **columns)
    else:
        with h5py.File(path, "w") as file:
            file["images"] = stack
            for name, values in columns.items():
                file[f"catalogue/{name}"] = values
    reader = CutoutReader(path, UGRIZ)
    cutouts = list(reader)
    assert len(reader) == 3
    assert [c.name for c in cutouts] == ["many#0", "many#1", "many#2"]
    assert [c.identifier for c in cutouts] == IDENTIFIERS.tolist()
    assert [c.dec for c in cutouts] == [-1, 0, 1]
    assert cutouts[1].redshift == 0.2
    np.testing.assert_array_equal([c.image for c in cutouts], stack)


@pytest.mark.parametrize("count", [2, 7])
@pytest.mark.parametrize(
    ("key", "value", "what"),
    [("pixel_scale", 0.396, "pixel scales"), ("zero_point", 22.5, "units")],
)
def test_a_value_for_each_cutout_is_not_taken_for_those_of_the_bands(
    count, key, value, what, tmp_path
):
    np.savez(tmp_path / "many.npz", images=np.stack([image()] * count), **{key: [value] * count})
    reasons = {rejected.reason for rejected in read(tmp_path)}
    assert reasons == {f"{count} {what} for 5 bands: give one, or one for each band"}


def test_a_survey_file_describes_its_images(tmp_path):
    stack = np.stack([image(seed=k) for k in range(3)])
    catalogue = {"identifier": IDENTIFIERS, "ra": np.arange(3.0), "dec": np.zeros(3)}
    with SurveyWriter(tmp_path / "survey.h5", BANDS, 0.396, METHOD_GRID, Preparation()) as writer:
        writer.append(stack, np.ones((3, METHOD_GRID.count)), catalogue, np.ones(3))
    cutouts = read(tmp_path)
    assert [c.identifier for c in cutouts] == IDENTIFIERS.tolist()
    assert {c.assumptions for c in cutouts} == {()}
    np.testing.assert_array_equal([c.image for c in cutouts], stack)


def test_a_record_array_beside_the_cube_is_its_catalogue(tmp_path):
    labels = np.zeros(3, dtype=[("specObjID", "u8"), ("ra", "f8")])
    labels["specObjID"] = IDENTIFIERS
    np.savez(tmp_path / "sdss.npz", cube=np.zeros((3, 64, 64, 5)) + image().T, labels=labels)
    assert [c.identifier for c in read(tmp_path)] == IDENTIFIERS.tolist()


def test_identifiers_that_lost_digits_are_unknown(tmp_path):
    stack = np.stack([image(seed=k) for k in range(3)])
    values = np.array([1237648721217716541.0, 2048.0, -1.0])
    np.savez(tmp_path / "many.npz", images=stack, objid=values)
    assert [c.identifier for c in read(tmp_path)] == [0, 2048, 0]


def test_images_in_fortran_order_are_refused_with_the_remedy(tmp_path):
    np.savez(tmp_path / "a.npz", cube=np.asfortranarray(image()), note=np.array([None]))
    assert "save np.ascontiguousarray" in reason(tmp_path)


def test_one_bad_cutout_of_many_is_refused_alone(tmp_path):
    stack = np.stack([image(), 0 * image(), image()])
    np.save(tmp_path / "many.npy", stack)
    first, second, third = read(tmp_path / "many.npy")
    assert (first.name, third.name) == ("many#0", "many#2")
    assert second.path.endswith("many.npy#1") and "everywhere" in second.reason


def test_many_are_read_one_at_a_time(tmp_path):
    np.save(tmp_path / "many.npy", np.stack([image()] * 4))
    stream = iter(CutoutReader(tmp_path, UGRIZ))
    assert next(stream).name == "many#0"


# Pixels and flux


@pytest.mark.parametrize("scale", [0.2, 0.262, 0.396 / 3, 0.5, 0.7])
def test_resampling_conserves_flux_and_position(scale, tmp_path):
    """The same Gaussian of σ = 2 arcsec on any grid: the total, the centre and the width."""
    side = int(np.ceil(64 * 0.396 / scale)) + 3
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) * scale
    profile = np.exp(-(x**2 + y**2) / (2 * 2.0**2)) * scale**2 / (2 * np.pi * 2.0**2)
    data = np.stack([(k + 1) * profile for k in range(5)])
    save_fits(tmp_path / "a.fits", data, PIXSCALE=scale, BANDS="ugriz")
    seen = read_one(tmp_path).image
    np.testing.assert_allclose(seen.sum((1, 2)), [1, 2, 3, 4, 5], rtol=1e-4)
    y, x = (np.mgrid[:64, :64] - 31.5) * 0.396
    assert abs((seen[0] * x).sum()) < 1e-4
    width = np.sqrt((seen[0] * x**2).sum())
    pixel_variance = (0.396**2 + max(0.0, scale**2 - 0.396**2)) / 12
    assert width == pytest.approx(np.sqrt(4 + pixel_variance), rel=0.01)


def test_an_integer_ratio_sums_blocks(tmp_path):
    data = np.random.default_rng(0).random((5, 128, 128))
    save_fits(tmp_path / "a.fits", data, PIXSCALE=0.198, BANDS="ugriz")
    blocks = data.reshape(5, 64, 2, 64, 2).sum((2, 4))
    np.testing.assert_allclose(read_one(tmp_path).image, blocks, rtol=1e-6)


@pytest.mark.parametrize("side", [65, 80, 101])
def test_equal_pixels_are_cut_not_interpolated(side, tmp_path):
    data = np.random.default_rng(0).random((5, side, side))
    save_fits(tmp_path / "a.fits", data, BANDS="ugriz")
    start = side // 2 - 32
    cut = data[:, start : start + 64, start : start + 64]
    np.testing.assert_allclose(read_one(tmp_path).image, cut, rtol=1e-6)


def test_uncovered_sky_is_zero_and_reported(tmp_path):
    save_fits(tmp_path / "a.fits", np.random.default_rng(0).random((5, 40, 40)), BANDS="ugriz")
    cutout = read_one(tmp_path)
    assert any("padded" in text for text in cutout.assumptions)
    assert cutout.image[:, :12].max() == 0 == cutout.image[:, :, 52:].max()
    assert cutout.image[:, 12:52, 12:52].min() > 0


def test_without_a_scale_any_size_is_taken_as_the_same_field(tmp_path):
    np.save(tmp_path / "a.npy", image(128))
    cutout = read_one(tmp_path)
    assert any("resized" in text for text in cutout.assumptions)
    np.testing.assert_allclose(cutout.image.sum((1, 2)), image(128).sum((1, 2)), rtol=1e-5)


def test_stated_scale_overrides_the_header(tmp_path):
    save_fits(tmp_path / "a.fits", image(128), PIXSCALE=0.396, BANDS="ugriz")
    target = CutoutFormat(BANDS, 0.396, input_pixel_scale_arcsec=0.198)
    np.testing.assert_allclose(read_one(tmp_path, target).image.sum(), 98, rtol=1e-3)


@pytest.mark.parametrize(
    "keywords",
    [
        {"CD1_1": -5.5e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 5.5e-5},
        {"CDELT1": -5.5e-5, "CDELT2": 5.5e-5},
        {"CDELT1": -5.5e-5, "CDELT2": 5.5e-5, "PC1_1": 0.8, "PC1_2": 0.6, "PC2_1": -0.6,
         "PC2_2": 0.8},
        {"PIXSCALE": 0.198},
    ],
)  # fmt: skip
def test_pixel_scale_comes_from_any_header(keywords, tmp_path):
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", **keywords}
    if "PIXSCALE" in keywords:
        header = keywords
    hdu = fits.PrimaryHDU(image(128))
    hdu.header.update(header, BANDS="ugriz", BUNIT="nanomaggy")
    hdu.writeto(tmp_path / "a.fits")
    blocks = image(128).reshape(5, 64, 2, 64, 2).sum((2, 4))
    cutout = read_one(tmp_path)
    assert cutout.assumptions == ()
    np.testing.assert_allclose(cutout.image, blocks, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("nanomaggy", 1), ("nanomaggies", 1), ("nmgy", 1), ("nMgy", 1), ("nmgy/pixel", 1),
        ("mgy", 1e9), ("Jy", 1 / 3.631e-6), ("nJy", 1e-9 / 3.631e-6), ("uJy", 1 / 3.631),
        ("microjansky", 1 / 3.631), ("mJy / pix", 1e-3 / 3.631e-6),
    ],
)  # fmt: skip
def test_units_of_flux(unit, factor):
    assert nanomaggies_per(unit) == pytest.approx(factor, rel=1e-12)


def test_flux_is_converted(tmp_path):
    save_fits(tmp_path / "a.fits", image() * 3631, BUNIT="nJy", BANDS="ugriz")
    np.testing.assert_allclose(read_one(tmp_path).image, image(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("unit", ["adu", "K", "counts", "banana", "mag", ""])
def test_other_units_are_refused_with_the_remedy(unit):
    with pytest.raises(CutoutError, match="convert to nanomaggies"):
        nanomaggies_per(unit)


# Position and identity


def test_written_cutouts_come_back_whole(tmp_path):
    path = tmp_path / "galaxy.fits"
    about = {"ra": 359.9999, "dec": -63.25, "identifier": 1237648721217716541, "redshift": 0.0925}
    write_cutout(path, image(), BANDS, 0.396, **about)
    cutout = read_one(path)
    np.testing.assert_array_equal(cutout.image, image())
    assert cutout.assumptions == ()
    assert {name: getattr(cutout, name) for name in about} == about
    assert os.listdir(tmp_path) == ["galaxy.fits"]


@pytest.mark.parametrize(("stated", "expected"), [(150.001, 150.001), (162.9, 150.0)])
def test_the_telescopes_pointing_is_not_the_galaxys_position(stated, expected, tmp_path):
    write_cutout(tmp_path / "a.fits", image(), BANDS, 0.396, ra=150.0, dec=0.0)
    fits.setval(tmp_path / "a.fits", "RA", value=stated)
    assert read_one(tmp_path).ra == pytest.approx(expected, abs=1e-9)


def test_names_are_unique_and_do_not_depend_on_the_order(tmp_path):
    paths = []
    for folder in ("b", "a"):
        (tmp_path / folder).mkdir()
        paths.append(save_fits(tmp_path / folder / "x.fits", image(), BANDS="ugriz"))
    names = {str(c.path): c.name for c in read(paths)}
    assert names == {str(c.path): c.name for c in read([*paths[::-1], paths[0]])}
    assert names == {str(paths[1]): "x", str(paths[0]): "x~2"}


def test_rounding_at_the_edge_does_not_take_in_what_is_not_finite(tmp_path):
    """A frame of NaN that begins where the network's field ends."""
    fine = np.pad(image().repeat(3, axis=1).repeat(3, axis=2) / 9, ((0, 0), (7, 7), (7, 7)))
    fine[:, :7], fine[:, -7:], fine[:, :, :7], fine[:, :, -7:] = [np.nan] * 4
    save_fits(tmp_path / "a.fits", fine, BANDS="ugriz", PIXSCALE=0.396 / 3, BUNIT="nanomaggy")
    np.testing.assert_allclose(read_one(tmp_path).image, image(), rtol=1e-4, atol=1e-6)


def test_files_of_one_band_that_hold_many_cutouts_are_refused(tmp_path):
    for band in "ugriz":
        save_fits(tmp_path / f"a-{band}.fits", np.ones((3, 1, 64, 64)), BANDS=band, PIXSCALE=0.396)
    assert "more than one image" in reason(tmp_path)


def test_names_that_are_not_utf8_become_text(tmp_path):
    for name in (b"caf\xe9.npy", b"caf\xe8.npy"):
        np.save(tmp_path / os.fsdecode(name), image())
    assert [c.name for c in read(tmp_path)] == [r"caf\xe8", r"caf\xe9"]


def test_globs_and_lists_of_paths(tmp_path):
    for name in ("a1", "a2", "b1"):
        save_fits(tmp_path / f"{name}.fits", image(), BANDS="ugriz")
    (tmp_path / "wanted.txt").write_text("b1.fits\n\nmissing.fits\n")
    assert [c.name for c in read(str(tmp_path / "a*.fits"))] == ["a1", "a2"]
    found, missing = read(tmp_path / "wanted.txt")
    assert found.name == "b1"
    assert missing.reason == "does not exist"
    assert [c.name for c in read(tmp_path)] == ["a1", "a2", "b1"]


def test_a_source_without_files_is_an_error(tmp_path):
    with pytest.raises(CutoutError, match="no cutouts in"):
        CutoutReader(tmp_path, UGRIZ)


# What is refused


def with_value(value: float, where=(2, 30, 31)) -> np.ndarray:
    data = image()
    data[where] = value
    return data


@pytest.mark.parametrize(
    ("data", "header", "message"),
    [
        (image()[:4], {"BANDS": "ugri"}, "lacks band z; its bands are u, g, r, i"),
        (image()[:4], {}, "has 4 bands, the network takes 5"),
        (image()[0], {}, "has 1 bands"),
        (image(), {"BANDS": "ugri"}, "has 5 bands but the names"),
        (image(), {"BANDS": "u,g,r,r,z"}, "more than one band r"),
        (np.concatenate([image(), image()]), {"BANDS": "ugrizugriz"}, "more than one band u"),
        (np.ones(500, dtype=np.float32), {}, "holds no image"),
        (image()[:, :4, :4], {"BANDS": "ugriz"}, "only 4 × 4 px"),
        (with_value(np.nan), {"BANDS": "ugriz"}, "1 pixels are not finite"),
        (with_value(np.inf, (0,)), {"BANDS": "ugriz"}, "4096 pixels are not finite"),
        (with_value(0.0, (4,)), {"BANDS": "ugriz"}, "band z is 0 everywhere"),
        (0 * image(), {"BANDS": "ugriz"}, "band u is 0 everywhere"),
        (image(), {"BANDS": "ugriz", "BUNIT": "adu"}, "unit 'adu' is not a flux"),
        (np.zeros((1, 1, 10_001)), {}, "10001"),
        (np.zeros((65, 65, 65)), {}, "at most 64 bands"),
    ],
)
def test_bad_contents_are_refused_with_the_reason(data, header, message, tmp_path):
    save_fits(tmp_path / "a.fits", data, **header)
    assert message in reason(tmp_path)


def test_nan_outside_the_field_of_the_network_does_no_harm(tmp_path):
    data = image(100)
    data[:, :5] = np.nan
    save_fits(tmp_path / "a.fits", data, BANDS="ugriz")
    np.testing.assert_allclose(read_one(tmp_path).image, data[:, 18:82, 18:82], rtol=1e-6)


def damaged(folder: Path) -> list[Path]:
    save_fits(folder / "good.fits", image(), BANDS="ugriz")
    whole = (folder / "good.fits").read_bytes()
    np.savez_compressed(folder / "good.npz", cube=np.stack([image()] * 3))
    archive = (folder / "good.npz").read_bytes()
    (folder / "good.npz").unlink()
    contents = {
        "truncated.fits": whole[:20_000],
        "truncated.fits.gz": gzip.compress(whole)[:20_000],
        "truncated.fits.bz2": bz2.compress(whole)[:20_000],
        "garbage.fits": b"hello" * 1000,
        "empty.fits": b"",
        "garbage.npy": b"hello" * 1000,
        "pickle.npy": pickle.dumps({"a": 1}),
        "truncated.npz": archive[:-2000],
        "garbage.h5": b"hello" * 1000,
        "garbage.jpg": b"hello" * 1000,
        "huge.fits": fits.Header(
            {"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": 20_000, "NAXIS2": 20_000}
        )
        .tostring()
        .encode(),
        "image.tif": b"II*\0",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "notes.txt").write_text("a companion, not a cutout")
    return [folder / name for name in (*contents, "objects.npy")]


def test_no_damaged_file_stops_the_run(tmp_path):
    bad = damaged(tmp_path)
    results = read(tmp_path)
    assert [r.name for r in results if isinstance(r, Cutout)] == ["good"]
    rejected = [r for r in results if isinstance(r, Rejected)]
    assert sorted(r.path for r in rejected) == sorted(map(str, bad))
    assert all(r.reason and "\n" not in r.reason for r in rejected)
    write_rejects(tmp_path / "rejected.csv", rejected)
    with open(tmp_path / "rejected.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["reason"]) for row in rows] == [(r.path, r.reason) for r in rejected]


def test_a_missing_or_deviating_band_file_is_named(tmp_path):
    for band, plane in zip("ugri", image(), strict=False):
        save_fits(tmp_path / f"galaxy_{band}.fits", plane)
    assert "lacks band z" in reason(tmp_path)
    save_fits(tmp_path / "galaxy_z.fits", image()[4], BUNIT="Jy")
    np.testing.assert_allclose(read_one(tmp_path).image[4], image()[4] * 1e9 / 3631, rtol=1e-5)


# Colour pictures


def test_pictures_are_averaged_and_keep_their_range(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    target = CutoutFormat(RGB.bands, 0.4, input_pixel_scale_arcsec=0.1)
    cutout = read_one(tmp_path, target)
    blocks = pixels.reshape(64, 4, 64, 4, 3).mean((1, 3)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(cutout.image, blocks, atol=1e-6)
    np.save(tmp_path / "a.npy", pixels)
    from_bytes = read_one(tmp_path / "a.npy", target)
    np.testing.assert_allclose(from_bytes.image, blocks, atol=1e-6)


def test_pictures_do_not_fit_photometric_networks_and_grey_ones_no_network(tmp_path):
    grey = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert "colour" in reason(tmp_path / "grey.png", RGB)
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "colour.jpg")
    assert "lacks band u" in reason(tmp_path / "colour.jpg")
    stated = CutoutFormat(("g", "r", "i"), 0.396, input_bands=("i", "r", "g"))
    assert "'intensity' is not a flux" in reason(tmp_path / "colour.jpg", stated)


# Real data


@real_data
def test_real_field_cutouts_are_read_unchanged():
    path = DATA / "cutouts_field_5112.npz"
    with np.load(path, allow_pickle=False) as file:
        cube, ra = file["cube"], file["ra"]
    cutouts = read(path)
    np.testing.assert_array_equal([c.image for c in cutouts], cube.transpose(0, 3, 1, 2))
    assert [c.ra for c in cutouts] == ra.tolist()


@real_data
def test_real_pictures_are_read():
    target = CutoutFormat(RGB.bands, 0.4, input_pixel_scale_arcsec=0.1)
    cutouts = read(DATA / "pairs" / "*.jpeg", target)
    assert len(cutouts) == 12
    assert all(c.image.shape == (3, 64, 64) and c.assumptions == () for c in cutouts)
    centre = np.mean([c.image[:, 28:36, 28:36] for c in cutouts])
    assert centre > 2 * np.mean([c.image[:, :8, :8] for c in cutouts])
