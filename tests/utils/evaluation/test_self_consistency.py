"""Shares of coherent spectra with known answers."""

import numpy as np
import pytest

from utils.evaluation.method import CONSTANT
from utils.evaluation.self_consistency import coherence_metrics, coherence_of, spread, tables
from utils.spectroscopy.line_velocities import coherence_units

N, P = 40, 5


def columns(**given):
    """Columns of NaN, except those given."""
    return {name: np.full((N, P), np.nan) for name in coherence_units()} | given


def test_spread_needs_two_groups():
    found = columns(
        Halpha_velocity=np.full((N, P), 100.0),
        OIII_velocity=np.where(np.arange(P) < 2, -150.0, np.nan) * np.ones((N, 1)),
        NaD_velocity=np.full((N, P), 9000.0),  # a feature, not a group
    )
    extent, count = spread(found)
    np.testing.assert_array_equal(count[0], [2, 2, 1, 1, 1])
    np.testing.assert_array_equal(extent[0], [250.0, 250.0, np.nan, np.nan, np.nan])


def test_shares_and_errors():
    generator = np.random.default_rng(1)
    off = generator.random(N) < 0.25
    velocity = np.where(off[:, None], 600.0, 0.0) * np.ones(P)
    found = coherence_of(columns(Halpha_velocity=np.zeros((N, P)), OIII_velocity=velocity))
    assert found["coherent"]["count"] == found["spectra"] == N * P
    assert found["coherent"]["value"] == pytest.approx(1 - off.mean())
    # galaxies are resampled, not candidates
    expected = np.sqrt(off.mean() * (1 - off.mean()) / N)
    assert found["coherent"]["error"] == pytest.approx(expected, rel=0.2)
    assert found["usable_groups"] == 2.0 and found["usable"]["Hbeta"] == 0.0


def test_ratios_and_features():
    found = coherence_of(
        columns(
            balmer_decrement=np.tile([2.0, 2.69, 2.71, 4.0, np.nan], (N, 1)),
            OIII_ratio=np.tile([2.69, 2.71, 3.0, 3.29, 3.31], (N, 1)),
            CaHK_velocity=np.tile([-310.0, -290.0, 10.0, 290.0, 310.0], (N, 1)),
        )
    )
    decrement, doublet = found["ratios"]["balmer_decrement"], found["ratios"]["OIII_ratio"]
    assert decrement["value"] == 0.5 and decrement["count"] == 4 * N
    assert decrement["median"] == pytest.approx(2.7)
    assert doublet["value"] == pytest.approx(0.6) and doublet["median"] == 3.0
    assert doublet["median_deviation"] == pytest.approx(0.29 / 3)
    assert found["ratios"]["NII_ratio"]["count"] == 0
    calcium = found["features"]["CaHK"]
    assert calcium["value"] == pytest.approx(0.6) and calcium["median_km_s"] == 10.0


def test_tables_have_a_row_for_every_method_but_the_constant():
    whole = columns(Halpha_velocity=np.zeros((N, P)), OIII_velocity=np.zeros((N, P)))
    measured = {"whole": whole, "nothing": columns(), CONSTANT: whole}
    lines = tables({"coherence": coherence_metrics(measured)})
    rows = [line for line in lines if line.startswith("| whole") or line.startswith("| nothing")]
    assert len(rows) == 4 and not any(CONSTANT in line for line in lines)
    assert rows[0].startswith("| whole | 1 | 200 of 200 | 2.00 | 1.00 | 1.00 | 0.00")
    assert rows[1].startswith("| nothing | – | 0 of 200 | 0.00")
