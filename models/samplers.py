"""From noise to spectra: the reverse process.

`Sampler` owns the loop over falling times t -> s; a sampler is a choice of times and one `step`.
The last step ends at the clean spectrum, ᾱ = 1. With α = √ᾱ, σ = √(1 - ᾱ) at t and at s, and the
estimates ε̂ and x̂ of noise and clean spectrum at t:

- ancestral (Ho et al. 2020, arXiv 2006.11239, algorithm 2, σ² = β):
  x_s = (x_t - β_t/σ_t ε̂)/√(1 - β_t) + √β_t z;
- DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 with σ = 0):
  x_s = α_s x̂ + σ_s ε̂;
- Adams-Bashforth 2 in the angle φ = arctan(σ/α), in which x_φ = cos φ x_0 + sin φ ε, so that the
  probability-flow ODE reads dx/dφ = v̂ with the velocity v̂ = α ε̂ - σ x̂ (Salimans & Ho 2022,
  arXiv 2202.00512, appendix D):
  x_s = x_t - h [ v̂ + (v̂ - v̂_previous)/(2r) ],   h = φ_t - φ_s,   r = h_previous/h,
  of first order, v̂ alone in the bracket, in its first step. For standard normal data v̂ = 0: with
  any number of steps, none of their variance is lost;
- DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2), λ = log(α/σ), h = λ_s - λ_t:
  x_s = (σ_s/σ_t) x_t + α_s (1 - e^{-h}) [ x̂ + (x̂ - x̂_previous)/(2r) ],   r = h_previous/h,
  of first order, x̂ alone in the bracket, in its first and last step.

`StationaryNoise` ignores the network, to compare with.

DDIM and DPM-Solver++ are exact for data without variance. With few steps, standardised data come
out too narrow even with a perfect network: N steps of DDIM shrink them by about cos(π/2N)ᴺ.

Shapes: B spectra, C channels, L pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.diffusion import NoiseSchedule


@dataclass(frozen=True)
class Level:
    """One noise level on the way down; all scalars ()."""

    signal: Tensor  # α = √ᾱ
    spread: Tensor  # σ = √(1 - ᾱ)
    beta: Tensor  # β, of the step of the full chain that leaves this level

    @property
    def log_ratio(self) -> Tensor:
        """λ = log(α/σ), half the logarithm of the signal-to-noise ratio."""
        return self.signal.log() - self.spread.log()

    @property
    def angle(self) -> Tensor:
        """φ = arctan(σ/α), from π/2 (noise) to 0 (clean)."""
        return torch.atan2(self.spread, self.signal)


@dataclass(frozen=True)
class SamplerState:
    """The input of a step.

    Args:
        x: x_t (B, C, L).
        noise, clean: the network's estimates ε̂ and x̂ at t (B, C, L).
        now, then: the levels t and s.
        past: the input of the step before, itself without past; None in the first step.
        fresh_noise: returns standard normal noise (B, C, L).
    """

    x: Tensor
    noise: Tensor
    clean: Tensor
    now: Level
    then: Level
    past: "SamplerState | None"
    fresh_noise: Callable[[], Tensor]

    @property
    def velocity(self) -> Tensor:
        """v̂ (B, C, L)."""
        return self.now.signal * self.noise - self.now.spread * self.clean


class Sampler(ABC):
    """The loop over falling times; subclasses choose the times and make one step."""

    @abstractmethod
    def times(self, total: int) -> list[int]:
        """Falling times, from `total` - 1, of a schedule of `total` steps."""

    @abstractmethod
    def step(self, state: SamplerState) -> Tensor:
        """x_s (B, C, L)."""

    @torch.no_grad()
    def sample(
        self,
        estimate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        schedule: NoiseSchedule,
        start: Tensor,
        fresh_noise: Callable[[], Tensor],
    ) -> Tensor:
        """Clean spectra from noise.

        Args:
            estimate: (x_t (B, C, L), t (B,)) -> (ε̂, x̂), (B, C, L) each.
            schedule: the schedule that the network was trained with.
            start: standard normal noise (B, C, L).
            fresh_noise: returns standard normal noise (B, C, L), on any device, at each call.

        Returns:
            (B, C, L).

        Raises:
            ValueError: more steps are asked for than the schedule has.
        """

        def noise_here() -> Tensor:
            return fresh_noise().to(start)

        times = self.times(schedule.steps)
        levels = [*(_level(schedule, t) for t in times), _clean_level(schedule)]
        x, past = start, None
        for index, t in enumerate(times):
            now, then = levels[index], levels[index + 1]
            noise, clean = estimate(x, torch.full((len(x),), t, device=x.device))
            state = SamplerState(x, noise, clean, now, then, past, noise_here)
            x, past = self.step(state), replace(state, past=None)
        return x


def _level(schedule: NoiseSchedule, t: int) -> Level:
    kept = schedule.alphas_cumulative[t]
    return Level(kept.sqrt(), (1 - kept).sqrt(), schedule.betas[t])


def _clean_level(schedule: NoiseSchedule) -> Level:
    zero = torch.zeros_like(schedule.betas[0])
    return Level(zero + 1, zero, zero)


def uniform_times(steps: int, total: int) -> list[int]:
    """`steps` falling times, evenly spaced, from `total` - 1 down to about `total`/`steps` - 1.

    Raises:
        ValueError: `steps` is not in 1 ... `total`.
    """
    if not 1 <= steps <= total:
        raise ValueError(f"{steps} sampling steps: the schedule allows 1 to {total}")
    return [round(total - index * total / steps) - 1 for index in range(steps)]


@dataclass(frozen=True)
class Ancestral(Sampler):
    """The full chain with σ² = β, as published."""

    def times(self, total: int) -> list[int]:
        """Every time of the schedule."""
        return list(range(total - 1, -1, -1))

    def step(self, state: SamplerState) -> Tensor:
        """One step of the chain; the last adds no noise."""
        beta = state.now.beta
        mean = (state.x - beta / state.now.spread * state.noise) / (1 - beta).sqrt()
        return mean + beta.sqrt() * state.fresh_noise() if state.then.spread > 0 else mean


@dataclass(frozen=True)
class FewSteps(Sampler):
    """Deterministic samplers with times that are evenly spaced in t.

    Args:
        steps: number of steps, 1 to T.
    """

    steps: int = 20

    def times(self, total: int) -> list[int]:
        """Evenly spaced times."""
        return uniform_times(self.steps, total)


class DDIM(FewSteps):
    """First order in x̂ and ε̂."""

    def step(self, state: SamplerState) -> Tensor:
        """Back to the estimated clean spectrum, and out again to the next level."""
        return state.then.signal * state.clean + state.then.spread * state.noise


class AdamsBashforth2(FewSteps):
    """Adams-Bashforth 2 in the angle: second order in v̂."""

    def step(self, state: SamplerState) -> Tensor:
        """One step; two velocities extrapolate the velocity along φ."""
        ahead, velocity = state.now.angle - state.then.angle, state.velocity
        if state.past is not None:
            behind = state.past.now.angle - state.now.angle
            velocity = velocity + ahead / (2 * behind) * (velocity - state.past.velocity)
        return state.x - ahead * velocity


class DPMSolverPP2M(FewSteps):
    """DPM-Solver++(2M): second order in x̂."""

    def step(self, state: SamplerState) -> Tensor:
        """One step; two estimates extrapolate the clean spectrum along λ."""
        now, then, clean = state.now, state.then, state.clean
        if then.spread == 0:
            return clean
        if state.past is not None:
            ahead = then.log_ratio - now.log_ratio
            behind = now.log_ratio - state.past.now.log_ratio
            clean = clean + ahead / (2 * behind) * (clean - state.past.clean)
        shrink = then.spread / now.spread
        return shrink * state.x + (then.signal - shrink * now.signal) * clean


class StationaryNoise(Sampler):
    """The noise at the start, whatever the network estimates: the prior colours it with the mean
    power of the residuals along wavelength (`models.whitening`)."""

    def times(self, total: int) -> list[int]:
        """None: the network is not evaluated."""
        return []

    def step(self, state: SamplerState) -> Tensor:
        """Never called, as there are no times."""
        return state.x
