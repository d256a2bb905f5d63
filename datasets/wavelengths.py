"""Wavelengths in air and in vacuum, and the windows of the 4000 Å break.

λ_vac = n λ_air with the refractive index of standard air (Ciddor 1996, Applied Optics 35, 1566,
eq. 1)

    10⁸ (n − 1) = 5792105 / (238.0185 − s²) + 167917 / (57.362 − s²),   s = 10⁴ / λ_vac [µm⁻¹]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# Blue and red window in Å, in air, of Dn4000 = ⟨F_ν⟩ red / ⟨F_ν⟩ blue (Balogh et al. 1999).
DN4000_BANDS_AIR_ANGSTROM = ((3850.0, 3950.0), (4000.0, 4100.0))


def refractive_index(vacuum_angstrom: ArrayLike) -> np.ndarray:
    """Refractive index of standard air at vacuum wavelengths in Å (Ciddor 1996, eq. 1)."""
    s2 = (1e4 / np.asarray(vacuum_angstrom, float)) ** 2
    return 1.0 + 5.792105e-2 / (238.0185 - s2) + 1.67917e-3 / (57.362 - s2)


def air_to_vacuum(air_angstrom: ArrayLike) -> np.ndarray:
    """Wavelengths in vacuum of wavelengths λ > 2000 Å in air, both in Å, from λ_vacuum = n λ_air:
    three fixed-point steps leave less than 10⁻⁹ Å."""
    air = np.asarray(air_angstrom, float)
    vacuum = air
    for _ in range(3):
        vacuum = air * refractive_index(vacuum)
    return vacuum
