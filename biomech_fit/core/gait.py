"""Initial and final contact of both feet from a stream of body poses, causal and for any direction of walking, over ground and on a treadmill."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple, Protocol

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.core.floor_height import FloorHeight
from biomech_fit.core.foot_gait import FootGait, RawEvent
from biomech_fit.core.moving_floor import MovingFloor
from biomech_fit.core.steps import StepParameters, StepTracker
from biomech_fit.core.types import EventType, GaitEvent, Side, Status

HEEL_NAMES = ("{S}Heel", "{s}_heel", "{s}heel", "{S}HEE", "{S}Ankle", "{s}_ankle", "{s}ankle")
TOE_NAMES = ("{S}Toe", "{S}BigToe", "{s}_big_toe", "{s}_toe", "{s}toe", "{s}mtoe", "{S}TOE", "{S}SmallToe", "{S}Ankle", "{s}_ankle", "{s}ankle")
"""Names under which heels and toes are looked for, best first; {S} is L or R, {s} is left or right, or l or r."""

HEEL_MARKS = ("{S}Heel", "{s}_heel", "{S}HEE")
"""Keypoints from which lengths are measured, where the set has them."""

OFFLINE_LOOK_AHEAD_S = 0.3
_USABLE = (Status.OK, Status.REINITIALISED)
_MISSING = np.full((2, 3), np.nan)
_PREDICTED_S = 0.1
"""A pose that is only predicted bridges this much, and no more: it does not know of a contact."""


class Rows(Protocol):
    """(n, 3) m, as an array or by row."""

    def __getitem__(self, row: int, /) -> np.ndarray | Sequence[float]: ...


class BodyPoints(Protocol):
    """What the detector needs of a `PoseEstimate`."""

    @property
    def stamp_ns(self) -> int: ...
    @property
    def status(self) -> Status: ...
    @property
    def keypoints(self) -> Rows: ...
    @property
    def joint_centres(self) -> Rows: ...


Points = np.ndarray | Sequence[Sequence[float]]
"""(2, 3): left, right."""


class FeetAt(NamedTuple):
    """Both feet at one instant: left, right."""

    stamp_ns: int
    heels: Points
    """(2, 3) m, world; NaN = missing."""
    toes: Points
    marks: Points | None = None
    """(2, 3) m: the heels between which lengths are measured, where these are others than `heels`: what a marker, or a detector, shows. A body's own heel may
    lie centimetres beside it."""


@dataclass(frozen=True)
class GaitSettings:
    """Settings of the detector. Speeds are relative to what the feet stand on. docs/gait.md has the method."""

    smoothing_s: float = 0.10
    """Length of the polynomials from which speeds are read; half of it is delay."""
    look_ahead_s: float = 0.045
    """A foot's phase is decided with this much of what follows; delay, too."""
    height_gate_m: float = 0.05
    """Heel or toe higher than this over the floor speak against support."""
    min_off_m: float = 0.02
    """A toe that has not gone this far has not left."""
    min_swing_length_m: float = 0.07
    """A foot that went less far, and not up, has made no step."""
    min_swing_speed_m_s: float = 0.35
    """A foot that never gets this fast has made no step."""
    min_swing_s: float = 0.10
    min_stance_s: float = 0.10
    max_gap_s: float = 0.25
    """After a longer gap in the poses a foot's phase is unknown."""
    moving_floor: bool = True
    """Find out whether the person walks on a treadmill."""


