"""Spectra shifted to the rest frame."""

import numpy as np

from utils.evaluation.rest_frame import RestFrame

GRID = np.arange(4000.0, 8500.0)


def spectrum(redshift: float, level: float = 3.0) -> np.ndarray:
    """A slope and a line at 5000 Å, rest frame, seen at a redshift."""
    rest = GRID / (1 + redshift)
    return level * (rest / 5000 + 2 * np.exp(-0.5 * ((rest - 5000) / 15) ** 2))


def test_grid_is_covered_at_all_redshifts():
    frame = RestFrame.covering(GRID, np.array([0.05, 0.1, 0.15]))
    assert frame.angstrom[0] == np.ceil(4000 / 1.05)
    assert frame.angstrom[-1] == np.floor(8499 / 1.15)


def test_neighbours_at_other_redshifts_come_to_the_same_rest_frame():
    redshift, target = np.array([[0.06, 0.1, 0.14]]), np.array([0.09])
    frame = RestFrame.covering(GRID, redshift)
    flux = np.stack([spectrum(z, level) for z, level in zip(redshift[0], (1, 5, 20), strict=True)])
    found = frame.shift(flux[None], redshift, target)
    assert found.shape == (1, 3, len(frame.angstrom))
    np.testing.assert_allclose(found[0, 1:], found[0, [0, 0]], atol=2e-3)
    # normalised where the target is observed between 5500 and 7000 Å
    inside = (frame.angstrom * 1.09 >= 5500) & (frame.angstrom * 1.09 < 7000)
    np.testing.assert_allclose(np.median(found[0, :, inside], axis=0), 1, atol=1e-6)
    assert frame.angstrom[found[0, 0].argmax()] == 5000


def test_a_spectrum_shifted_to_a_redshift_and_back_is_itself():
    frame = RestFrame.covering(GRID, np.array([0.05, 0.15]))
    rest = np.interp(frame.angstrom, GRID / 1.1, spectrum(0.1))
    back = frame.shift(frame.unshift(rest, 0.12)[None], np.array([0.12]), [0.12])[0]
    scale = np.median(back / rest)
    np.testing.assert_allclose(back, scale * rest, rtol=2e-3)
