"""What the contrastive stage gives its network: views, noisier spectra, photometry."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from datasets.photometry import photometric_features
from datasets.survey import Survey
from datasets.survey_dataset import SurveyDataset
from utils.core.checkpoints import TrainedContrastive, load_contrastive
from utils.training import contrastive_task
from utils.training.contrastive_task import ContrastiveTask


def task_of(survey: Survey, towers: TrainedContrastive) -> ContrastiveTask:
    return ContrastiveTask(
        towers.network,
        towers.config,
        towers.images,
        towers.spectra,
        survey,
        towers.about,
        torch.device("cpu"),
    )


def test_photometry_is_that_of_the_images_and_computed_once(tiny_survey, tiny_towers, monkeypatch):
    survey, towers = Survey(tiny_survey), load_contrastive(tiny_towers)
    task = task_of(survey, towers)
    computed = []

    def counted(images, scale):
        computed.append(len(images))
        return photometric_features(images, scale)

    monkeypatch.setattr(contrastive_task, "photometric_features", counted)
    galaxies = SurveyDataset(survey, survey.indices("train"))
    for places, new in (([3, 1, 4], 3), ([1, 5, 3], 1), ([5, 4], 0)):
        computed.clear()
        batch = galaxies[torch.tensor(places)]
        _, _, photometry = task.prepare(batch, torch.Generator().manual_seed(1))
        expected = photometric_features(batch["image"], survey.pixel_scale_arcsec)
        torch.testing.assert_close(photometry, expected, rtol=0, atol=1e-5)
        assert sum(computed) == new


@pytest.mark.parametrize(("smoothing", "correlation"), [(2.0, 0.94), (1.0, 0.78), (0.0, 0.0)])
def test_noise_is_smoothed_like_the_spectra(tiny_survey, tiny_towers, smoothing, correlation):
    survey, towers = Survey(tiny_survey), load_contrastive(tiny_towers)
    survey.preparation = replace(survey.preparation, smoothing_sigma_angstrom=smoothing)
    batch = SurveyDataset(survey, survey.indices("train"))[torch.arange(8)]
    task = task_of(survey, towers)
    _, spectra, _ = task.prepare(batch, torch.Generator().manual_seed(1))
    noise = towers.spectra.decode(spectra) - batch["spectrum"]  # (8, n)
    product = (noise[:, 1:] * noise[:, :-1]).sum() / noise.square().sum()
    assert product.item() == pytest.approx(correlation, abs=0.03)


def test_towers_without_photometry_train_and_validate_on_images_alone(
    tiny_survey, tiny_towers, monkeypatch
):
    survey, towers = Survey(tiny_survey), load_contrastive(tiny_towers)
    with_photometry = task_of(survey, towers).validate(towers.network)
    towers.network.photometry_encoder = None
    monkeypatch.delattr(contrastive_task, "photometric_features")  # is not computed
    task = task_of(survey, towers)
    batch = SurveyDataset(survey, survey.indices("train"))[torch.arange(4)]
    prepared = task.prepare(batch, torch.Generator().manual_seed(1))
    assert prepared[2] is None and torch.isfinite(task.objective(*prepared))
    assert task.validate(towers.network)["validation_loss"] != with_photometry["validation_loss"]
