"""What headers of surveys state: units, zero points, pixel scales, positions, planes beside."""

import math
from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from datasets.cutouts.conversion import CutoutFormat, nanomaggies_per, stated_units
from datasets.cutouts.formats import CutoutError
from datasets.cutouts.reader import CutoutReader
from tests.datasets.cutouts.test_reader import BANDS, UGRIZ, image, read, read_one, reason

COUNTS = 10 ** (0.4 * (25.0 - 22.5))  # in a nanomaggy, at zero point 25


def write(path, planes, headers):
    """A FITS file with one band per extension."""
    hdus = [fits.PrimaryHDU()]
    for plane, header in zip(planes, headers, strict=True):
        hdu = fits.ImageHDU(np.asarray(plane, np.float32))
        for key, value in header.items():
            hdu.header[key] = value
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


def headers(**common):
    return [{"BAND": band, "PIXSCALE": 0.396, **common} for band in BANDS]


def assert_same(cutout, tolerance=1e-4):
    np.testing.assert_allclose(cutout.image, image(), rtol=tolerance, atol=1e-6)


ZERO_POINTS = {
    "MAGZERO": {"MAGZERO": 25.0},
    "MAGZP, text unit": {"MAGZP": 25, "BUNIT": "counts"},
    "ZP of electrons": {"ZP": 25.0, "BUNIT": "electron/s"},
    "HSC": {"FLUXMAG0": 10**10.0},
    "Pan-STARRS": {"HIERARCH FPA.ZP": 22.5, "EXPTIME": 10.0},
    "AB system": {"ZEROPT": 25.0, "MAGSYS": "AB"},
}


@pytest.mark.parametrize("case", ZERO_POINTS)
def test_zero_points_in_headers_are_used_and_reported(tmp_path, case):
    write(tmp_path / "a.fits", image() * COUNTS, headers(**ZERO_POINTS[case]))
    cutout = read_one(tmp_path)
    assert_same(cutout)
    assert [a for a in cutout.assumptions if a.startswith("counts converted with the zero point")]


@pytest.mark.parametrize(("unit", "seconds"), [("ELECTRONS/S", 1.0), ("ELECTRONS", 500.0)])
def test_hst_counts(tmp_path, unit, seconds):
    """ACS F814W: AB zero point 25.943 of one count per second (STScI)."""
    header = {"PHOTFLAM": 7.0331e-20, "PHOTPLAM": 8044.99, "BUNIT": unit}
    counts = image() * seconds * 10 ** (0.4 * (25.943 - 22.5))
    write(tmp_path / "a.fits", counts, headers(**header, EXPTIME=500.0))
    assert_same(read_one(tmp_path), tolerance=0.01)
    (tmp_path / "a.fits").unlink()
    write(tmp_path / "a.fits", counts, headers(**header))
    if unit == "ELECTRONS":
        assert "--zero-point" in reason(tmp_path)
    else:
        assert_same(read_one(tmp_path), tolerance=0.01)


def test_every_band_has_its_own_unit(tmp_path):
    flux = image()
    flux[:2] *= 3631  # nJy
    flux[2] *= 3.631  # µJy
    units = ["nJy", "nJy", "uJy", "nanomaggy", "nmgy"]
    write(
        tmp_path / "a.fits", flux, [h | {"BUNIT": u} for h, u in zip(headers(), units, strict=True)]
    )
    cutout = read_one(tmp_path)
    assert_same(cutout)
    assert cutout.assumptions == ()


def test_every_band_has_its_own_exposure(tmp_path):
    exposures = 100.0 * np.arange(1, 6)
    of_band = [
        h | {"HIERARCH FPA.ZP": 25, "EXPTIME": t} for h, t in zip(headers(), exposures, strict=True)
    ]
    factors = COUNTS * exposures[:, None, None]
    write(tmp_path / "a.fits", image() * factors, of_band)
    assert_same(read_one(tmp_path))


def test_asinh_scale_of_pan_starrs_is_made_linear(tmp_path):
    softening, offset = 100.0, 20.0
    scaled = 2.5 * math.log10(math.e) * np.arcsinh((image() * COUNTS - offset) / (2 * softening))
    header = {"HIERARCH FPA.ZP": 25, "EXPTIME": 1.0, "BSOFTEN": softening, "BOFFSET": offset}
    write(tmp_path / "a.fits", scaled, headers(**header))
    assert_same(read_one(tmp_path), tolerance=2e-3)


