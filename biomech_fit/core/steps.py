"""Step and stride parameters from gait events and the heels between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from biomech_fit.core.stance import FootTrack, horizontal_plane
from biomech_fit.core.step_geometry import Belt, Foothold, step_lengths
from biomech_fit.core.types import EventType, GaitEvent, Side

SETTLE_S = 0.2
"""Live, a step is told this long after its initial contact. The median of the heel's places until then is 1 to 4 mm from that of the whole stance
(19 labelled steps of six people and 7 on a treadmill, markers at 100 Hz); 0.1 s after contact it is up to 13 mm from it."""
LEAST_STEP_S = 0.1
"""Both feet that land within this time have jumped."""
STANDING_S = 3.0
"""Of a stance that lasts longer, this much counts."""


@dataclass(frozen=True)
class StepParameters:
    """One completed step: from the other foot's initial contact to this foot's. NaN where a needed event is missing.

    Lengths are between the places of the heels, each the median over that foot's own stance (Cotton et al. 2023, arXiv 2303.02413, compare with the
    walkway in this way). With A and C the places of this foot's heel before and after the stride and B that of the other foot between them, the line of
    progression is AC, the stride length |AC|, the step length that of BC along AC, and the step width the distance of B from AC (GAITRite's "base of
    support"; Huxham et al. 2006, Gait & Posture 23:159). In a turn each step has its own line. On a treadmill all places are carried along with the
    belt to the instant of the contact.
    """

    stamp_ns: int
    """Initial contact that completes the step."""
    side: Side
    """The foot that made it."""
    step_length_m: float
    stride_length_m: float
    """Between this foot's last two stances."""
    step_width_m: float
    """Negative where the other heel was on this foot's side of the line: the feet crossed."""
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
    single_support_time_s: float = np.nan
    """This foot alone on the floor in the stride that ends here: the other foot's swing."""
    walk_ratio_m_min: float = np.nan
    """Step length over cadence, m / (steps/min) (Sekiya et al. 1996)."""
    step_length_std_m: float = np.nan
    """Standard deviations: from those of the events' times and the scatter of each heel over its stance, which is not taken to average out."""
    stride_length_std_m: float = np.nan
    step_width_std_m: float = np.nan
    step_time_std_s: float = np.nan
    stride_time_std_s: float = np.nan
    stance_time_std_s: float = np.nan
    swing_time_std_s: float = np.nan
    double_support_time_std_s: float = np.nan
    cadence_std_steps_per_min: float = np.nan
    speed_std_m_s: float = np.nan
    single_support_time_std_s: float = np.nan
    walk_ratio_std_m_min: float = np.nan
    turn_rad: float = np.nan
    """How far this foot has turned over the stride, positive to the left (about the vertical)."""
    walk_index: int = 0
    """Number of the step in this walk, from 0: after standing, or a gap, a new walk begins."""
    belt_speed_m_s: float = 0.0
    """Of the treadmill's belt under this foot; 0 = the floor stands still."""


class StepTracker:
    """Turns gait events, in any order within a side's detection delay, into step parameters.

    Args:
        up: the world's vertical direction.
        max_step_s: contacts further apart than this belong to different walks, and give no step.
        settle_s: a step is told this long after its contact, when its heel rests, or at the end of its stance where that comes first.
        belt: the floor may be a treadmill's; False = it stands still.
    """

    def __init__(self, up: Sequence[float] = (0.0, 0.0, 1.0), max_step_s: float = 1.5, settle_s: float = SETTLE_S, belt: bool = True) -> None:
        self._plane = horizontal_plane(up)
        self._max_step_s, self._settle_s, self._may_be_belt = max_step_s, settle_s, belt
        self.reset()

    def reset(self) -> None:
        """Forgets all events, e.g. after the stamps went backwards."""
        self._contacts: dict[Side, list[GaitEvent]] = {Side.LEFT: [], Side.RIGHT: []}
        self._offs: dict[Side, list[GaitEvent]] = {Side.LEFT: [], Side.RIGHT: []}
        self._feet = {side: FootTrack(self._plane, 4 * self._max_step_s) for side in Side}
        self._belt = Belt()
        self._pending: list[GaitEvent] = []
        self._now_ns: int | None = None
        self._walk_index = 0

    def observe(self, stamp_ns: int, heels: Sequence[Sequence[float]], toes: Sequence[Sequence[float]]) -> None:
        """Takes the feet at one instant, (2, 3) m each: left, right; NaN = missing. Without any, the places of the contacts themselves are used."""
        self._now_ns = stamp_ns
        for side, foot in self._feet.items():
            foot.add(stamp_ns, heels[side], toes[side])

    def update(self, events: Iterable[GaitEvent] = ()) -> list[StepParameters]:
        """Takes the events found with the newest instant; gives the steps that are known by now, in order of time."""
        for event in events:
            side = Side(event.side)
            history = self._contacts[side] if event.type == EventType.INITIAL_CONTACT else self._offs[side]
            history.append(event)
            history.sort(key=lambda e: e.stamp_ns)
            del history[:-6]
            if event.type == EventType.INITIAL_CONTACT:
                self._pending.append(event)
                self._pending.sort(key=lambda e: e.stamp_ns)
        return self._told(self._settled)

    def finish(self) -> list[StepParameters]:
        """The steps that still waited, at the end of a recording."""
        return self._told(lambda _: True)

    def _told(self, ready: Callable[[GaitEvent], bool]) -> list[StepParameters]:
        steps = []
        while self._pending and ready(self._pending[0]):
            step = self._step(self._pending.pop(0))
            if step is not None:
                steps.append(step)
        return steps

    def _settled(self, contact: GaitEvent) -> bool:
        if self._now_ns is None or (self._now_ns - contact.stamp_ns) * 1e-9 >= self._settle_s:
            return True
        return any(off.stamp_ns > contact.stamp_ns for off in self._offs[Side(contact.side)])

    def _step(self, event: GaitEvent) -> StepParameters | None:
        side = Side(event.side)
        other = Side.RIGHT if side == Side.LEFT else Side.LEFT
        opposite = _last_before(self._contacts[other], event.stamp_ns)
        previous = _last_before(self._contacts[side], event.stamp_ns)
        if previous is not None and _seconds(previous, event) > 2 * self._max_step_s:
            previous = None
        again = opposite is not None and previous is not None and previous.stamp_ns > opposite.stamp_ns  # a hop, or a contact that was missed
        if opposite is None or again or not LEAST_STEP_S <= _seconds(opposite, event) <= self._max_step_s:
            self._walk_index = 0
            return None
        if self._walk_index == 0:
            previous = None  # of the walk before
        here, there, before = self._foothold(event), self._foothold(opposite), None if previous is None else self._foothold(previous)
        for foothold in (here, there) if self._may_be_belt else ():
            self._belt.learn(foothold)
        lengths = step_lengths(here, there, before, self._belt)
        times = _times(event, opposite, previous, self._offs[side], self._offs[other])
        index, self._walk_index = self._walk_index, self._walk_index + 1
        step_time, stride_time = times["step_time_s"], times["stride_time_s"]
        cadence = 60.0 / step_time
        speed, ratio = lengths["stride_length_m"] / stride_time, lengths["step_length_m"] / cadence
        return StepParameters(
            stamp_ns=event.stamp_ns,
            side=side,
            **lengths,
            **times,
            cadence_steps_per_min=cadence,
            cadence_std_steps_per_min=cadence * times["step_time_std_s"] / step_time,
            speed_m_s=speed,
            speed_std_m_s=float(np.hypot(lengths["stride_length_std_m"], speed * times["stride_time_std_s"]) / stride_time),
            walk_ratio_m_min=ratio,
            walk_ratio_std_m_min=float(np.hypot(lengths["step_length_std_m"] * step_time, lengths["step_length_m"] * times["step_time_std_s"]) / 60.0),
            walk_index=index,
        )

    def _foothold(self, contact: GaitEvent) -> Foothold:
        """Where the foot of an initial contact stood until it left the floor, or until now."""
        side = Side(contact.side)
        ends = [e.stamp_ns for e in (*self._offs[side], *self._contacts[side]) if e.stamp_ns > contact.stamp_ns]
        stance = self._feet[side].stance(contact.stamp_ns, min(ends, default=None))
        return Foothold(side, contact.stamp_ns, self._plane @ contact.position, stance if len(stance) else None)


def _times(
    event: GaitEvent, opposite: GaitEvent, previous: GaitEvent | None, offs: Sequence[GaitEvent], other_offs: Sequence[GaitEvent]
) -> dict[str, float]:
    """Times of `StepParameters` with their standard deviations: the events' errors are taken as independent of each other."""
    out = _between("step_time", [(opposite, event)])
    off = _last_before(offs, event.stamp_ns)
    if off is not None and (off.stamp_ns <= opposite.stamp_ns if previous is None else off.stamp_ns <= previous.stamp_ns):
        off = None  # of an earlier stride
    out |= _between("swing_time", [(off, event)])
    out |= _between("stride_time", [(previous, event)])
    out |= _between("stance_time", [(previous, off)])
    other_off = None if previous is None else next((e for e in other_offs if previous.stamp_ns <= e.stamp_ns < opposite.stamp_ns), None)
    out |= _between("single_support_time", [(other_off, opposite)])
    overlap = off is not None and off.stamp_ns >= opposite.stamp_ns  # else there was a flight
    return out | _between("double_support_time", [(previous, other_off), (opposite, off if overlap else None)])


def _between(name: str, spans: Sequence[tuple[GaitEvent | None, GaitEvent | None]]) -> dict[str, float]:
    """The summed length of the spans and its standard deviation; NaN where an end is missing."""
    total, variance = 0.0, 0.0
    for start, end in spans:
        if start is None or end is None:
            total = variance = np.nan
            break
        total += _seconds(start, end)
        variance += start.time_std_s**2 + end.time_std_s**2
    return {f"{name}_s": total, f"{name}_std_s": float(np.sqrt(variance))}


def steps_of_recording(
    events: Iterable[GaitEvent], stamps_ns: Sequence[int], heels: np.ndarray, toes: np.ndarray, up: Sequence[float] = (0.0, 0.0, 1.0), belt: bool = True
) -> list[StepParameters]:
    """The steps of a whole recording, each heel's place over its whole stance.

    Args:
        events: all events, in any order.
        stamps_ns: (T,) increasing.
        heels: (T, 2, 3) m, world: left, right; NaN = missing.
        toes: (T, 2, 3) m.
        up: the world's vertical direction.
        belt: as for `StepTracker`.
    """
    tracker = StepTracker(up, settle_s=STANDING_S, belt=belt)
    waiting = deque(sorted(events, key=lambda e: e.stamp_ns))
    steps = []
    for stamp_ns, heel, toe in zip(stamps_ns, heels.tolist(), toes.tolist(), strict=True):
        tracker.observe(int(stamp_ns), heel, toe)
        due = []
        while waiting and waiting[0].stamp_ns <= stamp_ns:
            due.append(waiting.popleft())
        steps += tracker.update(due)
    return steps + tracker.update(waiting) + tracker.finish()


def _last_before(events: Sequence[GaitEvent], stamp_ns: int) -> GaitEvent | None:
    return next((e for e in reversed(events) if e.stamp_ns < stamp_ns), None)


def _seconds(start: GaitEvent, end: GaitEvent) -> float:
    return (end.stamp_ns - start.stamp_ns) * 1e-9
