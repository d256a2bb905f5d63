"""Catalogues: identifiers to the last bit, and joins on them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import UserError
from datasets.identifiers import exact_identifiers, match_identifiers
from datasets.tables import read_catalogue

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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("specObjID,z\n2.99548501317019648E+17,0.1\n", "specobjid.*not .*64-bit integers"),
        ("specObjID,z\n-1,0.1\n", "specobjid.*not .*64-bit integers"),
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
    assert rows.tolist() == [known.index(w) if w in known else -1 for w in wanted]


def test_neighbouring_identifiers_are_told_apart():
    """The published code matched within 10,000,000."""
    known = np.array([BIG, BIG + 1, BIG + 2], dtype=np.uint64)
    wanted = np.array([BIG + 2, BIG + 3, BIG], dtype=np.uint64)
    assert match_identifiers(wanted, known).tolist() == [2, -1, 0]


def test_which_types_are_exact():
    assert exact_identifiers(np.array([b"299548501317019648"])).tolist() == [299548501317019648]
    assert exact_identifiers(np.array([299548501317019648.0])).tolist() == [299548501317019648]
    for wrong in (np.array([1.5]), np.array([1e18 + 128]), np.array([1024.0], np.float32)):
        with pytest.raises(ValueError, match="not exact"):
            exact_identifiers(wrong)
