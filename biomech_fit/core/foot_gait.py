"""One foot's stances and swings, and the events between them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from biomech_fit.core.contact_time import LANDING, LEAVING, Ramp, event_time
from biomech_fit.core.floor_height import FloorHeight
from biomech_fit.core.foot_motion import HEEL, TOE, FootMotion, FootSample
from biomech_fit.core.moving_floor import MovingFloor
from biomech_fit.core.support import SupportModel, evidence

if TYPE_CHECKING:
    from biomech_fit.core.gait import GaitSettings

_KEPT = 400
"""Instants kept; half of them go when there are as many again."""
_IMPOSSIBLE_M_S = 15.0
UNSEEN_S = 0.3
"""What was said of a foot that has not been seen for so long says nothing of now."""
_SWITCH_SHARE = 0.2
_SWITCH_M_S = (0.15, 0.6)
"""The speed at which support is as likely as swing: a share of the person's swing speed, within bounds, so that a short step after long ones is seen."""
_FIRST_SWITCH_M_S = 0.35
_SURE = 0.7
"""Log-odds from which on a first state is believed."""
_FLOOR_RATE = 1.0
"""Per second: how fast the floor's height follows a resting foot upwards; downwards at once."""
_EXPECTED_SHARES = (0.40, 0.32)
"""Share of the swing's greatest speed that a foot has usually, and surely, reached soon after its leaving: so the swing of a short step is told from that
of a long one, and that of a slow person from what most people do while no whole swing has been seen."""
_SOON_S = 0.065
_WHOLE_SWING_S = 0.25
"""With this much of a swing in view its greatest speed is known."""
_USUAL_SWING_M_S = 3.3
_UNSEEN_FACTOR = 2.0
"""A swing whose beginning was not seen had the usual greatest speed, but not more than this times what was seen; and it went further by as much."""
_RIDE_S, _RIDE_M = 0.5, 0.04
"""So long after landing, and so low, a foot that goes back may ride on a belt."""
_CALM = 1.0
"""Evidence for the present state from which on no change of it is near."""
_COARSE_STD_S = 0.04
"""Of an event without crossings."""


@dataclass(frozen=True, eq=False)
class RawEvent:
    """A contact that begins (initial) or ends. Time in seconds of the foot's clock, position in axes whose third is the vertical."""

    t: float
    initial: bool
    position: np.ndarray
    time_std_s: float
    confidence: float


