"""Redshifts from tables of every kind: exact joins, and what is refused with its remedy."""

import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Column, MaskedColumn, Table

from datasets.cutouts.reader import Cutout, CutoutSource
from datasets.errors import UserError
from utils.generation.redshift_catalogue import RedshiftTable

LARGE = 1237650795146051733  # neighbours of it are one float64
SUFFIXES = [".csv", ".ecsv", ".fits", ".fits.gz", ".vot"]


def cutout(name="", path="", identifier=0):
    return Cutout(name, np.zeros((5, 64, 64)), Path("somewhere") / path, identifier=identifier)


def written(table, tmp_path, suffix=".csv"):
    path = tmp_path / f"table{suffix}"
    table.write(path, format="votable" if suffix == ".vot" else None)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_neighbouring_identifiers_are_told_apart(tmp_path, suffix):
    objid = np.array([LARGE, LARGE + 1, 0, 0], dtype=np.int64)
    path = written(Table({"ObjID": objid, "z": [0.1, 0.2, 0.3, 0.4]}), tmp_path, suffix)
    table = RedshiftTable(path, "Z")
    found = [table.redshift(cutout("a", "a.npy", LARGE + k)) for k in range(3)]
    np.testing.assert_allclose(found, [0.1, 0.2, np.nan])
    assert math.isnan(table.redshift(cutout("a", "a.npy", 0)))  # 0 names no galaxy


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unsigned_identifiers_and_text_of_digits(tmp_path, suffix):
    identifier = [2**63 + 1, 2**63 + 2]
    for values in ([str(value) for value in identifier], np.array(identifier, dtype=np.uint64)):
        if suffix == ".vot" and not isinstance(values, list):
            continue  # VOTable has no unsigned 64-bit integers
        path = written(Table({"specObjID": values, "z": [0.1, 0.2]}), tmp_path, suffix)
        table = RedshiftTable(path, "z")
        assert table.redshift(cutout("a", "a.npy", 2**63 + 2)) == 0.2
        assert math.isnan(table.redshift(cutout("a", "a.npy", 2**63)))
        path.unlink()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_are_text_and_missing_redshifts_are_unknown(tmp_path, suffix):
    redshift = MaskedColumn([0.1, 0.2, 9.0, np.nan], mask=[False, False, True, False])
    names = Column(["007", "two words", "b", "c"])
    path = written(Table({"name": names, "z_phot": redshift}), tmp_path, suffix)
    table = RedshiftTable(path, "z_phot")
    found = [table.redshift(cutout(name, f"{name}.fits")) for name in names]
    np.testing.assert_array_equal(found, [0.1, 0.2, np.nan, np.nan])
    assert math.isnan(table.redshift(cutout("7", "7.fits")))


