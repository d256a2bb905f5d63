"""What a network is told: nothing of what it is to leave free."""

import torch

from datasets.survey import Survey
from utils.known import of_catalogue


def test_a_property_that_is_left_free_is_not_seen(tiny_survey):
    survey = Survey(tiny_survey)
    both, noise_alone = of_catalogue(survey), of_catalogue(survey, ["snr"])
    assert torch.isfinite(both).all()
    assert noise_alone[:, 0].isnan().all()
    assert torch.equal(noise_alone[:, 1], both[:, 1])