class FootGait:
    """`update` takes heel and toe in increasing time and gives the events that are decided.

    Args:
        index: 0 left, 1 right.
        settings: the detector's.
        floor: what both feet stand on.
        height: how high that is.
        look_ahead_s: how much of the future a decision waits for.
    """

    def __init__(self, index: int, settings: GaitSettings, floor: MovingFloor, height: FloorHeight, look_ahead_s: float) -> None:
        self._index, self._s, self._floor, self._height, self._look_ahead = index, settings, floor, height, look_ahead_s
        self._motion = FootMotion(settings.smoothing_s)
        self._model = SupportModel(settings.min_stance_s, settings.min_swing_s)
        self._other: FootGait | None = None
        self.swing_speed: float | None = None
        """m/s, running mean of the swings' greatest speeds."""
        self._swing_speed_sure = False
        self._ramps = {True: Ramp(), False: Ramp()}
        self._last_event = [-np.inf, -np.inf]
        self._forget()

    def meet(self, other: FootGait) -> None:
        """Names the other foot."""
        self._other = other

    def _forget(self) -> None:
        self._samples: list[FootSample] = []
        self._restart()

    def _restart(self) -> None:
        """Decides anew from the oldest instant kept."""
        self._model.clear()
        self._decided = 0
        self.in_contact: bool | None = None
        self._since = -np.inf
        self._rest: FootSample | None = None
        self._left: int | None = None
        self._swing_way: tuple[float, float] | None = None

    def know(self, past: FootGait) -> None:
        """Takes over what an earlier pass over the same walk has learned of the foot."""
        self.swing_speed, self._swing_speed_sure, self._ramps = past.swing_speed, past._swing_speed_sure, past._ramps

    @property
    def swings(self) -> float:
        """0..1, probability of swing at the newest instant."""
        return self._model.swings

    def is_seen(self, t: float) -> bool:
        """Whether it was seen of late."""
        return self._motion.newest is not None and t - self._motion.newest < UNSEEN_S

    @property
    def settled(self) -> bool:
        """Whether the newest instant bears out the state that was decided last, and no leaving is being waited for."""
        if self.in_contact is None or (self.in_contact and self._left is not None):
            return False
        return self._model.newest > _CALM if self.in_contact else self._model.newest < -_CALM

    def update(self, t: float, heel: Sequence[float], toe: Sequence[float]) -> list[RawEvent]:
        """Takes the next heel and toe (3,) m at t (s)."""
        newest = self._motion.newest
        if newest is not None and t - newest > self._s.max_gap_s:
            self._lose()
        return self._take(self._motion.add(t, heel, toe))

    def finish(self) -> list[RawEvent]:
        """The end of a recording: what is left, decided with what there is."""
        events = self._take(self._motion.rest())
        return events + self._decide(np.inf)

    def _lose(self) -> None:
        self._motion.clear()
        self._forget()
        self._floor.forget_feet()

    def _take(self, new: list[FootSample]) -> list[RawEvent]:
        events = []
        for sample in new:
            if max(map(abs, sample.velocity)) > _IMPOSSIBLE_M_S:  # the fit jumped, or the feet were swapped
                self._forget()
                continue
            if len(self._samples) >= 2 * _KEPT:
                self._drop(_KEPT)
            self._samples.append(sample)
            sample.relate(self._floor.at(sample.t))
            higher = self._height.observe(self._index, sample)
            self._add(sample)
            if self._floor.observe(self._index, 1 - self._index, sample, self._lift(sample)) or higher:
                self._look_again()
                if self._other is not None:
                    self._other._look_again()
            events += self._decide(sample.t - self._look_ahead)
        return events

    def _look_again(self) -> None:
        """All instants kept, with the floor's new velocity or height."""
        self._restart()
        for sample in self._samples:
            sample.relate(self._floor.at(sample.t))
        for sample in self._samples:
            self._add(sample)

    def _drop(self, count: int) -> None:
        del self._samples[:count]
        self._model.drop(count)
        self._decided = max(0, self._decided - count)  # less than that was decided where all is decided anew
        if self._left is not None:
            self._left = max(0, self._left - count)

    def _lift(self, sample: FootSample) -> tuple[float, float]:
        return self._height.lifts(self._index, sample)

    def _add(self, sample: FootSample) -> None:
        speed = self._usual_speed()
        switch = _FIRST_SWITCH_M_S if speed is None else min(max(_SWITCH_SHARE * speed, _SWITCH_M_S[0]), _SWITCH_M_S[1])
        other = self._other.swings if self._other is not None and self._other.is_seen(sample.t) else 0.0
        self._model.add(sample.t, evidence(sample, self._lift(sample), switch, self._s.height_gate_m, other), self.in_contact, self._since)

    def _usual_speed(self) -> float | None:
        if self.swing_speed is None and self._other is not None:
            return self._other.swing_speed
        return self.swing_speed

    # -- decisions

    def _decide(self, until: float) -> list[RawEvent]:
        events = []
        while self._decided < len(self._samples) and self._samples[self._decided].t <= until:
            i = self._decided
            self._decided += 1
            event = self._step(i, self._model.posterior(i))
            if event is not None:
                events.append(event)
        return events

    def _step(self, i: int, odds: float) -> RawEvent | None:
        sample = self._samples[i]
        if self.in_contact is None:
            if abs(odds) > _SURE:
                self.in_contact, self._since = odds > 0, sample.t
                self._rest, self._left = sample, None if odds > 0 else i
            return None
        if not self.in_contact:
            return self._land(i) if odds > 0 else None
        if odds > 0:
            self._stand(i)
            return None
        if self._left is None:
            self._left = i
        return self._leave(i)

    def _stand(self, i: int) -> None:
        self._left = None
        sample = self._samples[i]
        if self._rest is None or sample.middle < self._rest.middle or sample.middle < _SWITCH_M_S[0]:
            self._rest = sample
        dt = sample.t - self._samples[i - 1].t if i else 0.0
        for p, lift in enumerate(self._lift(sample)):
            if sample.calm_speed[p] < _SWITCH_M_S[0] and 0 < lift < self._s.height_gate_m:
                self._height.follow(self._index, p, sample.position[3 * p + 2], min(1.0, _FLOOR_RATE * dt))

    def _leave(self, i: int) -> RawEvent | None:
        """Support has ended at instant `_left`; the event comes once the foot has gone away."""
        samples, rest, left = self._samples, self._rest, self._left
        assert rest is not None and left is not None
        newest = samples[-1]
        up = any(min(self._lift(sample)) >= self._s.height_gate_m for sample in samples[left:])  # on the spot it is down again by now
        if (self._moved(rest, newest, TOE) < self._s.min_off_m and not up) or self._may_ride(newest):
            return None
        self.in_contact, self._since = False, samples[left].t
        soon = samples[left].t + max(self._s.look_ahead_s, _SOON_S)
        reached = max(s.slowest for s in samples[left:] if s.t <= soon)
        whole = newest.t - samples[left].t > _WHOLE_SWING_S
        speed = reached / _EXPECTED_SHARES[whole or self._swing_speed_sure]
        usual = max(max(s.flat) for s in samples[left:]) if whole else self._usual_speed()
        if usual is not None:
            speed = min(speed, usual)
        return self._event(False, left, speed if speed >= self._s.min_swing_speed_m_s else None, whole or self._swing_speed_sure)

    def _may_ride(self, sample: FootSample) -> bool:
        """Just landed (or just seen) and low, but going back against its last swing (or its own direction), where the floor is not known to move: it may
        stand on a belt."""
        if sample.t - self._since > _RIDE_S or self._floor.at(sample.t) != (0.0, 0.0) or min(self._lift(sample)) > _RIDE_M:
            return False
        v, p = (0.5 * (sample.calm[0] + sample.calm[3]), 0.5 * (sample.calm[1] + sample.calm[4])), sample.position
        way = self._swing_way or (p[3] - p[0], p[4] - p[1])
        return v[0] * way[0] + v[1] * way[1] < -0.7 * hypot(*v) * hypot(*way)

    def _land(self, i: int) -> RawEvent | None:
        samples, left = self._samples, self._left if self._left is not None else 0
        swing = samples[left : i + 1]
        self.in_contact, self._left = True, None
        self._since = samples[i].t
        fastest = max(max(s.flat) for s in swing)
        start = self._rest or swing[0]
        away = max(self._moved(start, samples[i], p) for p in (HEEL, TOE))
        height = max(min(self._lift(s)) for s in swing)
        self._rest = samples[i]
        fast = max(swing, key=lambda s: s.middle).calm
        self._swing_way = (fast[0] / max(hypot(fast[0], fast[1]), 1e-6), fast[1] / max(hypot(fast[0], fast[1]), 1e-6))
        whole = swing[0].t > samples[0].t or max(swing[0].flat) < 0.8 * fastest
        seen = 1.0 if whole else _UNSEEN_FACTOR  # where it began before it was seen, less of its way was seen
        real = max(max(s.speed) for s in swing) >= seen * self._s.min_swing_speed_m_s
        if not real or (away < self._s.min_swing_length_m / seen and height < self._s.height_gate_m):  # a twitch; the stance that it broke goes on
            return None
        if fastest < self._s.min_swing_speed_m_s:  # up and down on the spot
            return self._event(True, i, None, True)
        if not whole:
            usual = self._usual_speed() or _USUAL_SWING_M_S
            fastest = min(max(fastest, usual), _UNSEEN_FACTOR * fastest)
        if self.swing_speed is None or not self._swing_speed_sure:
            self.swing_speed = fastest
        elif whole:
            self.swing_speed = 0.5 * (self.swing_speed + fastest)
        self._swing_speed_sure |= whole
        return self._event(True, i, fastest, self._swing_speed_sure)

    def _moved(self, start: FootSample, end: FootSample, p: int) -> float:
        """m, how far heel or toe went over the floor."""
        a, b, dt = start.position, end.position, end.t - start.t
        v = self._floor.at(end.t)
        return hypot(b[3 * p] - a[3 * p] - v[0] * dt, b[3 * p + 1] - a[3 * p + 1] - v[1] * dt)

    def _event(self, initial: bool, i: int, swing_speed: float | None, known_speed: bool) -> RawEvent | None:
        """The event near instant i; without a speed along the floor, when support was as likely as swing."""
        samples, timed = self._samples, None
        if swing_speed is not None:
            timed = event_time(LANDING if initial else LEAVING, samples, i, swing_speed, self._motion.smoothing_s, self._ramps[initial], known_speed)
        t, std = timed if timed is not None else (samples[i].t, _COARSE_STD_S)
        if t - self._last_event[initial] < self._s.min_swing_s + self._s.min_stance_s:
            return None
        self._last_event[initial] = t
        k = min(max(bisect_left(samples, t, key=attrgetter("t")), 1), len(samples) - 1)
        a, b = samples[k - 1], samples[k]
        share = min(max((t - a.t) / (b.t - a.t), 0.0), 1.0)
        p = HEEL if initial else TOE
        position = [x + share * (y - x) for x, y in zip(a.position[3 * p : 3 * p + 3], b.position[3 * p : 3 * p + 3], strict=True)]
        confidence = max(exp(-0.5 * (max(0.0, std - 0.015) / 0.03) ** 2), 0.05)
        return RawEvent(t, initial, np.array(position), std, confidence)