def test_surface_brightness_of_jwst(tmp_path):
    """MJy/sr: times the solid angle of a pixel."""
    steradian = (0.396 / 206264.806) ** 2
    write(tmp_path / "a.fits", image() * 3.631e-12 / steradian, headers(BUNIT="MJy/sr"))
    assert_same(read_one(tmp_path))
    with pytest.raises(CutoutError, match="needs the pixel scale"):
        nanomaggies_per("MJy/sr")


@pytest.mark.parametrize("header", [{"BUNIT": "adu"}, {"MAGZP": 25.0, "MAGSYS": "VEGA"}])
def test_counts_without_an_ab_zero_point_are_refused_with_the_remedy(tmp_path, header):
    write(tmp_path / "a.fits", image(), headers(**header))
    assert "--zero-point" in reason(tmp_path)
    mended = CutoutFormat(BANDS, 0.396, input_unit=stated_units(None, "22.5"))
    assert_same(read_one(tmp_path, mended))


def test_stated_zero_points_take_the_place_of_headers(tmp_path):
    write(tmp_path / "a.fits", image() * COUNTS, headers(BUNIT="adu"))
    for text in ("25", "25,25,25,25,25"):
        target = CutoutFormat(BANDS, 0.396, input_unit=stated_units(None, text))
        assert_same(read_one(tmp_path, target))
    with pytest.raises(CutoutError, match="2 units for the bands u, g, r, i, z"):
        CutoutFormat(BANDS, 0.396, input_unit=stated_units(None, "25,26"))
    with pytest.raises(CutoutError, match="AB magnitudes of one count"):
        stated_units(None, "bright")
    with pytest.raises(CutoutError, match="give one of them"):
        stated_units("nJy", "25")


# Pixel scales and positions


def test_bands_of_different_pixel_scales_are_resampled(tmp_path):
    coarse = image().reshape(5, 32, 2, 32, 2).sum((2, 4))
    planes = [*image()[:2], *coarse[2:]]
    scales = [0.396, 0.396, 0.792, 0.792, 0.792]
    write(
        tmp_path / "a.fits",
        planes,
        [h | {"PIXSCALE": s} for h, s in zip(headers(), scales, strict=True)],
    )
    cutout = read_one(tmp_path)
    np.testing.assert_allclose(cutout.image[:2], image()[:2], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(cutout.image.sum((1, 2)), image().sum((1, 2)), rtol=1e-3)


IRAF = {"CD1_1": 1.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1.0}
ARCSEC = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.396, "CDELT2": 0.396}


@pytest.mark.parametrize("wcs", [IRAF, ARCSEC])
@pytest.mark.parametrize(
    "scale",
    [
        {"PIXSCALE": 0.396},
        {"PIXSCALE": '0.396"/pix'},
        {"SECPIX": "-0.396"},
        {"PIXSCALE": "1.1e-4 deg"},
    ],
)
def test_impossible_world_coordinates_are_not_believed(tmp_path, wcs, scale):
    header = {"BAND": "", "BUNIT": "nanomaggy", **wcs, **scale}
    write(tmp_path / "a.fits", image(), [header | {"BAND": band} for band in BANDS])
    cutout = read_one(tmp_path)
    assert_same(cutout)
    assert any("as the world coordinates give" in text for text in cutout.assumptions)


@pytest.mark.parametrize("wcs", [IRAF, ARCSEC, {"PIXSCALE": 396.0}])
def test_impossible_pixel_scales_are_refused_with_the_remedy(tmp_path, wcs):
    common = {"BUNIT": "nanomaggy", **wcs}
    write(tmp_path / "a.fits", image(), [common | {"BAND": band} for band in BANDS])
    assert "with --pixel-scale" in reason(tmp_path)
    assert_same(read_one(tmp_path, CutoutFormat(BANDS, 0.396, input_pixel_scale_arcsec=0.396)))


def tangential(ra=180.0, dec=10.0, axes=("RA---TAN", "DEC--TAN"), **more):
    degrees = 0.396 / 3600
    return {
        "BUNIT": "nanomaggy", "CTYPE1": axes[0], "CTYPE2": axes[1], "CRPIX1": 32.5, "CRPIX2": 32.5,
        "CRVAL1": ra, "CRVAL2": dec, "CDELT1": -degrees, "CDELT2": degrees, **more,
    }  # fmt: skip


def test_galactic_coordinates_become_icrs(tmp_path):
    header = tangential(120.0, 45.0, ("GLON-TAN", "GLAT-TAN"))
    write(tmp_path / "a.fits", image(), [header | {"BAND": band} for band in BANDS])
    cutout = read_one(tmp_path)
    expected = SkyCoord(120.0, 45.0, unit="deg", frame="galactic").icrs
    assert (cutout.ra, cutout.dec) == pytest.approx((expected.ra.deg, expected.dec.deg), abs=1e-4)


