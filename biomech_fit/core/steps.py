"""Step and stride parameters from gait events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from biomech_fit.core.types import EventType, GaitEvent, Side


@dataclass(frozen=True)
class StepParameters:
    """One completed step: from the other foot's initial contact to this foot's. NaN where a needed event is missing.

    Lengths are horizontal distances between heels at initial contact. Step width is the perpendicular distance of the other foot's heel to the line
    through two consecutive contacts of this foot (GAITRite's "base of support"; Huxham et al. 2006, Gait & Posture 23:159), and step length is
    measured along that line where it is known.
    """

    stamp_ns: int
    """Initial contact that completes the step."""
    side: Side
    """The foot that made it."""
    step_length_m: float
    stride_length_m: float
    """Between this foot's last two initial contacts."""
    step_width_m: float
    step_time_s: float
    stride_time_s: float
    stance_time_s: float
    """Of this foot's last complete stance (within the stride that ends here)."""
    swing_time_s: float
    """From this foot's last final contact to its initial contact."""
    double_support_time_s: float
    """Both double supports of the stride that ends here, added."""
    cadence_steps_per_min: float
    """60 / step time."""
    speed_m_s: float
    """Stride length / stride time."""


class StepTracker:
    """Turns gait events, in any order within a side's detection delay, into step parameters.

    Args:
        up: the world's vertical direction.
        max_step_s: contacts further apart than this belong to different walks, and give no step.
    """

    def __init__(self, up: Sequence[float] = (0.0, 0.0, 1.0), max_step_s: float = 1.5) -> None:
        self._up = np.asarray(up, float) / np.linalg.norm(up)
        self._max_step_s = max_step_s
        self.reset()

    def reset(self) -> None:
        """Forgets all events, e.g. after the stamps went backwards."""
        self._contacts: dict[Side, list[GaitEvent]] = {Side.LEFT: [], Side.RIGHT: []}
        self._offs: dict[Side, list[GaitEvent]] = {Side.LEFT: [], Side.RIGHT: []}

    def update(self, events: Iterable[GaitEvent]) -> list[StepParameters]:
        """The steps that these events complete (an initial contact completes one)."""
        steps = []
        for event in events:
            side = Side(event.side)
            history = self._contacts[side] if event.type == EventType.INITIAL_CONTACT else self._offs[side]
            history.append(event)
            history.sort(key=lambda e: e.stamp_ns)
            del history[:-6]
            if event.type == EventType.INITIAL_CONTACT and history[-1] is event:
                step = self._step(event, side)
                if step is not None:
                    steps.append(step)
        return steps

    def _flat(self, event: GaitEvent) -> np.ndarray:
        return event.position - (event.position @ self._up) * self._up

    def _step(self, event: GaitEvent, side: Side) -> StepParameters | None:
        other = Side.RIGHT if side == Side.LEFT else Side.LEFT
        opposite = _last_before(self._contacts[other], event.stamp_ns)
        if opposite is None or _seconds(opposite, event) > self._max_step_s:
            return None
        previous = _last_before(self._contacts[side], event.stamp_ns)
        if previous is not None and _seconds(previous, event) > 2 * self._max_step_s:
            previous = None
        here, there = self._flat(event), self._flat(opposite)
        step_time = _seconds(opposite, event)
        step_length = float(np.linalg.norm(here - there))
        stride_length = step_width = stride_time = stance = double_support = speed = np.nan
        off = _last_before(self._offs[side], event.stamp_ns)
        swing = _seconds(off, event) if off is not None and _seconds(off, event) < self._max_step_s else np.nan
        if previous is not None:
            before = self._flat(previous)
            line = here - before
            stride_length = float(np.linalg.norm(line))
            stride_time = _seconds(previous, event)
            speed = stride_length / stride_time
            if stride_length > 0.1:  # on the spot there is no line of progression
                direction = line / stride_length
                relative = there - before
                step_width = float(np.linalg.norm(relative - (relative @ direction) * direction))
                step_length = float(direction @ (here - there))
            if off is not None and previous.stamp_ns < off.stamp_ns:
                stance = _seconds(previous, off)
            other_off = next((e for e in self._offs[other] if previous.stamp_ns <= e.stamp_ns < opposite.stamp_ns), None)
            if other_off is not None and off is not None and off.stamp_ns >= opposite.stamp_ns:
                double_support = _seconds(previous, other_off) + _seconds(opposite, off)
        return StepParameters(
            stamp_ns=event.stamp_ns,
            side=side,
            step_length_m=step_length,
            stride_length_m=stride_length,
            step_width_m=step_width,
            step_time_s=step_time,
            stride_time_s=stride_time,
            stance_time_s=stance,
            swing_time_s=swing,
            double_support_time_s=double_support,
            cadence_steps_per_min=60.0 / step_time,
            speed_m_s=speed,
        )


def _last_before(events: list[GaitEvent], stamp_ns: int) -> GaitEvent | None:
    return next((e for e in reversed(events) if e.stamp_ns < stamp_ns), None)


def _seconds(start: GaitEvent, end: GaitEvent) -> float:
    return (end.stamp_ns - start.stamp_ns) * 1e-9
