"""Loss curves: a panel for each training, the best validation marked."""

from __future__ import annotations

import pytest

from datasets.errors import UserError
from figures.training import draw, main, tables

ROWS = "epoch,iteration,loss,validation_loss\n0,0,,3.0\n1,10,2.0,2.5\n2,20,1.5,2.2\n3,30,1.0,2.4\n"


@pytest.fixture
def run(tmp_path):
    for folder in (tmp_path / "run", tmp_path / "run" / "parameters"):
        folder.mkdir()
        (folder / "metrics.csv").write_text(ROWS)
    return tmp_path / "run"


def test_both_diffusion_models_have_a_panel_with_the_best_weights(run):
    found = tables([run])
    assert list(found) == ["run, parameters", "run"]
    axes = draw(found).axes
    assert len(axes) == 2
    training, validation, best = axes[0].lines
    assert training.get_xydata().tolist() == [[10, 2.0], [20, 1.5], [30, 1.0]]
    assert validation.get_xydata().tolist() == [[10, 2.5], [20, 2.2], [30, 2.4]]
    assert best.get_xydata().tolist() == [[20, 2.2]]


def test_a_picture_is_written(run, tmp_path):
    assert main([str(run), "--output", str(tmp_path / "losses.png")]) == 0
    assert (tmp_path / "losses.png").stat().st_size > 1000


def test_folders_without_a_training_are_refused(tmp_path):
    with pytest.raises(UserError, match="name a run directory"):
        tables([tmp_path])