def test_bands_that_do_not_lie_on_each_other_are_reported(tmp_path):
    places = [
        tangential(180.0 + k * 5 * 0.396 / 3600 / math.cos(math.radians(10))) for k in range(5)
    ]
    write(
        tmp_path / "a.fits", image(), [h | {"BAND": b} for h, b in zip(places, BANDS, strict=True)]
    )
    (text,) = read_one(tmp_path).assumptions
    assert "bands are up to 20 px apart on the sky" in text
    (tmp_path / "a.fits").unlink()
    for place, band, plane in zip(places, BANDS, image(), strict=True):  # of one position, stated
        write(tmp_path / f"a-{band}.fits", [plane], [place | {"RA": 180.0, "DEC": 10.0}])
    assert read_one(tmp_path).assumptions == (text,)


@pytest.mark.parametrize(
    ("columns", "rows", "how"),
    [  # directions to the east and north; of the other bands west and north
        ((-1, 0), (0, 1), None),
        ((-math.cos(0.02), math.sin(0.02)), (math.sin(0.02), math.cos(0.02)), None),
        ((1, 0), (0, -1), "is turned by 180 degrees against"),
        ((0, 1), (1, 0), "is turned by 90 degrees against"),
        ((-0.8, 0.6), (0.6, 0.8), "is turned by 37 degrees against"),
        ((-1, 0), (0, -1), "is mirrored against"),
        ((1, 0), (0, 1), "is mirrored against"),
    ],
)
@pytest.mark.parametrize("equinox", [{}, {"RADESYS": "FK4", "EQUINOX": 1950.0}])
def test_bands_that_are_turned_or_mirrored_are_refused(tmp_path, columns, rows, how, equinox):
    turned = tangential(**equinox) | {"CDELT1": 1 / 9000, "CDELT2": 1 / 9000}
    for axis, (east, north) in enumerate((columns, rows), start=1):
        turned |= {f"PC1_{axis}": east, f"PC2_{axis}": north}
    of_bands = [tangential(**equinox) | {"BAND": band} for band in BANDS]
    of_bands[3] = turned | {"BAND": "i"}
    write(tmp_path / "a.fits", image(), of_bands)
    files = tmp_path / "files"
    files.mkdir()
    for header, band, plane in zip(of_bands, BANDS, image(), strict=True):
        write(files / f"a-{band}.fits", [plane], [header])
    if how is None:
        assert read_one(tmp_path).assumptions == read_one(files).assumptions == ()
        return
    assert reason(tmp_path).startswith(
        f"band i {how} band u, by their world coordinates: resample all"
    )
    assert reason(files).startswith(f"a-i.fits {how} a-u.fits, by their world coordinates")


# Planes and files that are no bands


@pytest.mark.parametrize("key", ["EXTNAME", "IMAGETYP"])
@pytest.mark.parametrize(
    "name", ["WGT", "invvar", "g_ivar", "MASK", "VARIANCE", "ERR", "DQ", "PSF"]
)
def test_planes_beside_the_image_are_passed_over(tmp_path, key, name):
    planes = [plane for band in image() for plane in (band, np.ones((64, 64)))]
    kinds = [h | {key: kind} for h in headers(BUNIT="nanomaggy") for kind in ("image", name)]
    write(tmp_path / "a.fits", planes, kinds)
    cutout = read_one(tmp_path)
    assert_same(cutout)
    assert any("planes passed over" in text for text in cutout.assumptions)


def test_a_cube_of_weights_is_passed_over(tmp_path):
    kinds = [{"EXTNAME": "IVAR"}, {"EXTNAME": "FLUX", "BANDS": "ugriz", "PIXSCALE": 0.396}]
    planes = [np.ones((5, 64, 64)), image()]
    write(tmp_path / "a.fits", planes, [kind | {"BUNIT": "nanomaggy"} for kind in kinds])
    assert_same(read_one(tmp_path))


def test_files_of_weights_beside_files_of_bands_are_passed_over(tmp_path):
    for band, plane in zip(BANDS, image(), strict=True):
        for name, data in ((f"gal-{band}", plane), (f"gal-{band}.wht", np.ones((64, 64)))):
            write(tmp_path / f"{name}.fits", [data], [{"PIXSCALE": 0.396, "BUNIT": "nanomaggy"}])
    cutout = read_one(tmp_path)
    assert_same(cutout)
    assert any(
        text.startswith("files passed over") and "gal-u.wht.fits" in text
        for text in cutout.assumptions
    )


