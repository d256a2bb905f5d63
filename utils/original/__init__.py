"""For those who have checkpoints, parameters or data of the original code (Doorenbos et al. 2022,
2024): `restore` for programs, `python -m utils.original --help` for the rest.
"""

from utils.original.networks import (
    build_contrastive,
    build_denoiser,
    load_original,
    original_name,
    restore,
)

__all__ = ["build_contrastive", "build_denoiser", "load_original", "original_name", "restore"]
