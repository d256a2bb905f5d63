"""A short run of `make fuzz`, and files that once did harm."""

import warnings

import numpy as np
import pytest
from astropy.io import fits

from datasets.errors import UserError
from datasets.fits_input import open_fits
from tests import fuzz


def test_changed_and_hostile_files_are_used_or_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy and h5py warn of what they find
        found, failures = fuzz.run(300, 1, tmp_path)
    assert failures == []
    assert set(found) == {"used", "refused"}
    assert min(found.values()) > 20  # neither all harmless nor all broken


def two_extensions(path):
    planes = [fits.ImageHDU(np.zeros((64, 64), np.float32), name=band) for band in "gr"]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(path)
    return path


def test_sizes_below_zero_do_not_lead_back_into_the_file(tmp_path):
    path = two_extensions(tmp_path / "a.fits")
    data = path.read_bytes()
    place = data.find(b"PCOUNT  =")
    card = b"PCOUNT  = " + b"-4816".rjust(20)  # data of minus one block: the same header again
    path.write_bytes(data[:place] + card + data[place + len(card) :])
    with pytest.raises(UserError, match="size below zero"), open_fits(path):
        pass


def test_thousands_of_axes_are_refused_at_once(tmp_path):
    path = two_extensions(tmp_path / "a.fits")
    data = path.read_bytes()
    place = data.find(b"NAXIS   =", 2880)
    card = b"NAXIS   = " + b"2147483648".rjust(20)
    path.write_bytes(data[:place] + card + data[place + len(card) :])
    with pytest.raises(UserError, match="thousands of axes"), open_fits(path):
        pass
