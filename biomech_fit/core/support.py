"""Whether a foot bears on the floor: a hidden Markov model of stance and swing over evidence of speed and height, with a short look-ahead."""

from __future__ import annotations

from bisect import bisect_right
from math import exp, log

from biomech_fit.core.foot_motion import FootSample

_SLOPE = 3.0
"""Log-odds per natural logarithm of speed over switching speed."""
_MOST = 5.0
"""Evidence of a single instant is bounded: a swap of the feet must not decide."""
_CORRELATION_S = 0.02
"""Evidence of instants nearer than this is the same evidence."""
_STANCE_S, _SWING_S = 0.7, 0.4
"""Mean durations: the rates of leaving stance and swing (Perry & Burnfield 2010: 60 and 40 % of a stride)."""
_TOO_SOON = 0.02
"""Share of those rates within the shortest duration."""
_OTHER_SWINGS = 1.5
"""Log-odds for support while the other foot swings: in walking one foot bears."""
_CERTAIN = 4.0
"""Log-odds that need no second thought."""
_HIGH = 3.0
"""Most that height over the floor takes away: floors are not known for sure, and a foot that stays at rest stands on something."""
_HORIZON_S = 0.4
"""What comes later than this after an instant says nothing of it."""


def evidence(sample: FootSample, lift: tuple[float, float], switch_speed: float, height_gate: float, other_swings: float) -> float:
    """Log-odds of support of one instant: a heel or toe that is slow (relative to the floor) and low.

    Args:
        sample: the instant.
        lift: m, heights of heel and toe over their floors.
        switch_speed: m/s, at which a low point says nothing.
        height_gate: m, from which on height counts against support.
        other_swings: 0..1, probability that the other foot swings.
    """
    best = -_MOST
    for speed, height in zip(sample.calm_speed, lift, strict=True):
        slow = min(_SLOPE * log(switch_speed / max(speed, 1e-3)), _MOST)
        best = max(best, slow - min(max(0.0, height / height_gate - 1.0) * _HIGH, _HIGH))
    return best + _OTHER_SWINGS * other_swings


class SupportModel:
    """Filters and smooths the log-odds of support over instants on end (Rabiner 1989, for two states, in odds)."""

    def __init__(self, min_stance_s: float, min_swing_s: float) -> None:
        self._shortest = (min_swing_s, min_stance_s)
        self._times: list[float] = []
        self._evidence: list[float] = []
        self._filtered: list[float] = []
        self._rates: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self._times)

    @property
    def swings(self) -> float:
        """0..1, probability of swing at the newest instant."""
        return 1.0 / (1.0 + exp(self._filtered[-1])) if self._filtered else 0.0

    @property
    def newest(self) -> float:
        """Evidence of the newest instant; 0 without any."""
        return self._evidence[-1] if self._evidence else 0.0

    def clear(self) -> None:
        """Starts anew with even odds."""
        for values in (self._times, self._evidence, self._filtered, self._rates):
            values.clear()

    def drop(self, count: int) -> None:
        """Forgets the oldest instants."""
        for values in (self._times, self._evidence, self._filtered, self._rates):
            del values[:count]

    def add(self, t: float, log_odds: float, state: bool | None, since: float) -> None:
        """The next instant.

        Args:
            t: s.
            log_odds: its evidence.
            state: the state decided last, None = none yet.
            since: s, when it began: shortly after, it is not left again (a semi-Markov model's least durations).
        """
        dt = t - self._times[-1] if self._times else _CORRELATION_S
        weighted = log_odds * min(1.0, dt / _CORRELATION_S)
        soon = state is not None and t - since < self._shortest[state]
        leave = min(0.5, dt / _STANCE_S) * (_TOO_SOON if soon and state else 1.0)
        land = min(0.5, dt / _SWING_S) * (_TOO_SOON if soon and not state else 1.0)
        before = self._filtered[-1] if self._filtered else 0.0
        self._times.append(t)
        self._evidence.append(weighted)
        self._rates.append((leave, land))
        self._filtered.append(_carried(before, 1 - leave, land, leave, 1 - land) + weighted)

    def posterior(self, i: int) -> float:
        """Log-odds of support at instant i, given what followed it within `_HORIZON_S`; where it is certain and what follows agrees, a bound nearer to zero."""
        end = bisect_right(self._times, self._times[i] + _HORIZON_S, lo=i)
        sign = 1.0 if self._filtered[i] > 0 else -1.0
        if abs(self._filtered[i]) > _CERTAIN and min([sign * x for x in self._evidence[i + 1 : end]], default=1.0) > 0:
            return self._filtered[i]  # what follows says the same
        back = 0.0
        for k in range(end - 1, i, -1):
            leave, land = self._rates[k]
            # Likelihood of what follows, from support and from swing.
            back = _carried(back + self._evidence[k], 1 - leave, leave, land, 1 - land)
        return self._filtered[i] + back


def _carried(odds: float, a: float, b: float, c: float, d: float) -> float:
    """log((a e^odds + b) / (c e^odds + d)): log-odds through one step of a chain of two states."""
    x = exp(min(max(odds, -30.0), 30.0))
    return log((a * x + b) / (c * x + d))