def test_arrays_of_weights_are_passed_over(tmp_path):
    np.savez(tmp_path / "a.npz", ivar=np.ones((5, 64, 64)), stamp=image(), bands=np.array(BANDS),
             pixel_scale=np.full(5, 0.396), unit=np.array(["nanomaggy"] * 5))  # fmt: skip
    cutout = read_one(tmp_path)
    assert_same(cutout)
    assert cutout.assumptions == ()


def test_zero_points_beside_an_array(tmp_path):
    np.savez(tmp_path / "a.npz", image=image() * COUNTS, bands=np.array(BANDS), pixel_scale=0.396,
             zero_point=np.full(5, 25.0))  # fmt: skip
    assert_same(read_one(tmp_path))


# Names


@pytest.mark.parametrize(
    "pattern",
    ["gal-{}", "cutout-HSC-{}-9813-pdr3_wide", "rings.v3.skycell.1234.056.stk.{}.unconv",
     "frame-{}-001000-1-0100", "{}_galaxy", "sdss {} 17"],
)  # fmt: skip
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_files_that_differ_in_the_band_are_one_galaxy(tmp_path, pattern, case):
    for band, plane in zip(BANDS, image(), strict=True):
        name = tmp_path / f"{pattern.format(case(band))}.fits"
        write(name, [plane], [{"PIXSCALE": 0.396, "BUNIT": "nanomaggy"}])
    write(tmp_path / "other-1.fits", image(), headers(BUNIT="nanomaggy"))
    cutouts = read(tmp_path)
    assert len(cutouts) == 2
    assert_same(cutouts[0])


@pytest.mark.parametrize(
    "bands", [None, tuple(BANDS), tuple(BANDS[::-1]), tuple(f"SDSS-{band}" for band in BANDS)]
)
def test_what_is_stated_of_bands_is_in_their_order_not_in_that_of_the_files(tmp_path, bands):
    zero_points = {band: 25.0 + number for number, band in enumerate(BANDS)}
    for band, plane in zip(BANDS, image(), strict=True):
        counts = plane * 10 ** (0.4 * (zero_points[band] - 22.5))
        write(tmp_path / f"gal-{band}.fits", [counts], [{"PIXSCALE": 0.396}])
    stated = ",".join(str(zero_points[band[-1]]) for band in bands or BANDS)
    target = replace(UGRIZ, input_bands=bands, input_unit=stated_units(None, stated))
    assert_same(next(iter(CutoutReader(tmp_path, target))))


def test_zero_points_are_those_of_the_networks_bands_in_a_cube_of_another_order(tmp_path):
    zero_points = 25.0 + np.arange(5)
    counts = image() * 10 ** (0.4 * (zero_points[:, None, None] - 22.5))
    header = {"BANDS": "ziryug", "PIXSCALE": 0.396}
    write(tmp_path / "a.fits", [counts[[4, 3, 2, 2, 0, 1]]], [header])  # and one more, y
    stated = stated_units(None, ",".join(map(str, zero_points)))
    assert_same(next(iter(CutoutReader(tmp_path, replace(UGRIZ, input_unit=stated)))))


def test_files_of_other_bands_than_stated_are_refused(tmp_path):
    for band in "ugriy":
        write(tmp_path / f"gal-{band}.fits", [image()[0]], [{"PIXSCALE": 0.396}])
    (rejected,) = CutoutReader(tmp_path, replace(UGRIZ, input_bands=tuple(BANDS)))
    assert rejected.reason.endswith("the files of one band each are of u, g, r, i, y")


def test_several_cubes_in_a_file_are_refused(tmp_path):
    header = {"BANDS": "ugriz", "PIXSCALE": 0.396, "BUNIT": "nanomaggy"}
    write(tmp_path / "a.fits", [image(), image()], [header, header])
    assert "holds 2 cubes" in reason(tmp_path)


def test_pixels_that_are_not_square_are_refused(tmp_path):
    wcs = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 180.0, "CRVAL2": 0.0}
    sides = {"CDELT1": -0.198 / 3600, "CDELT2": 0.396 / 3600}
    write(tmp_path / "a.fits", image(), headers(**wcs, **sides, BUNIT="nanomaggy"))
    assert "not square" in reason(tmp_path)


def test_names_of_any_kind_name_different_files(tmp_path):
    names = ["a#b", "a-b", "A-B", "x" * 200 + "1", "x" * 200 + "2", "…", "a b", "a\tb"]
    for name in names:
        write(tmp_path / f"{name}.fits", image(), headers(BUNIT="nanomaggy"))
    found = [cutout.name for cutout in read(tmp_path)]
    assert len(set(found)) == len(names) == len(CutoutReader(tmp_path, UGRIZ))
