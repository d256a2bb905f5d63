"""Encoded views: computed once, and kept for a run that goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datasets.survey import Survey
from utils.core.checkpoints import load_contrastive
from utils.core.config import GenerativeConfig
from utils.training import feature_cache
from utils.training.feature_cache import VIEWS, CachedViews, training_views


@pytest.fixture
def encode(tiny_survey, tiny_towers, tmp_path, monkeypatch):
    """A function that gives the views of 20 images, and the number of batches that it encoded."""
    survey, towers = Survey(tiny_survey), load_contrastive(tiny_towers)
    rows = survey.indices("train")[:20]
    photometry, calls = feature_cache.photometric_features, []
    monkeypatch.setattr(
        feature_cache,
        "photometric_features",
        lambda *given: calls.append(1) or photometry(*given),
    )

    def views(seed: int = 1, folder=tmp_path / "run") -> tuple[CachedViews, int]:
        config = GenerativeConfig()
        config.diffusion.condition_views, config.run.seed = 2, seed
        calls.clear()
        return training_views(towers, survey, rows, config, folder), len(calls)

    return views


def assert_same(here: CachedViews, there: CachedViews) -> None:
    for name in ("maps", "embeddings", "photometry"):
        torch.testing.assert_close(getattr(here, name), getattr(there, name), rtol=0, atol=0)


def test_views_of_a_stopped_run_are_found_again(encode, tmp_path):
    first, encoded = encode()
    assert encoded == 1 and (tmp_path / "run" / VIEWS).exists()
    again, encoded = encode()
    assert encoded == 0
    assert_same(first, again)
    assert first.maps.dtype == torch.half and not np.isnan(first.maps.numpy()).any()


def test_views_of_another_run_and_damaged_ones_are_encoded_anew(encode, tmp_path):
    first, _ = encode()
    other, encoded = encode(seed=2)
    assert encoded == 1 and not torch.equal(first.maps, other.maps)
    path = tmp_path / "run" / VIEWS
    path.write_bytes(path.read_bytes()[:100])
    again, encoded = encode(seed=2)
    assert encoded == 1
    assert_same(again, other)


def test_nothing_is_kept_without_a_folder(encode, tmp_path):
    encode(folder=None)
    assert not (tmp_path / "run").exists()
