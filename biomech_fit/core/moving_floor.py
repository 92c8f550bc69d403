"""The velocity of what the feet stand on: zero over ground, that of the belt on a treadmill."""

from __future__ import annotations

from bisect import bisect
from collections import deque
from dataclasses import dataclass, field
from math import hypot

from biomech_fit.core.foot_motion import HEEL, TOE, FootSample

_SLOWEST_BELT_M_S = 0.12
"""Slower floors are taken to rest: a foot's own sway and roll are of this size."""
_ROLL_M_S = 0.30
"""Heel and toe of a foot that lies flat have the same velocity within this, and no vertical one beyond half of it."""
_LIFT_M = 0.03
_FLAT_S, _PAIR_S = 0.12, 0.05
"""How long one foot must lie flat, or points of both feet move together, to tell the floor's velocity."""
_STALE_S = 0.3
"""A foot that was not seen for so long is not known to rest, or to ride on the belt."""
_STEADY_M_S = 0.15
_LAG = 0.5
"""Share of a new reading's difference that the velocity takes over."""

_READINGS = 4000
"""Kept at most, ten minutes of a treadmill; then every second one goes, so that an offline pass knows the whole course."""

_AT_REST = (0.0, 0.0, 0.0)


@dataclass(eq=False)
class _Run:
    """Instants on end at which a velocity stayed the same."""

    start: float
    count: int
    mean: tuple[float, float]

    def join(self, v: tuple[float, float], noise: float) -> bool:
        """Adds an instant; False where it does not belong to the run."""
        if hypot(v[0] - self.mean[0], v[1] - self.mean[1]) > _STEADY_M_S + noise:
            return False
        self.count += 1
        self.mean = (self.mean[0] + (v[0] - self.mean[0]) / self.count, self.mean[1] + (v[1] - self.mean[1]) / self.count)
        return True


