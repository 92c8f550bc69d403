"""Stance and swing of one foot: a two-state machine with hysteresis on smoothed heel and toe speeds over an adaptive floor."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from biomech_fit.core.gait import GaitSettings

_BASE_STD_S = 0.012
"""What remains with perfect kinematics: contact is not a speed threshold."""


@dataclass(frozen=True, eq=False)
class PointState:
    """A point of the foot split into its parts along and across the vertical."""

    position: np.ndarray
    horizontal: np.ndarray
    """(3,) m, the vertical part removed."""
    height: float


@dataclass(frozen=True, eq=False)
class RawEvent:
    """A contact that begins (initial) or ends."""

    stamp_ns: int
    initial: bool
    position: np.ndarray
    time_std_s: float
    confidence: float


@dataclass(frozen=True, eq=False)
class _Sample:
    """Smoothed kinematics at one instant; index 0 is the heel, 1 the toe."""

    t: float
    position: np.ndarray
    """(2, 3) m, world."""
    speed: np.ndarray
    """(2,) m/s, horizontal."""
    height: np.ndarray
    """(2,) m along the vertical."""
    speed_std: float
    horizontal: np.ndarray
    """(2, 3) m."""


@dataclass(eq=False)
class _Crossing:
    """A threshold crossing that waits to be confirmed."""

    t: float
    position: np.ndarray
    slope: float
    speed_std: float
    spacing: float


class FootPhase:
    """One foot's phase. `update` takes heel and toe in increasing time and gives confirmed events."""

    def __init__(self, settings: GaitSettings) -> None:
        self._s = settings
        self.other: FootPhase | None = None
        self._floor = np.full(2, np.inf)
        self.swing_speed: float | None = None
        """m/s, running greatest speed of the swings."""
        self._epoch_ns = 0
        self._noise = 0.003
        self._forget()

    def _forget(self) -> None:
        self._raw: deque[tuple[float, PointState, PointState]] = deque(maxlen=64)
        self._last: _Sample | None = None
        self.in_contact: bool | None = None
        self._phase_start = -np.inf
        self._still_since: float | None = None
        self._peak = 0.0
        self._swing_from: np.ndarray | None = None
        self._candidates: list[_Crossing | None] = [None, None]
        self._evaluated = -np.inf

    @property
    def floor(self) -> float:
        """Height of the foot's lowest point in stance, along the vertical; inf until known."""
        return float(self._floor.min())

    def update(self, stamp_ns: int, heel: PointState, toe: PointState) -> list[RawEvent]:
        """Takes the next heel and toe; returns the events they confirm (at most one)."""
        if not self._raw:
            self._epoch_ns = stamp_ns
        t = (stamp_ns - self._epoch_ns) * 1e-9
        if self._raw and t - self._raw[-1][0] > self._s.max_gap_s:
            self._forget()
            self._epoch_ns, t = stamp_ns, 0.0
        self._raw.append((t, heel, toe))
        events = []
        for sample in self._smoothed():
            event = self._advance(sample)
            self._last = sample
            if event is not None:
                events.append(event)
        return events

    # -- kinematics

    def _smoothed(self) -> list[_Sample]:
        """Samples for which the half-window behind the newest pose is full: a local parabola through at least three poses (Savitzky-Golay)."""
        half = self._s.smoothing_s / 2
        newest = self._raw[-1][0]
        times = np.array([r[0] for r in self._raw])
        due = newest + (0.5 * (newest - times[-2]) if len(times) > 1 else 0.0) - half  # no further pose falls into the half-window
        done = []
        for i in range(len(times) - 1):
            t = times[i]
            if not self._evaluated < t <= due:
                continue
            lo, hi = np.searchsorted(times, [t - half - 1e-9, t + half + 1e-9])
            lo, hi = min(lo, max(i - 1, 0)), max(hi, i + 2)
            if hi - lo < 3:
                continue
            done.append(self._fit(t, times[lo:hi], [self._raw[j] for j in range(lo, hi)]))
            self._evaluated = t
        return done

    def _fit(self, t: float, times: np.ndarray, raw: list[tuple[float, PointState, PointState]]) -> _Sample:
        x = times - t
        basis = np.stack([np.ones_like(x), x, x * x], 1)
        data = np.stack([np.concatenate([h.horizontal, t_.horizontal, [h.height, t_.height]]) for _, h, t_ in raw])
        coefficients, *_ = np.linalg.lstsq(basis, data, rcond=None)
        if len(x) > 3:
            residual = data - basis @ coefficients
            self._noise += 0.02 * (float(np.sqrt((residual**2).sum() / ((len(x) - 3) * data.shape[1]))) - self._noise)
        velocity = coefficients[1]
        height = coefficients[0, 6:]
        horizontal = coefficients[0, :6].reshape(2, 3)
        up = [p.position - p.horizontal for p in (raw[0][1], raw[0][2])]
        direction = up[0] / raw[0][1].height if abs(raw[0][1].height) > 1e-6 else np.array([0.0, 0.0, 1.0])
        return _Sample(
            t=float(t),
            position=horizontal + height[:, None] * direction,
            speed=np.array([np.linalg.norm(velocity[:3]), np.linalg.norm(velocity[3:6])]),
            height=height,
            speed_std=self._noise / float(np.sqrt((x * x).sum())),
            horizontal=horizontal,
        )

    # -- phases

    def _advance(self, now: _Sample) -> RawEvent | None:
        self._floor = np.minimum(self._floor, now.height)
        if self.in_contact is None:
            self._orient(now)
            return None
        return self._stance(now) if self.in_contact else self._swing(now)

    def _orient(self, now: _Sample) -> None:
        """At first, or after a gap: wait until the foot clearly rests or clearly swings. Gives no event."""
        if now.speed.min() > self._s.min_swing_speed_m_s:
            self._begin_swing(now, now.t)
            return
        limit = (1 if self._still_since is None else 2) * self._s.min_contact_speed_m_s
        if now.speed.min() < limit and (now.height - self._floor).min() < self._s.height_gate_m:
            self._still_since = now.t if self._still_since is None else self._still_since
            if now.t - self._still_since >= 2 * self._s.confirm_s:
                self.in_contact, self._phase_start = True, self._still_since
                self._rest = now
        else:
            self._still_since = None

    def _begin_swing(self, now: _Sample, since: float) -> None:
        self.in_contact, self._phase_start = False, since
        self._peak = 0.0
        self._candidates = [None, None]
        self._swing_from = now.horizontal.copy()

    def _stance(self, now: _Sample) -> RawEvent | None:
        swing = self.swing_speed or (self.other.swing_speed if self.other else None)
        threshold = max(self._s.min_off_speed_m_s, self._s.first_off_speed_m_s if swing is None else self._s.off_share * swing)
        for i in (0, 1):  # the floor follows the resting foot, down at once and up slowly
            if now.speed[i] < self._s.min_contact_speed_m_s and now.height[i] - self._floor[i] < self._s.height_gate_m:
                self._floor[i] += 0.02 * (now.height[i] - self._floor[i])
        if now.speed[1] < self._rest.speed[1] or now.speed.max() < self._s.min_contact_speed_m_s:
            self._rest = now
        crossing = self._candidates[1]
        if crossing is None:
            if now.speed[1] >= threshold and now.t - self._phase_start >= self._s.min_stance_s:
                self._candidates[1] = self._cross(now, 1, threshold)
            return None
        if now.speed[1] < 0.8 * threshold:
            self._candidates[1] = None
            return None
        moved = np.linalg.norm(now.horizontal - self._rest.horizontal, axis=1)
        if now.t - crossing.t < self._s.confirm_s or now.speed[0] < threshold or moved.min() < 0.03:
            return None
        self._begin_swing(now, crossing.t)
        self._swing_from = self._rest.horizontal.copy()
        return self._raw_event(crossing, initial=False, depth=float(moved.min()) / 0.05)

    def _swing(self, now: _Sample) -> RawEvent | None:
        self._peak = max(self._peak, float(now.speed.max()))
        threshold = max(self._s.min_contact_speed_m_s, self._s.contact_share * self._peak)
        over = now.height - self._floor
        for i in (0, 1):
            crossing = self._candidates[i]
            if now.speed[i] > 1.5 * threshold or over.min() > self._s.height_gate_m:
                self._candidates[i] = None
            elif crossing is None and now.speed[i] <= threshold and over[i] < self._s.height_gate_m:
                self._candidates[i] = self._cross(now, i, threshold)
        crossing = self._candidates[0] or self._candidates[1]
        if crossing is None or now.t - crossing.t < self._s.confirm_s:
            return None
        length = 0.0 if self._swing_from is None else float(np.linalg.norm(now.horizontal - self._swing_from, axis=1).max())
        start = self._phase_start
        real = self._peak >= self._s.min_swing_speed_m_s and length >= self._s.min_swing_length_m and crossing.t - start >= self._s.min_swing_s
        self.in_contact, self._phase_start = True, crossing.t
        self._candidates = [None, None]
        self._rest = now
        if not real:  # a twitch; the stance it broke goes on
            return None
        self.swing_speed = self._peak if self.swing_speed is None else 0.5 * (self.swing_speed + self._peak)
        return self._raw_event(crossing, initial=True, depth=length / self._s.min_swing_length_m)

    def _cross(self, now: _Sample, i: int, threshold: float) -> _Crossing:
        """Crossing between the last sample and this one by linear interpolation of the speed."""
        last = self._last
        if last is None or now.speed[i] == last.speed[i]:
            return _Crossing(now.t, now.position[i], 0.0, now.speed_std, 0.02)
        share = float(np.clip((threshold - last.speed[i]) / (now.speed[i] - last.speed[i]), 0.0, 1.0))
        dt = now.t - last.t
        position = last.position[i] + share * (now.position[i] - last.position[i])
        return _Crossing(last.t + share * dt, position, abs(float(now.speed[i] - last.speed[i])) / dt, now.speed_std, dt)

    def _raw_event(self, crossing: _Crossing, initial: bool, depth: float) -> RawEvent:
        """Time spread: what speed noise does at the slope of the crossing, plus interpolation and what no threshold can know."""
        noise = min(0.1, crossing.speed_std / max(crossing.slope, 1.0))
        std = float(np.sqrt(_BASE_STD_S**2 + noise**2 + (0.3 * crossing.spacing) ** 2))
        confidence = float(np.clip(0.5 + 0.25 * depth, 0.0, 1.0) * np.exp(-0.5 * (max(0.0, std - 0.015) / 0.03) ** 2))
        return RawEvent(self._epoch_ns + round(crossing.t * 1e9), initial, crossing.position, std, confidence)
