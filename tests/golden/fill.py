"""Deterministic weights, so that golden outputs need no stored weights.

`fill(shapes)` gives, for a mapping of parameter name -> shape, the arrays with which the golden
outputs were made. Names and shapes are those of the original checkpoints (keys_*.json).
"""

from zlib import crc32

import numpy as np


def fill_one(name, shape):
    """The float32 array of `shape` that belongs to the parameter or buffer `name`."""
    rng = np.random.RandomState(crc32(name.encode()))
    draw = rng.standard_normal(int(np.prod(shape, dtype=int))).reshape(shape)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        value = 1.0 + 0.1 * np.abs(draw)
    elif leaf == "running_mean":
        value = 0.05 * draw
    elif leaf == "weight" and len(shape) == 1:  # a normalisation's scale
        value = 1.0 + 0.1 * draw
    elif len(shape) >= 2:
        value = draw / np.sqrt(np.prod(shape[1:]))
    else:
        value = 0.05 * draw
    return value.astype(np.float32)


def fill(shapes):
    return {name: fill_one(name, tuple(shape)) for name, shape in shapes.items()}
