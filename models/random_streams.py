"""Random numbers that depend on names alone, not on the order in which they are asked for.

The random numbers of a candidate are a pure function of the seed of the run, the purpose, the
object's name and the candidate's number. The same galaxy gets the same spectra in any batch, in any
order and on any device.

The generator is Philox (Salmon et al. 2011, SC '11), a block cipher of a counter, with a 128-bit
key: the BLAKE2b digest of the names. Two streams of a run of 10⁶ candidates share a key with a
probability of 10⁻²⁷.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

KEY_BYTES = 16  # of a Philox key


def stream(*names: str | int) -> np.random.Generator:
    """The generator that belongs to `names`, in their order, the same on every machine."""
    text = "\0".join(map(str, names)).encode()
    digest = hashlib.blake2b(text, digest_size=KEY_BYTES).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


class RowNoise:
    """Standard normal noise with one stream per row.

    Args:
        seed: seed of the run.
        purpose: what the noise is for, such as the stage of a cascade.
        rows: (object, candidate number) of every row; an object is named by a string that stays
            with it, such as its identifier.
        shape: shape (C, L) of a row.
    """

    def __init__(
        self, seed: int, purpose: str, rows: Sequence[tuple[str, int]], shape: tuple[int, ...]
    ):
        self.shape = shape
        self.streams = [stream(seed, purpose, *row) for row in rows]

    def __call__(self) -> Tensor:
        """The next noise (rows, C, L) on the CPU, where it is the same for every device."""
        rows = [s.standard_normal(self.shape, dtype=np.float32) for s in self.streams]
        return torch.from_numpy(np.stack(rows))
