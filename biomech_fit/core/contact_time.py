"""The moment of a contact or its end, between the samples: several cues of the foot's speed, each with its own offset and spread, weighed together.

A cue is the crossing of a share of the swing's greatest speed, so that it holds for tall and small, fast and slow people. Offsets are in units of the ramp:
the time in which the foot would come from that speed to rest (or back) at the rate it has there. `benchmark/gait_events.py` measures offsets and spreads on
labelled walks. Speeds are relative to the floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

from biomech_fit.core.foot_motion import FootSample

_SEARCH_S = 0.25
_RAMP_S = (0.04, 0.40)
"""Bounds of the ramp; people's walks have 0.11 to 0.16 s."""
_USUAL_RAMP_S = 0.135
_LEAST_GAIN = 0.2
_NOISE = 2.0
"""Times the noise of a velocity that residuals tell: errors of a fitted body go on for several frames."""
_GUESS = 0.3
"""Standard deviation of a guessed swing speed as a share of it: people who walk at 0.6 of their speed are guessed a third too fast."""


@dataclass(frozen=True)
class Cue:
    """Crossing of `share` of the swing's speed by a speed of the foot."""

    share: float
    speed: Callable[[FootSample], float]
    offset: float
    """Crossing minus event, in ramps, for speeds that are not smoothed."""
    weight: float


@dataclass(frozen=True)
class EventModel:
    """Cues of one kind of event."""

    cues: tuple[Cue, ...]
    slope_shares: tuple[float, float]
    """Between these shares of the swing's speed the slope is read."""
    slope_speed: Callable[[FootSample], float]
    rounding: float
    """What smoothing adds to the offset: the bend at the event is rounded, by this times a power of (smoothing length / ramp)."""
    rounding_power: int
    """A foot lands with a kink, and leaves smoothly: of smooth curves a cubic leaves out the fourth power."""
    model_std: float
    """Ramps: what remains with perfect kinematics, from person to person and step to step."""
    rising: bool


def _slowest(sample: FootSample) -> float:
    return sample.slowest


def _middle(sample: FootSample) -> float:
    return sample.middle


def _slowest_in_space(sample: FootSample) -> float:
    return min(sample.speed)


LANDING = EventModel(
    cues=(Cue(0.15, _slowest, -0.155, 1.0), Cue(0.25, _slowest, -0.26, 0.5), Cue(0.20, _middle, -0.195, 1.0)),
    slope_shares=(0.15, 0.35),
    slope_speed=_slowest,
    rounding=0.12,
    rounding_power=2,
    model_std=0.1,
    rising=False,
)
LEAVING = EventModel(
    cues=(Cue(0.20, _slowest, -0.026, 1.0), Cue(0.28, _slowest, 0.064, 1.0), Cue(0.30, _slowest_in_space, 0.049, 1.0)),
    slope_shares=(0.20, 0.40),
    slope_speed=_slowest,
    rounding=-0.082,
    rounding_power=4,
    model_std=0.055,
    rising=True,
)


@dataclass(eq=False)
class Ramp:
    """A foot's ramp, learned from event to event: a single reading is as noisy as people differ."""

    length_s: float = _USUAL_RAMP_S
    readings: int = 0

    def read(self, length_s: float) -> None:
        """Takes one more reading."""
        self.readings += 1
        gain = max(_LEAST_GAIN, 1 / (self.readings + 1))
        self.length_s += gain * (min(max(length_s, _RAMP_S[0]), _RAMP_S[1]) - self.length_s)


def event_time(
    model: EventModel, samples: Sequence[FootSample], i: int, swing_speed: float, smoothing_s: float, ramp: Ramp, known_speed: bool = True
) -> tuple[float, float] | None:
    """Time and standard deviation (s); None where no crossing is among the samples.

    Args:
        model: LANDING or LEAVING.
        samples: the foot's instants in order of time.
        i: an instant near the event.
        swing_speed: m/s, greatest horizontal speed of the swing.
        smoothing_s: s, length of the polynomials behind the speeds.
        ramp: of this foot's events of this kind; learns from this one.
        known_speed: the person's swings have been seen, this one or earlier ones.
    """
    first, last = (_crossing(samples, i, model.slope_speed, share * swing_speed, model.rising) for share in model.slope_shares)
    if first is not None and last is not None:
        ramp.read(abs(last - first) / (model.slope_shares[1] - model.slope_shares[0]))
    rounding = model.rounding * (smoothing_s / ramp.length_s) ** model.rounding_power
    found, weights = [], []
    for cue in model.cues:
        t = _crossing(samples, i, cue.speed, cue.share * swing_speed, model.rising)
        if t is not None:
            found.append(t - (cue.offset + rounding) * ramp.length_s)
            weights.append(cue.weight)
    if not found:
        return None
    t = _mean(found, weights)
    scatter = _mean([(x - t) ** 2 for x in found], weights) if len(found) > 1 else (0.2 * ramp.length_s) ** 2
    noise = _NOISE * samples[i].velocity_std * ramp.length_s / swing_speed
    guess = 0.0 if known_speed else _GUESS * _mean([cue.share for cue in model.cues], [cue.weight for cue in model.cues]) * ramp.length_s
    return t, sqrt((model.model_std * ramp.length_s) ** 2 + noise**2 + 0.5 * scatter + guess**2)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(w * x for w, x in zip(weights, values, strict=True)) / sum(weights)


def _crossing(samples: Sequence[FootSample], i: int, speed: Callable[[FootSample], float], level: float, rising: bool) -> float | None:
    """Time of the crossing of `level` nearest to instant i, looked for on the side on which it must be."""
    begin = samples[i].t
    beyond = (speed(samples[i]) >= level) == rising
    step = -1 if beyond else 1
    k = i
    while 0 <= k + step < len(samples) and abs(samples[k + step].t - begin) < _SEARCH_S:
        here, there = speed(samples[k]), speed(samples[k + step])
        k += step
        if ((there >= level) == rising) != beyond:
            share = (level - here) / (there - here) if there != here else 0.5
            return samples[k - step].t + share * (samples[k].t - samples[k - step].t)
    return None
