"""Approximate search in many unit vectors, with a graph of neighbours (HNSW).

Hierarchical navigable small worlds (Malkov & Yashunin 2020) by usearch. The graph is made once and
kept beside the index; from then on a query takes a fraction of a millisecond however many vectors
there are. It may miss some of the nearest (`docs/search.md` has the share that it finds).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm
from usearch.index import Index

from datasets.atomic_files import atomic_path
from datasets.errors import UserError
from datasets.processors import usable_cores

BLOCK = 4096  # vectors between two steps of the bar
COMPARED = 256  # vectors, with those of a graph that was kept
EXPANSION = 128  # candidates kept while searching, or twice the neighbours asked for


class NeighbourGraph:
    """Finds the vectors with the largest scalar products, approximately.

    Args:
        path: Of the file that keeps the graph; made if it is missing, or of other vectors.
        vectors: (N, D) float32, of length 1.

    Raises:
        UserError: the file is damaged.
    """

    def __init__(self, path: Path, vectors: np.ndarray):
        self._graph = _empty(vectors)
        if path.exists():
            try:
                self._graph.load(str(path))
            except RuntimeError as error:
                raise UserError(f"{path}: {error}: delete it, it is made again") from error
        if not _is_of(self._graph, vectors):
            self._graph = _built(vectors)
            with atomic_path(path) as partial:
                self._graph.save(str(partial))

    def nearest(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices (Q, K) and scalar products (Q, K), best first; arguments as of
        `utils.generation.embeddings.nearest`. What the graph does not reach has the product −∞."""
        count = min(count, len(self._graph))
        self._graph.expansion_search = max(EXPANSION, 2 * count)
        found = self._graph.search(queries, count, threads=usable_cores())
        missing = np.arange(count) >= found.counts[:, None]
        indices = np.where(missing, 0, found.keys.astype(int))
        return indices, np.where(missing, -np.inf, 1.0 - found.distances)


def _empty(vectors: np.ndarray) -> Index:
    return Index(ndim=vectors.shape[1], metric="ip", dtype="f32")


def _is_of(graph: Index, vectors: np.ndarray) -> bool:
    """Whether it is a graph of these vectors; `COMPARED` of them are looked at."""
    if (len(graph), graph.ndim) != vectors.shape:
        return False
    some = np.linspace(0, len(vectors) - 1, min(COMPARED, len(vectors))).astype(int)
    return bool(np.array_equal(graph.get(some), vectors[some]))


def _built(vectors: np.ndarray) -> Index:
    graph = _empty(vectors)
    with tqdm(total=len(vectors), desc="graph of neighbours", unit="vector", disable=None) as bar:
        for start in range(0, len(vectors), BLOCK):
            part = vectors[start : start + BLOCK]
            # Threads that start with an empty graph do not see each other's vectors.
            threads = usable_cores() if start else 1
            graph.add(np.arange(start, start + len(part)), part, threads=threads)
            bar.update(len(part))
    return graph
