"""Samplers against an independent implementation and against a problem with a known answer.

The ideal network for data N(μ, s²) is known in closed form, so that mean and spread of the samples
have an exact target.
"""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from models.diffusion import NoiseSchedule
from models.samplers import DDIM, AdamsBashforth2, Ancestral, DPMSolverPP2M, uniform_times

SHAPE = (4096, 1, 8)  # 32768 numbers: the spread is known to 0.4 %, the mean to 0.6 % of it
MEAN = 0.7


def gaussian(schedule, spread):
    """The ideal estimates of ε and x_0 for data N(MEAN, spread²)."""

    def estimate(x, t):
        signal, sigma = schedule.scales(t)
        gain = spread**2 * signal / (spread**2 * signal**2 + sigma**2)
        clean = MEAN + gain * (x - signal * MEAN)
        return (x - signal * clean) / sigma, clean

    return estimate


def normal(seed=0, shape=SHAPE):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=generator)


def sample(sampler, spread, schedule=None, draw=None):
    schedule, start = schedule or NoiseSchedule(), normal()
    return sampler.sample(gaussian(schedule, spread), schedule, start(), draw or normal(1))


@pytest.mark.parametrize(
    ("sampler", "spread", "tolerance"),
    [
        (Ancestral(), 1.0, 0.02),
        (Ancestral(), 0.5, 0.02),
        (Ancestral(), 0.05, 0.03),
        (DDIM(250), 1.0, 0.02),
        (DDIM(50), 1.0, 0.03),
        (DPMSolverPP2M(20), 1.0, 0.02),
        (DPMSolverPP2M(20), 0.5, 0.02),
        (DPMSolverPP2M(10), 1.0, 0.03),
        (AdamsBashforth2(5), 1.0, 0.01),
        (AdamsBashforth2(10), 1.0, 0.01),
        (AdamsBashforth2(10), 0.5, 0.03),
    ],
    ids=str,
)
def test_a_gaussian_comes_out_with_its_mean_and_its_spread(sampler, spread, tolerance):
    x = sample(sampler, spread)
    assert x.mean().item() == pytest.approx(MEAN, abs=0.02 * spread)
    assert x.std().item() == pytest.approx(spread, rel=tolerance)


@pytest.mark.parametrize("sampler", [DDIM(50), DPMSolverPP2M(20), AdamsBashforth2(20)], ids=str)
def test_few_steps_make_narrow_data_too_narrow(sampler):
    """The reason for standardised data, and a control: the test above can fail."""
    assert sample(sampler, 0.05).std().item() < 0.8 * 0.05


def test_adams_bashforth_is_of_second_order():
    """Twice the steps, a quarter of the error: not so for a sampler of first order."""
    exact = sample(AdamsBashforth2(250), 0.5, NoiseSchedule(steps=1000))
    for sampler, low, high in ((AdamsBashforth2, 3, 6), (DDIM, 1.5, 2.5)):
        errors = [
            (sample(sampler(steps), 0.5, NoiseSchedule(steps=1000)) - exact).square().mean().sqrt()
            for steps in (20, 40)
        ]
        assert low < errors[0] / errors[1] < high, sampler


def test_the_chain_without_its_noise_loses_the_spread():
    x = sample(Ancestral(), 1.0, draw=lambda: torch.zeros(SHAPE))
    assert x.std().item() < 0.1
    assert x.mean().item() == pytest.approx(MEAN, abs=0.02)


def test_linear_schedules_work_too():
    x = sample(Ancestral(), 1.0, NoiseSchedule("linear", 250))
    assert x.std().item() == pytest.approx(1.0, rel=0.02)


def toy_prediction(x, t):
    """A smooth stand-in for a network; no schedule knows it."""
    return 0.8 * torch.sin(2 * x) + 0.1 * torch.cos(t / 40)[:, None, None]


def reference(scheduler_class, prediction, **options):
    return scheduler_class(
        num_train_timesteps=250,
        beta_schedule="squaredcos_cap_v2",
        prediction_type={"noise": "epsilon", "velocity": "v_prediction"}[prediction],
        **options,
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs
@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize(
    ("sampler", "scheduler_class", "options", "step_options"),
    [
        (
            Ancestral(),
            DDPMScheduler,
            {"variance_type": "fixed_large", "clip_sample": False},
            {},
        ),
        (
            DDIM(25),
            DDIMScheduler,
            {"timestep_spacing": "trailing", "clip_sample": False},
            {},
        ),
        (
            DPMSolverPP2M(20),
            DPMSolverMultistepScheduler,
            {"timestep_spacing": "trailing", "final_sigmas_type": "zero"},
            {},
        ),
    ],
    ids=str,
)
def test_trajectories_are_those_of_an_independent_implementation(
    sampler, scheduler_class, options, step_options, prediction
):
    shape, schedule = (3, 1, 40), NoiseSchedule("cosine", 250)
    path = []

    def estimate(x, t):
        path.append(x)
        convert = schedule.from_noise if prediction == "noise" else schedule.from_velocity
        return convert(toy_prediction(x, t), x, t)

    start = normal(shape=shape)()
    end = sampler.sample(estimate, schedule, start, normal(7, shape))

    scheduler = reference(scheduler_class, prediction, **options)
    scheduler.set_timesteps(getattr(sampler, "steps", 250))
    x, generator, theirs = start, torch.Generator().manual_seed(7), []
    for t in scheduler.timesteps:
        theirs.append(x)
        output = toy_prediction(x, t.expand(len(x)))
        if not isinstance(sampler, DPMSolverPP2M):
            step_options = {**step_options, "generator": generator}
        x = scheduler.step(output, t, x, **step_options).prev_sample
    assert len(path) == len(theirs)
    # Both work in float32 and take their differences in another order.
    torch.testing.assert_close(torch.stack(path), torch.stack(theirs), rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(end, x, rtol=2e-3, atol=2e-3)


def test_times_are_even_and_end_above_the_clean_spectrum():
    assert uniform_times(5, 250) == [249, 199, 149, 99, 49]
    assert uniform_times(250, 250) == Ancestral().times(250)
    assert uniform_times(1, 250) == [249]


@pytest.mark.parametrize("steps", [0, 251])
def test_impossible_numbers_of_steps_are_refused(steps):
    with pytest.raises(ValueError, match="1 to 250"):
        DDIM(steps).times(250)