class GaitDetector:
    """Detects initial and final contact of both feet and the steps they make.

    Args:
        keypoint_names: K names in the order of `PoseEstimate.keypoints`.
        joint_centre_names: J names in the order of `PoseEstimate.joint_centres`; heel and toe are taken from here first.
        settings: see there.
        up: the world's vertical direction.
        with_steps: also make steps of the events; without, `steps` stays empty and a pose costs less.

    Raises:
        InputError: neither list has a heel and a toe (or ankle) of both sides.
    """

    def __init__(
        self,
        keypoint_names: Sequence[str],
        joint_centre_names: Sequence[str] = (),
        settings: GaitSettings | None = None,
        up: Sequence[float] = (0.0, 0.0, 1.0),
        with_steps: bool = True,
    ) -> None:
        self.settings = settings or GaitSettings()
        self._points = [_find(keypoint_names, joint_centre_names, side, names) for names in (HEEL_NAMES, TOE_NAMES) for side in "LR"]
        self._marks = _heel_marks(keypoint_names)
        self._turn = _to_z_up(np.asarray(up, float))
        self._tracker = StepTracker(up, belt=self.settings.moving_floor) if with_steps else None
        self.reset()

    def reset(self) -> None:
        """Forgets everything, e.g. after the stamps went backwards or another person came."""
        self._begin(MovingFloor() if self.settings.moving_floor else MovingFloor(given=[(0.0, 0.0, 0.0)]), self.settings.look_ahead_s)

    def _begin(self, floor: MovingFloor, look_ahead_s: float) -> None:
        self._floor, self._height = floor, FloorHeight()
        self._feet = {side: FootGait(int(side), self.settings, floor, self._height, look_ahead_s) for side in (Side.LEFT, Side.RIGHT)}
        self._feet[Side.LEFT].meet(self._feet[Side.RIGHT])
        self._feet[Side.RIGHT].meet(self._feet[Side.LEFT])
        self._last_ns: int | None = None
        self._known_ns: int | None = None
        self._epoch_ns = 0
        if self._tracker is not None:
            self._tracker.reset()
        self._steps: list[StepParameters] = []

    def update(self, estimate: BodyPoints) -> list[GaitEvent]:
        """Takes the next pose; gives the events that it decides, about 0.1 s after they happened."""
        return self.update_points(*self.feet(estimate))

    def feet(self, pose: BodyPoints) -> FeetAt:
        """Heels and toes of a pose as `update` takes them; NaN where the pose is not to be used."""
        if not self._usable(pose):
            return FeetAt(pose.stamp_ns, _MISSING, _MISSING)
        p = [_floats(pose.joint_centres[i] if in_centres else pose.keypoints[i]) for in_centres, i in self._points]
        heels, toes = p[:2], p[2:]
        if self._marks is None:
            return FeetAt(pose.stamp_ns, heels, toes)
        marks = [_floats(pose.keypoints[i]) for i in self._marks]
        return FeetAt(pose.stamp_ns, heels, toes, [mark if isfinite(sum(mark)) else heel for mark, heel in zip(marks, heels, strict=True)])

    def _usable(self, estimate: BodyPoints) -> bool:
        if estimate.status in _USABLE:
            self._known_ns = estimate.stamp_ns
            return True
        known = self._known_ns is not None and 0 <= estimate.stamp_ns - self._known_ns <= _PREDICTED_S * 1e9
        return estimate.status == Status.PREDICTED and known

    def update_points(self, stamp_ns: int, heels: Points, toes: Points, marks: Points | None = None) -> list[GaitEvent]:
        """The same from bare points.

        Args:
            stamp_ns: time of the pose. One that is not later than the last is skipped; one that is over a second earlier starts anew.
            heels: (2, 3) m, world: left, right; NaN = missing.
            toes: (2, 3) m, world.
            marks: (2, 3) m, see `FeetAt`.
        """
        if self._last_ns is not None and stamp_ns <= self._last_ns:
            if stamp_ns > self._last_ns - 1_000_000_000:
                return []
            self.reset()
        if self._last_ns is None:
            self._epoch_ns = stamp_ns
        self._last_ns = stamp_ns
        t = (stamp_ns - self._epoch_ns) * 1e-9
        heels, toes = _rows(heels), _rows(toes)
        if self._tracker is not None:
            self._tracker.observe(stamp_ns, heels if marks is None else _rows(marks), toes)
        raw = []
        for side, foot in self._feet.items():
            heel, toe = heels[side], toes[side]
            if isfinite(sum(heel) + sum(toe)):
                if self._turn is not None:
                    heel, toe = (self._turn @ heel).tolist(), (self._turn @ toe).tolist()
                raw += [(side, event) for event in foot.update(t, heel, toe)]
        return self._publish(raw, stamp_ns)

    def detect(self, frames: Iterable[FeetAt]) -> list[GaitEvent]:
        """The offline pass over a whole recording; forgets what was before, and `steps` then has all its steps.

        The same detector, run twice: the first pass finds the floor's velocity, the speeds and ramps of the person's swings; the second knows them from the
        start and decides every instant with `OFFLINE_LOOK_AHEAD_S` of what follows, so that a swing's greatest speed is seen before its beginning is timed.

        Args:
            frames: in order of time.
        """
        frames = list(frames)
        self.reset()
        for frame in frames:
            self.update_points(*frame)
        self.finish()
        learned = self._feet
        self._begin(MovingFloor(given=self._floor.course()), OFFLINE_LOOK_AHEAD_S)
        for side, foot in self._feet.items():
            foot.know(learned[side])
        events = []
        for frame in frames:
            events += self.update_points(*frame)
        events += self.finish()
        return sorted(events, key=lambda e: e.stamp_ns)

    def finish(self) -> list[GaitEvent]:
        """The end of a recording: events that waited for more to come."""
        if self._last_ns is None:
            return []
        events = self._publish([(side, event) for side, foot in self._feet.items() for event in foot.finish()], self._last_ns)
        if self._tracker is not None:
            self._steps += self._tracker.finish()
        return events

    def steps(self) -> list[StepParameters]:
        """The steps completed since the last call."""
        steps, self._steps = self._steps, []
        return steps

    @property
    def floor_velocity(self) -> tuple[float, float]:
        """(2,) m/s: of the belt that the person walks on, in axes whose third is the vertical; zero over ground."""
        return self._floor.velocity

    def contact(self) -> tuple[bool | None, bool | None]:
        """Whether the left and the right foot are on the floor; None = unknown, also where the foot has not been seen of late."""
        now = -np.inf if self._last_ns is None else (self._last_ns - self._epoch_ns) * 1e-9
        left, right = (foot.in_contact if foot.is_seen(now) else None for foot in (self._feet[Side.LEFT], self._feet[Side.RIGHT]))
        return left, right

    @property
    def settled(self) -> bool:
        """Whether both feet are as they were: then nothing is lost where the next poses wait for half of `look_ahead_s`."""
        return all(foot.settled for foot in self._feet.values())

    def _publish(self, raw: list[tuple[Side, RawEvent]], now_ns: int) -> list[GaitEvent]:
        events = sorted((self._event(side, event, now_ns) for side, event in raw), key=lambda e: e.stamp_ns)
        if self._tracker is not None:
            self._steps += self._tracker.update(events)
        return events

    def _event(self, side: Side, raw: RawEvent, now_ns: int) -> GaitEvent:
        place = np.array([raw.position[0], raw.position[1], self._height.height])
        stamp_ns = self._epoch_ns + round(raw.t * 1e9)
        return GaitEvent(
            stamp_ns=stamp_ns,
            type=EventType.INITIAL_CONTACT if raw.initial else EventType.FINAL_CONTACT,
            side=side,
            position=place if self._turn is None else self._turn.T @ place,
            time_std_s=raw.time_std_s,
            confidence=raw.confidence,
            detection_delay_s=(now_ns - stamp_ns) * 1e-9,
        )


