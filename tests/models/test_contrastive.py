"""NT-Xent in closed form, retrieval with known answers, and the noise that hides noise."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from models.contrastive import (
    ContrastiveModel,
    PhotometryEncoder,
    add_noise,
    best_first,
    nt_xent,
    recall_at,
    retrieval_ranks,
)


def unit_vectors(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("pairs", [2, 7])
def test_a_constant_network_loses_log_of_all_others(pairs):
    constant = torch.full((pairs, 4), 0.5)
    assert nt_xent(constant, constant).item() == pytest.approx(math.log(2 * pairs - 1), rel=1e-6)


def test_orthogonal_pairs_have_the_closed_form():
    pairs, temperature = 5, 0.5
    a = torch.eye(pairs)
    expected = -math.log(math.exp(2) / (math.exp(2) + 2 * pairs - 2))
    assert nt_xent(a, a, temperature).item() == pytest.approx(expected, rel=1e-6)


def test_the_loss_is_its_definition():
    a, b = unit_vectors(6, 3), unit_vectors(6, 3, seed=1)
    z, loss = torch.cat([a, b]).double(), 0.0
    for i in range(12):
        others = [k for k in range(12) if k != i]
        exponents = torch.exp(z[others] @ z[i] / 0.05)
        loss -= torch.log(torch.exp(z[(i + 6) % 12] @ z[i] / 0.05) / exponents.sum()) / 12
    assert nt_xent(a, b).item() == pytest.approx(loss.item(), rel=1e-5)


def test_a_small_temperature_does_not_overflow():
    a = unit_vectors(4, 8).requires_grad_()
    loss = nt_xent(a, unit_vectors(4, 8, seed=1), 1e-3)
    loss.backward()
    assert loss.isfinite()
    assert a.grad.isfinite().all()


def test_mixed_precision_leaves_the_loss_exact():
    a, b = unit_vectors(64, 128), unit_vectors(64, 128, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = nt_xent(a, b)
    assert mixed == nt_xent(a, b)


def _gradient_of_one_rank(rank, folder, gather):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    half = slice(3 * rank, 3 * rank + 3)
    a = unit_vectors(6, 4)[half].requires_grad_()
    loss = nt_xent(a, unit_vectors(6, 4, seed=1)[half], gather=gather)
    loss.backward()
    torch.save([loss.detach(), a.grad], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_loss_and_the_gradient_of_one(tmp_path):
    a = unit_vectors(6, 4).requires_grad_()
    loss = nt_xent(a, unit_vectors(6, 4, seed=1))
    loss.backward()
    torch.multiprocessing.spawn(_gradient_of_one_rank, (str(tmp_path), True), nprocs=2)
    losses, gradients = zip(*(torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)), strict=True)
    torch.testing.assert_close(torch.stack(losses), loss.detach().expand(2))
    # Gradients are averaged over processes, so each holds twice its part of the whole batch's.
    torch.testing.assert_close(torch.cat(gradients) / 2, a.grad)


@pytest.mark.slow
def test_without_gathering_a_process_sees_its_own_pairs_only(tmp_path):
    torch.multiprocessing.spawn(_gradient_of_one_rank, (str(tmp_path), False), nprocs=2)
    loss, _ = torch.load(tmp_path / "0.pt")
    torch.testing.assert_close(
        loss, nt_xent(unit_vectors(6, 4)[:3], unit_vectors(6, 4, seed=1)[:3])
    )


def test_both_towers_end_in_unit_vectors():
    model = ContrastiveModel(nn.Flatten(), nn.Flatten())
    images, spectra = model(torch.randn(3, 1, 2, 4), torch.randn(3, 1, 8))
    torch.testing.assert_close(images.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(spectra.norm(dim=1), torch.ones(3))


def test_photometry_adds_to_the_vectors_of_images():
    torch.manual_seed(0)
    model = ContrastiveModel(nn.Flatten(), nn.Flatten(), PhotometryEncoder(3, 8))
    images, photometry = torch.randn(16, 1, 2, 4), 17 + 2 * torch.randn(16, 3)
    for _ in range(60):  # the mean and the σ that it standardises with settle
        model(images, images.flatten(1), photometry)
    model.eval()
    embedding = F.normalize(images.flatten(1), dim=1)
    added = model.photometry_encoder(photometry)
    vectors, _ = model(images, images.flatten(1), photometry)
    torch.testing.assert_close(vectors, F.normalize(embedding + added, dim=1))
    torch.testing.assert_close(vectors, model.with_photometry(embedding, photometry))
    # other units of the photometry are learned, and one galaxy is what it is among others
    standardised = model.photometry_encoder[0](photometry)
    torch.testing.assert_close(standardised.mean(0), torch.zeros(3), atol=0.05, rtol=0)
    torch.testing.assert_close(standardised.std(0), torch.ones(3), atol=0.05, rtol=0)
    alone = model.with_photometry(embedding[:1], photometry[:1])
    torch.testing.assert_close(alone, vectors[:1])


def test_without_a_photometry_encoder_images_alone_count():
    model = ContrastiveModel(nn.Flatten(), nn.Flatten())
    embedding = F.normalize(torch.randn(3, 8), dim=1)
    assert torch.equal(model.with_photometry(embedding, torch.randn(3, 5)), embedding)


def test_noise_has_the_level_asked_for_and_the_smoothing_of_spectra():
    flux, generator = torch.ones(400, 2000), torch.Generator().manual_seed(0)
    noise = add_noise(flux, generator, (0.1, 0.3)) - 1
    levels = noise.std(dim=1)
    assert levels.min().item() == pytest.approx(0.1, abs=0.02)
    assert levels.max().item() == pytest.approx(0.3, abs=0.02)
    assert levels.mean().item() == pytest.approx(0.2, abs=0.01)  # uniform, error 0.003
    # White noise smoothed with σ = 2 px is correlated as exp(-lag²/(4σ²)).
    unit = noise / levels[:, None]
    correlation = (unit[:, 2:] * unit[:, :-2]).mean().item()
    assert correlation == pytest.approx(math.exp(-4 / 16), abs=0.01)


def test_noise_can_be_white_and_can_be_absent():
    flux = torch.ones(50, 1000)
    white = add_noise(flux, torch.Generator().manual_seed(0), (0.2, 0.2), smoothing_px=0) - 1
    assert white.std().item() == pytest.approx(0.2, rel=0.02)
    assert (white[:, 1:] * white[:, :-1]).mean().abs().item() < 1e-3
    assert torch.equal(add_noise(flux, torch.Generator(), (0.0, 0.0)), flux)
    assert torch.equal(flux, torch.ones(50, 1000))


def test_partners_are_found_where_they_are():
    a = unit_vectors(20, 64)
    assert (retrieval_ranks(a, a) == 0).all()
    queries = torch.eye(3)
    pool = F.normalize(torch.tensor([[1.0, 0, 0], [0, 1, 2], [0, 2, 1]]), dim=1)
    assert retrieval_ranks(queries, pool).tolist() == [0, 1, 1]


def test_ranks_do_not_depend_on_the_rows_held_at_a_time(monkeypatch):
    a, b = unit_vectors(50, 4), unit_vectors(50, 4, seed=1)
    whole = retrieval_ranks(a, b)
    monkeypatch.setattr("models.contrastive.RETRIEVAL_ROWS", 7)
    assert torch.equal(retrieval_ranks(a, b), whole)


def test_constant_and_broken_networks_rank_last():
    constant = torch.full((10, 4), 0.5)
    assert (retrieval_ranks(constant, constant) == 9).all()
    assert (retrieval_ranks(constant * torch.nan, constant) == 9).all()


def test_recall_counts_ranks_below_k():
    ranks = torch.tensor([0, 0, 3, 9])
    assert [recall_at(ranks, k) for k in (1, 4, 10)] == [0.5, 0.75, 1.0]


def test_the_most_similar_candidates_come_first_and_nan_never_wins():
    scores = torch.tensor([[0.6, torch.nan, 0.8], [0.8, 0.0, 0.6]])
    assert best_first(scores).tolist() == [[2, 0, 1], [0, 2, 1]]
