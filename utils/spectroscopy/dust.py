"""Dust attenuation of starburst galaxies (Calzetti et al. 2000, ApJ 533, 682, eqs. 2–4)."""

from __future__ import annotations

import numpy as np

CALZETTI_RV = 4.05  # A(V) / E(B−V), eq. 5


def calzetti_2000(wavelength_angstrom: np.ndarray) -> np.ndarray:
    """k(λ) = A(λ) / E(B−V) for rest wavelengths 1200–22000 Å, any shape."""
    inverse = 1e4 / np.asarray(wavelength_angstrom, float)  # 1/µm
    blue = -2.156 + 1.509 * inverse - 0.198 * inverse**2 + 0.011 * inverse**3
    red = -1.857 + 1.040 * inverse
    return 2.659 * np.where(inverse > 1.0 / 0.63, blue, red) + CALZETTI_RV


def transmission(wavelength_angstrom: np.ndarray, ebv: float) -> np.ndarray:
    """Fraction of the light that passes dust of colour excess E(B−V) in mag."""
    return 10.0 ** (-0.4 * ebv * calzetti_2000(wavelength_angstrom))