def _floats(row: np.ndarray | Sequence[float]) -> Sequence[float]:
    """As plain floats: arithmetic on these is cheaper than on elements of arrays."""
    return row.tolist() if isinstance(row, np.ndarray) else row


def _rows(points: Points) -> Sequence[Sequence[float]]:
    return points.tolist() if isinstance(points, np.ndarray) else points


def _to_z_up(up: np.ndarray) -> np.ndarray | None:
    """(3, 3) rotation that takes `up` to z; None where it is z."""
    z = up / np.linalg.norm(up)
    if np.allclose(z, [0.0, 0.0, 1.0]):
        return None
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [0.0, 0.0, 1.0], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _heel_marks(keypoints: Sequence[str]) -> list[int] | None:
    """The left and the right heel among the keypoints; None where the set lacks one."""
    lower = [name.lower() for name in keypoints]
    left, right = (
        next((lower.index(name) for pattern in HEEL_MARKS if (name := pattern.format(S=side, s=word).lower()) in lower), None)
        for side, word in (("L", "left"), ("R", "right"))
    )
    return None if left is None or right is None else [left, right]


def _find(keypoints: Sequence[str], centres: Sequence[str], side: str, patterns: Sequence[str]) -> tuple[bool, int]:
    lower = [n.lower() for n in keypoints], [n.lower() for n in centres]
    word = {"L": "left", "R": "right"}[side]
    for pattern in patterns:
        for name in (pattern.format(S=side, s=word), pattern.format(S=side, s=side)):
            for in_centres in (True, False):  # the body's own points are the same with every keypoint set
                if name.lower() in lower[in_centres]:
                    return in_centres, lower[in_centres].index(name.lower())
    raise InputError(
        f"Gait events need a heel and a toe, or an ankle, of both feet, but the {word} foot has none under names such as "
        f"{patterns[0].format(S=side)} or {side}Ankle; there are: {', '.join((*keypoints, *centres))}."
    )
