"""Random numbers that depend on their names, and on nothing else."""

import pytest
import torch

from models.random_streams import RowNoise, stream


def test_streams_are_the_same_in_every_session():
    assert stream(1, "noise", "1237651", 0).integers(2**63) == 7444743001501776310


def test_names_do_not_run_into_each_other():
    names = [
        ("1", "2"),
        ("12", ""),
        ("", "12"),
        ("1", "2", ""),
        (1, "2", "3"),
        ("1/2",),
        ("2", "1"),
    ]
    seen = {stream(*parts).integers(2**63) for parts in names}
    assert len(seen) == len(names)


def test_rows_have_the_noise_of_their_object_and_candidate():
    noise = RowNoise(1, "x", [("a", 0), ("a", 1), ("b", 0)], (2, 50))
    first, second = noise(), noise()
    assert first.shape == (3, 2, 50) and first.dtype == torch.float32
    assert len({tuple(row.flatten().tolist()) for row in torch.cat([first, second])}) == 6
    shuffled = RowNoise(1, "x", [("b", 0), ("a", 0)], (2, 50))
    assert torch.equal(shuffled(), first[[2, 0]])
    assert torch.equal(shuffled(), second[[2, 0]])
    for seed, purpose in ((2, "x"), (1, "y")):
        other = RowNoise(seed, purpose, [("a", 0)], (2, 50))()
        assert not set(other.flatten().tolist()) & set(first.flatten().tolist())


def test_row_noise_is_standard_normal():
    noise = RowNoise(0, "x", [(str(row), 0) for row in range(2000)], (1, 20))()
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    # rows are independent: the mean of a row scatters as 1/√20
    assert noise.mean(dim=2).std().item() == pytest.approx(20**-0.5, rel=0.05)
