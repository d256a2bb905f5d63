"""All measurements together: columns, blocks, candidates, and the truth of the mock survey."""

import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from datasets.mock.build import make_mock
from datasets.survey import Survey
from utils.spectroscopy.measurements import BLOCK, column_units, measure, measure_candidates


@pytest.fixture(scope="module")
def mock(tmp_path_factory) -> Survey:
    path = tmp_path_factory.mktemp("mock") / "mock.h5"
    return Survey(make_mock(path, 48, seed=5, workers=1, progress=False))


@pytest.fixture(scope="module")
def spectra(mock) -> np.ndarray:
    return mock.read("spectra", np.arange(len(mock)))


def test_truth_of_the_mock_survey(mock, spectra):
    measured = measure(mock.grid.angstrom, spectra)
    z = mock.catalogue["z"]
    dz = (measured["z"] - z) / (1.0 + z)
    assert np.median(np.abs(dz)) < 5e-5
    assert np.mean(np.abs(dz) > 0.005) < 0.05
    assert np.median(np.abs(measured["Dn4000"] - mock.truth("dn4000"))) < 0.05
    truth = mock.truth("ew_halpha")
    strong = truth > 5.0
    assert strong.sum() > 10
    assert np.median(np.abs(measured["Halpha_ew"] / truth - 1.0)[strong]) < 0.1
    assert np.corrcoef(measured["Halpha_ew"], truth)[0, 1] > 0.98
    pull = (measured["SII6716_ew"] - mock.truth("ew_sii_6718")) / measured["SII6716_ew_err"]
    assert 0.4 < 1.4826 * np.median(np.abs(pull)) < 1.6


def test_columns_have_units_and_do_not_depend_on_blocks(mock, spectra):
    redshift = mock.catalogue["z"]
    alone = measure(mock.grid.angstrom, spectra[:6], redshift=redshift[:6])
    assert list(alone) == list(column_units())
    many = np.concatenate([np.resize(spectra, (BLOCK, spectra.shape[1])), spectra[:6]])
    z = np.concatenate([np.resize(redshift, BLOCK), redshift[:6]])
    together = measure(mock.grid.angstrom, many, redshift=z, workers=2)
    for name in ("Halpha_ew", "Halpha_ew_err", "Mgb", "gas_sigma"):
        np.testing.assert_allclose(together[name][-6:], alone[name], rtol=1e-6, err_msg=name)
    assert together["bpt"][-6:].tolist() == alone["bpt"].tolist()


def test_threads_of_linear_algebra_change_nothing(mock, spectra):
    many = np.resize(spectra, (BLOCK, spectra.shape[1]))
    redshift = np.resize(mock.catalogue["z"], BLOCK)
    measured = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            measured.append(measure(mock.grid.angstrom, many, redshift=redshift))
    for name, column in measured[0].items():
        np.testing.assert_array_equal(measured[1][name], column, name)


def test_unknown_redshifts_measure_nothing(mock, spectra):
    redshift = np.array([np.nan, mock.catalogue["z"][1], 0.1])
    flux = spectra[:3].copy()
    flux[2] = np.nan
    measured = measure(mock.grid.angstrom, flux, redshift=redshift)
    for name, column in measured.items():
        if column.dtype.kind == "f":
            assert np.isnan(column[0]), name
            assert np.isnan(column[2]) or name == "z", name
    assert measured["bpt"][0] == "undetermined"
    assert np.isfinite(measured["Halpha_ew"][1])


def test_no_spectra_are_no_rows(mock, spectra):
    measured = measure(mock.grid.angstrom, spectra[:0])
    assert set(measured) == set(column_units())
    assert all(column.shape == (0,) for column in measured.values())


@pytest.mark.parametrize("redshift", [None, np.full(4, 0.1)])
def test_spectra_of_a_broken_network_are_measured_without_warnings(mock, redshift):
    flux = np.zeros((4, mock.grid.count), np.float32)  # zero, half or not at all finite, constant
    flux[1, ::2] = np.inf
    flux[2] = np.nan
    flux[3] = 1.0
    measured = measure(mock.grid.angstrom, flux, redshift=redshift, coherence=True)
    if redshift is not None:
        assert np.isfinite(measured["Dn4000"][3])


def test_candidates_have_a_median_and_a_scatter(mock, spectra):
    generator = np.random.default_rng(7)
    same = np.repeat(spectra[:3, None], 5, axis=1)
    noisy = same + generator.normal(0.0, 0.02, same.shape)
    measured = measure_candidates(mock.grid.angstrom, noisy)
    z = mock.catalogue["z"][:3]
    np.testing.assert_allclose(measured["z"], z, atol=3e-4)
    assert np.all((measured["z_err"] > 0) & (measured["z_err"] < 1e-3))
    assert set(measured) == set(column_units()) | {"bpt_share"}
    assert np.all((measured["bpt_share"] > 0) & (measured["bpt_share"] <= 1))
    mixed = noisy.copy()
    mixed[0] = spectra[np.argsort(mock.catalogue["z"])[[0, 10, 20, 30, 40]]]
    spread = measure_candidates(mock.grid.angstrom, mixed)["z_err"]
    assert spread[0] > 0.005 > spread[1]
    single = measure_candidates(mock.grid.angstrom, noisy[:, :1])
    assert np.isnan(single["z_err"]).all()
    assert np.isfinite(single["z"]).all()


@pytest.mark.slow
def test_ten_thousand_spectra_take_less_than_a_minute_on_two_cores(mock, spectra):
    many = np.resize(spectra, (1000, spectra.shape[1]))
    measure(mock.grid.angstrom, many[:200])
    start = time.process_time()
    measure(mock.grid.angstrom, many)
    assert time.process_time() - start < 12.0
