"""The demarcation lines of the BPT diagram."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.spectroscopy.bpt import BPT_CLASSES, bpt_class, kauffmann_2003, kewley_2001, measure_bpt


@pytest.mark.parametrize(
    ("x", "y", "label"),
    [
        (-0.5, -0.5, "star forming"),
        (-0.2, 0.0, "composite"),
        (0.0, 1.0, "Seyfert"),
        (0.0, 0.3, "LINER"),
        (0.6, -1.0, "LINER"),  # right of both poles
        (0.2, -2.0, "composite"),  # between the poles
        (np.nan, 0.0, "undetermined"),
    ],
)
def test_known_places(x, y, label):
    assert bpt_class(np.array([x]), np.array([y]))[0] == label
    assert label in BPT_CLASSES


def test_values_of_the_published_curves():
    assert kewley_2001(np.array(-0.3)) == pytest.approx(0.61 / -0.77 + 1.19)
    assert kauffmann_2003(np.array(-0.3)) == pytest.approx(0.61 / -0.35 + 1.30)
    assert kewley_2001(np.array(0.5)) == -np.inf


@given(st.floats(-1.2, 0.04))
def test_kauffmann_lies_below_kewley(x):
    assert kauffmann_2003(np.array(x)) < kewley_2001(np.array(x))


def test_a_faint_line_leaves_the_class_undetermined():
    flux = {"NII6584": 1.0, "Halpha": 3.0, "OIII5007": 0.5, "Hbeta": 1.0}
    flux = {name: np.full(3, value) for name, value in flux.items()}
    err = {name: np.full(3, 0.1) for name in flux}
    err["OIII5007"] = np.array([0.1, 0.2, 0.1])
    flux["Hbeta"][2] = -1.0
    ratios, label = measure_bpt(flux, err)
    assert label.tolist() == ["star forming", "undetermined", "undetermined"]
    np.testing.assert_allclose(ratios["log_nii_halpha"], np.log10(1.0 / 3.0))
    expected = np.hypot(0.1 / 0.5, 0.1) / np.log(10.0)
    assert ratios["log_oiii_hbeta_err"][0] == pytest.approx(expected)
    assert np.isnan(ratios["log_oiii_hbeta"][2])
