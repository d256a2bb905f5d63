"""From cutouts to ranked candidate spectra, and the files that hold them.

In Python, three lines make spectra:

    from utils.generation import load
    spectra = load()(images)  # an array (N, bands, height, width), or files
    spectra[0].to_specutils()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utils.generation.api import Generator


def load(*weights: str, device: str = "auto", precision: str = "float32") -> Generator:
    """Trained networks, to be called with cutouts.

    Args:
        weights: Name of weights that come with the project (`python -m utils.weights` lists them),
            or a file of your own; two files for a cascade. By default the first that there are.
        device: `auto`, `cpu`, `cuda`, …
        precision: `float32`, `bfloat16` or `auto`.

    Raises:
        UserError: the weights cannot be used.
    """
    from utils.core.shipped_weights import shipped_weights
    from utils.generation.api import Generator  # torch takes seconds to import

    return Generator(weights or (next(iter(shipped_weights())),), device, precision)
