"""Catalogues: identifiers to the last bit, and joins on them."""

import numpy as np
import pytest
import torch
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import UserError
from datasets.identifiers import exact_identifiers, match_identifiers
from datasets.tables import numbers, read_catalogue, redshifts

BIG = 2**63 + 1  # beyond int64, and no float64

identifiers = st.lists(st.integers(0, 2**64 - 1), max_size=30)


def test_types_and_exact_identifiers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "#Table1\nspecObjID,objID,z,plate,velDisp,run2d\n"
        f"{BIG},1237650795146051733,0.05,266,,26\n1024,0,0.1,267,150.5,v5_13_0\n"
    )
    table = read_catalogue(path)
    assert table["specobjid"].tolist() == [BIG, 1024]
    assert table["objid"].tolist() == [1237650795146051733, 0]
    assert table["plate"].dtype == np.int64
    np.testing.assert_array_equal(table["veldisp"], [np.nan, 150.5])
    assert table["run2d"].tolist() == ["26", "v5_13_0"]


def test_columns_of_fits_are_in_the_byte_order_of_the_machine(tmp_path):
    columns = {
        "specobjid": [1024, 2048],
        "sn": np.array([20.5, 30.5], np.float32),
        "name": ["a", "b"],
    }
    Table(columns).write(tmp_path / "a.fits")
    table = read_catalogue(tmp_path / "a.fits")
    assert all(values.dtype.isnative for values in table.values())
    assert torch.from_numpy(table["sn"]).tolist() == [20.5, 30.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("specObjID,z\n2.99548501317019648E+17,0.1\n", "specobjid: row 1: .*not an exact 64-bit"),
        ("z,ra\n1\n", "every row needs the 2 columns"),
        ("z,Z\n1,2\n", "differ only in case"),
        ("z,z\n1,2\n", "every row needs"),
        ("z,ra\n1,2\n", "lacks the columns specobjid"),
        ("", "is empty"),
    ],
)
def test_catalogues_that_lose_identities_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=rf"a\.csv.*{message}"):
        read_catalogue(tmp_path / "a.csv")


def test_missing_and_headers_only(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_catalogue(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("specObjID,z\n")
    assert len(read_catalogue(tmp_path / "a.csv")["specobjid"]) == 0


@given(identifiers, identifiers)
def test_join_equals_the_list_search(wanted, known):
    rows = match_identifiers(np.array(wanted, np.uint64), np.array(known, np.uint64))
    assert rows.tolist() == [known.index(w) if w and w in known else -1 for w in wanted]


def test_neighbouring_identifiers_are_told_apart():
    """The published code matched within 10,000,000."""
    known = np.array([BIG, BIG + 1, BIG + 2], dtype=np.uint64)
    wanted = np.array([BIG + 2, BIG + 3, BIG], dtype=np.uint64)
    assert match_identifiers(wanted, known).tolist() == [2, -1, 0]


def test_which_types_are_exact():
    assert exact_identifiers(np.array([b"299548501317019648"])).tolist() == [299548501317019648]
    assert exact_identifiers(np.array([299548501317019648.0])).tolist() == [299548501317019648]
    assert exact_identifiers(np.array([1024.0], np.float32)).tolist() == [1024]
    for wrong in (np.array([1.5]), np.array([1e18 + 128]), np.array([2.0**30], np.float32)):
        with pytest.raises(ValueError, match=r"row 1: .* is not an exact 64-bit integer"):
            exact_identifiers(wrong)
    with pytest.raises(ValueError, match="not an exact"):  # exact by chance: an objID may be odd
        exact_identifiers(np.array([299548501317019648.0]), "objid")


def test_unknown_identifiers_are_zero_and_signed_ones_lose_their_sign():
    assert exact_identifiers(np.array([-9999, -1, 0, 7])).tolist() == [0, 0, 0, 7]
    assert exact_identifiers(np.array([np.nan, -1.0])).tolist() == [0, 0]
    assert exact_identifiers(np.array(["", "null", "NA", "--", "-9999"])).tolist() == [0] * 5
    signed = np.array([BIG], np.uint64).astype(np.int64)
    assert exact_identifiers(signed).tolist() == [BIG]
    assert exact_identifiers(signed.astype(str)).tolist() == [BIG]


TABLES = {
    "skyserver": b"#Table1\nobjid,ra,z\n1237650795146051733,180.0,0.1\n5,181.0,null\n",
    "byte-order mark": b"\xef\xbb\xbfobjid,ra,z\n1237650795146051733,180.0,0.1\n5,181.0,\n",
    "utf-16": "objid,ra,z\n1237650795146051733,180.0,0.1\n5,181.0,NA\n".encode("utf-16"),
    "comment": b"# objid, ra, z\n1237650795146051733,180.0,0.1\n5,181.0,--\n",
    "semicolons": b"objid;ra;z\r\n1237650795146051733;180,0;0,1\r\n5;181,0;NULL\r\n",
    "tabs": b"OBJID\tRA\tZ\n1237650795146051733\t180.0\t0.1\n5\t181.0\tnan\n",
    "blanks": b"objid  ra   z\n1237650795146051733 180.0  0.1\n5 181.0 None\n",
    "index column": b",objid,ra,z\n0,1237650795146051733,180.0,0.1\n1,5,181.0,\n",
    "not needed": b"objid,ra,z,u,U\n1237650795146051733,180.0,0.1,1,2\n5,181.0,N/A,3,4\n",
    "quotes": b'"objid","ra","z"\n"1237650795146051733",180.0,0.1\n"5",181.0,""\n',
    "quoted comma": b'"objid","an, te","ra","z"\n"1237650795146051733","a, b",180,0.1\n5,,181,\n',
    "code page": b"objid,ra,z,note\n1237650795146051733,180.0,0.1,\xe9t\xe9\n5,181.0,,\n",
    "sentinel": b"objid,ra,z\n1237650795146051733,180.0,0.1\n5,181.0,-9999\n",
}


@pytest.mark.parametrize("form", TABLES)
def test_tables_as_programs_and_spreadsheets_write_them(tmp_path, form):
    path = tmp_path / "a.csv"
    path.write_bytes(TABLES[form])
    table = read_catalogue(path, ("objid", "ra", "z"))
    assert table["objid"].tolist() == [1237650795146051733, 5]
    np.testing.assert_array_equal(numbers(path, "ra", table["ra"]), [180, 181])
    np.testing.assert_array_equal(redshifts(path, "z", table), [0.1, np.nan])


def test_words_in_place_of_numbers_are_named_with_their_row(tmp_path):
    (tmp_path / "a.csv").write_text("objid,z\n1,0.1\n2,high\n")
    table = read_catalogue(tmp_path / "a.csv", ("objid",))
    with pytest.raises(UserError, match=r"a\.csv: column z holds no number in row 2 \('high'\)"):
        redshifts(tmp_path / "a.csv", "z", table)


def test_magnitudes_are_no_redshifts(tmp_path):
    (tmp_path / "a.csv").write_text("u,g,r,i,z\n19,18,17,16.8,16.7\n")
    table = read_catalogue(tmp_path / "a.csv", ("z",))
    with pytest.raises(UserError, match="z beside u, g, r and i is a magnitude"):
        redshifts(tmp_path / "a.csv", "z", table)
