"""Stellar populations through pPXF (Cappellari 2023, MNRAS 526, 3273), installed by the user.

    pip install ppxf        (its licence allows non-commercial use; version 9 or later)

The same two steps as `populations`: kinematics with additive polynomials, then Calzetti dust and
the mixture at those kinematics.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datasets.errors import UserError
from utils.spectroscopy.broadening import BroadenedLibrary, Galaxy
from utils.spectroscopy.dust import transmission
from utils.spectroscopy.kinematics import POLYNOMIAL_DEGREE

MAXIMUM_EBV = 1.0  # mag
EDGE_PIXELS = 30  # left out at both ends, where the convolution reaches beyond the templates


def load_ppxf() -> Callable:
    """pPXF's fitting class.

    Raises:
        UserError: if it is not installed.
    """
    try:
        from ppxf.ppxf import ppxf
    except ImportError as error:
        raise UserError(
            "the engine 'ppxf' needs pPXF: pip install ppxf, or use the engine 'nnls'"
        ) from error
    return ppxf


def fit_with_ppxf(
    galaxy: Galaxy, bank: BroadenedLibrary, start_km_s: float
) -> tuple[float, float, float, float, np.ndarray]:
    """σ★, its error, velocity (km/s), E(B−V) and weights (K,) of one galaxy."""
    ppxf = load_ppxf()
    templates = bank.at(galaxy.kernel(0.0))
    good = galaxy.root_weight > 0
    good[:EDGE_PIXELS] = good[-EDGE_PIXELS:] = False
    noise = np.where(good, 1.0 / np.where(good, galaxy.root_weight, 1.0), 1.0)
    common = {
        "templates": templates,
        "galaxy": galaxy.flux,
        "noise": noise,
        "velscale": bank.grid.km_s,
        "moments": 2,
        "lam": bank.grid.angstrom,
        "mask": good,
        "quiet": True,
    }
    kinematics = ppxf(start=[0.0, start_km_s], degree=POLYNOMIAL_DEGREE, **common)
    velocity, sigma_star = kinematics.sol
    dust = {
        "start": [0.1],
        "bounds": [[0.0, MAXIMUM_EBV]],
        "component": np.ones(templates.shape[1], bool),
        "func": transmission,
    }
    mixture = ppxf(
        start=[velocity, sigma_star], fixed=[True, True], degree=-1, dust=[dust], **common
    )
    reduced = kinematics.chi2 * np.count_nonzero(galaxy.root_weight) / galaxy.independent
    scaled_error = kinematics.error[1] * np.sqrt(max(reduced, 1.0))
    ebv = float(mixture.dust[0]["sol"][0])
    return sigma_star, scaled_error, velocity, ebv, mixture.weights