@dataclass(eq=False)
class MovingFloor:
    """Reads the floor's velocity from feet that move along it without rolling, lifting or speeding up.

    A single foot tells it once it has lain flat for a while and the other one does not rest; a point of each foot, moving alike (double support), tell it
    sooner.
    """

    velocity: tuple[float, float] = (0.0, 0.0)
    """m/s, horizontal; exactly zero until a belt has been seen."""
    given: list[tuple[float, float, float]] | None = None
    """(t, vx, vy) in order of time, known beforehand, which then hold; an offline pass has them from a first one."""
    moved: bool = False
    """Whether a belt has been seen."""
    readings: list[tuple[float, float, float]] = field(default_factory=list)
    """(t, vx, vy) as read so far, those at rest included."""
    _runs: dict[tuple[int, ...], _Run] = field(default_factory=dict)
    """Of single feet."""
    _pairs: dict[tuple[int, ...], _Run] = field(default_factory=dict)
    """Of a point of each foot."""
    _newest: dict[int, tuple[FootSample, tuple[float, float]]] = field(default_factory=dict)
    _past: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=8))

    def forget_feet(self) -> None:
        """After a gap: the velocity stays, what the feet were doing does not."""
        self._runs.clear()
        self._pairs.clear()
        self._newest.clear()

    def at(self, t: float) -> tuple[float, float]:
        """(2,) m/s at an instant: the nearest of the given readings, else the present velocity."""
        if not self.given:
            return self.velocity
        k = bisect(self.given, (t,))
        nearest = min(self.given[max(k - 1, 0) : k + 1], key=lambda r: abs(r[0] - t))
        return nearest[1], nearest[2]

    def course(self) -> list[tuple[float, float, float]]:
        """(t, vx, vy), what has been read in the end: medians over neighbouring readings; at rest where no belt was seen."""
        if not self.moved:
            return [_AT_REST]
        course = []
        for k, (t, _, _) in enumerate(self.readings):
            near = self.readings[max(k - 2, 0) : k + 3]
            v = (sorted(r[1] for r in near)[len(near) // 2], sorted(r[2] for r in near)[len(near) // 2])
            course.append((t, *(v if hypot(*v) >= _SLOWEST_BELT_M_S else (0.0, 0.0))))
        return course

    def observe(self, foot: int, other: int, sample: FootSample, lift: tuple[float, float]) -> bool:
        """Takes a foot's newest instant and the heights (m) of heel and toe over their floors; True when the velocity has jumped."""
        if self.given is not None:
            return False
        self._newest[foot] = (sample, lift)
        if other in self._newest and sample.t - self._newest[other][0].t > _STALE_S:
            del self._newest[other]  # where it is now, nobody knows
        v, noise = sample.calm, 3 * sample.calm_std
        flat = max(lift) < _LIFT_M and max(abs(v[0] - v[3]), abs(v[1] - v[4])) < _ROLL_M_S + noise and max(abs(v[2]), abs(v[5])) < _ROLL_M_S / 2 + noise
        middle = (0.5 * (v[0] + v[3]), 0.5 * (v[1] + v[4]))
        reading = self._extend(self._runs, (foot,), sample.t, middle if flat else None, _FLAT_S, noise)
        if reading is not None and hypot(*reading) > _SLOWEST_BELT_M_S and self._rests(other, reading):
            reading = None
        if reading is None:
            reading = self._together(foot, other)
        return reading is not None and self._take(sample.t, reading)

    @staticmethod
    def _extend(
        runs: dict[tuple[int, ...], _Run], key: tuple[int, ...], t: float, v: tuple[float, float] | None, needed_s: float, noise: float
    ) -> tuple[float, float] | None:
        """The mean velocity of a run once it is long enough; a run gives a reading each time it has lasted this long again."""
        run = runs.get(key)
        if v is None:
            if run is not None:
                del runs[key]
            return None
        if run is None or not run.join(v, noise):
            runs[key] = _Run(t, 1, v)
            return None
        if t - run.start < needed_s:
            return None
        runs[key] = _Run(t, 1, v)
        return run.mean

    def _rests(self, foot: int, v: tuple[float, float]) -> bool:
        """Whether the other foot stands on something that does not move with v: then the floor rests, and the foot that moves along it shuffles."""
        if foot not in self._newest:
            return False
        sample, lift = self._newest[foot]
        w = sample.calm
        return any(lift[p] < _LIFT_M and hypot(w[3 * p], w[3 * p + 1]) < 0.5 * hypot(*v) and abs(w[3 * p + 2]) < _ROLL_M_S for p in (HEEL, TOE))

    def _together(self, foot: int, other: int) -> tuple[float, float] | None:
        """Double support: a low point of each foot with the same velocity, well off zero."""
        if other not in self._newest:
            return None
        (a, lift_a), (b, lift_b) = self._newest[foot], self._newest[other]
        c, d = a.calm, b.calm
        slow = max(abs(c[0]), abs(c[1]), abs(c[3]), abs(c[4])) < _SLOWEST_BELT_M_S
        if slow or min(lift_a) > _LIFT_M or min(lift_b) > _LIFT_M:  # a foot rests, or is in the air
            if self._pairs:
                self._pairs.clear()
            return None
        found, noise = None, 3 * a.calm_std
        level = _ROLL_M_S / 2 + noise
        for p in (HEEL, TOE):
            for q in (HEEL, TOE):
                key = (foot, p, q)
                if lift_a[p] >= _LIFT_M or lift_b[q] >= _LIFT_M or abs(c[3 * p + 2]) >= level or abs(d[3 * q + 2]) >= level:
                    self._pairs.pop(key, None)
                    continue
                vx, vy, wx, wy = c[3 * p], c[3 * p + 1], d[3 * q], d[3 * q + 1]
                mean = (0.5 * (vx + wx), 0.5 * (vy + wy))
                speed = hypot(*mean)
                alike = speed > 2 * _SLOWEST_BELT_M_S and hypot(vx - wx, vy - wy) < 0.1 + noise + 0.05 * speed
                reading = self._extend(self._pairs, key, a.t, mean if alike else None, _PAIR_S, noise)
                found = found or reading
        return found

    def _take(self, t: float, reading: tuple[float, float]) -> bool:
        self.readings.append((t, *reading))
        if len(self.readings) > _READINGS:
            del self.readings[1::2]
        here, size = self.velocity, hypot(*reading)
        away = hypot(reading[0] - here[0], reading[1] - here[1])
        if here == (0.0, 0.0) and size < _SLOWEST_BELT_M_S:
            return False
        if away > max(_STEADY_M_S, 0.2 * hypot(*here)):
            self._past.append((t, *reading))
            agree = [r for r in self._past if t - r[0] < 1.0 and hypot(r[1] - reading[0], r[2] - reading[1]) < _STEADY_M_S]
            if here != (0.0, 0.0) and len(agree) < 3:  # a belt does not jump
                return False
            self.velocity = reading if size >= _SLOWEST_BELT_M_S else (0.0, 0.0)
            self.moved = True
            return True
        new = (here[0] + _LAG * (reading[0] - here[0]), here[1] + _LAG * (reading[1] - here[1]))
        self.velocity = new if hypot(*new) >= 0.5 * _SLOWEST_BELT_M_S else (0.0, 0.0)
        return False