def test_files_with_or_without_suffix_and_folder(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("# exported\nfile,z\nsomewhere/a.fits.gz,0.1\nb,0.2\nmany#1,0.3\nmany.npz,9\n")
    table = RedshiftTable(path, "z")
    assert table.redshift(cutout("a", "a.fits.gz")) == 0.1
    assert table.redshift(cutout("b", "b.npy")) == 0.2
    assert table.redshift(cutout("many#1", "many.npz")) == 0.3
    assert math.isnan(table.redshift(cutout("many#2", "many.npz")))  # not that of the whole file


def test_files_of_one_name_are_matched_by_their_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "table.csv"
    path.write_text(
        f"file,z\na/g.fits,0.1\n../x/b/g,0.2\n{tmp_path}/somewhere/c/g.fits,0.3\na/many#1,0.4\n"
    )
    table = RedshiftTable(path, "z")
    cutouts = [
        cutout("g", "a/g.fits"), cutout("g~2", "x/b/g.fits"), cutout("g~3", "c/g.fits"),
        cutout("many~2#1", "a/many.npz"), cutout("g~4", "d/g.fits"), cutout("g~5", "y/b/g.fits"),
        cutout("many#1", "b/many.npz"),
    ]  # fmt: skip
    found = [table.redshift(one) for one in cutouts]
    np.testing.assert_array_equal(found, [0.1, 0.2, 0.3, 0.4, np.nan, np.nan, np.nan])
    table.check([CutoutSource(one.name.partition("#")[0], (one.path,)) for one in cutouts])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "g.fits,0.1",
            r"g\.fits names cutouts of several folders, a/g.fits and b/g.fits; give their",
        ),
        ("g,0.1", "g names cutouts of"),
        ("g,0.1\nb/g.fits,0.1", "g names cutouts of"),
        ("many#1,0.1", "many names cutouts of several folders, .*a/many.npz and .*b/many.npz"),
        ("a/g.fits,0.1\na/g,0.2", "a/g and a/g.fits have different redshifts, .*leave one"),
        ("g~2,0.1\nb/g,0.2", "g~2 and b/g have different redshifts"),
        ("elsewhere/g,0.1\nx,0.2", "no row names one of the cutouts, .*first names elsewhere/g"),
        ("a/g,0.1\nb/g,0.2", None),
        ("g,0.1\ng~2,0.2", None),  # as catalogues of generated spectra have them
    ],
)
def test_rows_of_several_cutouts_and_cutouts_of_several_rows(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(f"file,z\n{text}\n")
    table = RedshiftTable(tmp_path / "t.csv", "z")
    files = {"g": "a/g.fits", "g~2": "b/g.fits", "many": "a/many.npz", "many~2": "b/many.npz"}
    with pytest.raises(UserError, match=message) if message else nullcontext():
        table.check([CutoutSource(name, (Path(path),)) for name, path in files.items()])


def test_a_picture_beside_a_cutout_is_of_the_same_galaxy(tmp_path):
    (tmp_path / "t.csv").write_text("file,z\ng,0.1\nh.fits,0.2\n")
    table = RedshiftTable(tmp_path / "t.csv", "z")
    files = {"g": "a/g.fits", "g~2": "a/g.jpg", "h": "a/h.fits", "h~2": "a/h.jpg"}
    table.check([CutoutSource(name, (Path(path),)) for name, path in files.items()])
    found = [table.redshift(cutout(name, path)) for name, path in files.items()]
    np.testing.assert_array_equal(found, [0.1, 0.1, 0.2, np.nan])


def test_numbers_that_users_give_and_numbers_that_tell_namesakes_apart(tmp_path):
    (tmp_path / "t.csv").write_text("file,z\nn,0.1\ncube#3,0.2\na/cube#3,0.3\n")
    table = RedshiftTable(tmp_path / "t.csv", "z")
    found = [
        table.redshift(cutout(name, path))
        for name, path in [
            ("n", "n-u.fits"), ("n~2", "n~2-u.fits"), ("cube~2#3", "cube~2.h5"),
            ("cube~2#3", "b/cube.h5"), ("cube#3", "a/cube.h5"),
        ]
    ]  # fmt: skip
    np.testing.assert_array_equal(found, [0.1, np.nan, np.nan, 0.2, 0.3])


def test_a_name_goes_before_an_identifier(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("name,objid,specobjid,z\na,1,,0.1\nb,2,-9999,0.2\n,3,-9999,0.3\n")
    table = RedshiftTable(path, "z")
    assert table.redshift(cutout("a", "a.npy", 2)) == 0.1
    assert table.redshift(cutout("x", "x.npy", 3)) == 0.3


def test_a_galaxy_twice_is_refused_only_if_its_redshifts_differ(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("name,z\na,0.1\na,0.1\na,\n")
    assert RedshiftTable(path, "z").redshift(cutout("a", "a.npy")) == 0.1
    path.write_text("name,z\na,0.1\na,0.2\n")
    with pytest.raises(UserError, match=r"table\.csv: name a has the redshifts 0.1 and 0.2"):
        RedshiftTable(path, "z")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("t.csv", "name,ra\na,1\n", "no column z of one value per row; it has name, ra"),
        ("t.csv", "galaxy,z\na,1\n", "add a column name"),
        ("t.csv", "name,z\na,high\n", "column z holds no number in row 1 .*'high'"),
        ("t.csv", "objid,z\n1.2e18,0.1\n", "objid: .* export the table again"),
        ("t.csv", "name,z\na\n", "every row needs the 2 columns"),
        ("t.csv", "", "is empty"),
        ("t.fits", "not FITS", "not a readable table .* export it again"),
        ("t.vot", "<VOTABLE><oops", "not a readable table"),
        ("t.ecsv", "name,z\na,1\n", "not a readable table"),
        ("t.pkl", "", "unknown format; known are .csv, "),
    ],
)
def test_unusable_tables_are_named_with_the_remedy(tmp_path, file, text, message):
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        RedshiftTable(tmp_path / file, "z")
    assert str(tmp_path / file) in str(caught.value)


def test_missing_truncated_and_ambiguous_files(tmp_path):
    for name in ("missing.csv", "missing.fits"):
        with pytest.raises(UserError, match=f"{name}.*[Nn]o such file"):
            RedshiftTable(tmp_path / name, "z")
    names = [f"galaxy-{number}" for number in range(1000)]
    path = written(Table({"name": names, "z": np.linspace(0, 1, 1000)}), tmp_path, ".fits")
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UserError, match="not a readable table"):
        RedshiftTable(path, "z")
    path = written(Table({"name": ["a"], "z": [0.1], "Z": [20.0]}), tmp_path, ".ecsv")
    with pytest.raises(UserError, match="differ only in case"):
        RedshiftTable(path, "z")


def test_identifiers_that_are_not_exact_are_refused(tmp_path):
    table = Table({"objid": np.array([LARGE, LARGE + 3000], dtype=np.float64), "z": [0.1, 0.2]})
    table["objid"][0] = 1e9 + 1
    with pytest.raises(UserError, match=r"row 2: .* not an exact .*without this column"):
        RedshiftTable(written(table, tmp_path, ".fits"), "z")
