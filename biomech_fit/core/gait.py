"""Initial and final contact of both feet from a stream of body poses, causal and for any direction of walking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.core.foot_phase import FootPhase, PointState, RawEvent
from biomech_fit.core.steps import StepParameters, StepTracker
from biomech_fit.core.types import EventType, GaitEvent, PoseEstimate, Side, Status

HEEL_NAMES = ("{S}Heel", "{s}_heel", "{s}heel", "{S}HEE", "{S}Ankle", "{s}_ankle", "{s}ankle")
TOE_NAMES = ("{S}BigToe", "{S}Toe", "{s}_big_toe", "{s}_toe", "{s}toe", "{s}mtoe", "{S}TOE", "{S}SmallToe", "{S}Ankle", "{s}_ankle", "{s}ankle")
"""Names under which heels and toes are looked for, best first; {S} is L or R, {s} is left or right, or l or r."""

_USABLE = (Status.OK, Status.REINITIALISED, Status.PREDICTED)


@dataclass(frozen=True)
class GaitSettings:
    """Thresholds of the detector. Speeds are horizontal, over the ground.

    The shares of the swing speed were set on labelled walks of six people (100 Hz markers on heel and toe; initial contact +2 ms, sd 13 ms,
    final contact +1 ms, sd 11 ms against the labels); as shares they hold for children and slow walkers too. Speed thresholds follow
    Ghoussayni et al. 2004 (Gait & Posture 20:266), made relative to the swing.
    """

    contact_share: float = 0.10
    """Initial contact: the heel's speed falls below this share of the swing's greatest speed."""
    off_share: float = 0.28
    """Final contact: the toe's speed rises above this share of the last swings' greatest speed."""
    min_contact_speed_m_s: float = 0.25
    min_off_speed_m_s: float = 0.35
    first_off_speed_m_s: float = 0.6
    """Final contact before any swing was seen."""
    height_gate_m: float = 0.05
    """A foot whose heel and toe are both higher than this over the floor is not in contact."""
    min_swing_speed_m_s: float = 0.6
    """A foot that never gets this fast has made no step."""
    min_swing_length_m: float = 0.08
    min_swing_s: float = 0.12
    min_stance_s: float = 0.15
    confirm_s: float = 0.05
    """A contact or its end must last this long to count."""
    smoothing_s: float = 0.08
    """Length of the parabola from which speeds are read; half of it is delay."""
    max_gap_s: float = 0.25
    """After a longer gap in the poses a foot's phase is unknown."""


class GaitDetector:
    """Detects initial and final contact of both feet and the steps they make.

    Args:
        keypoint_names: K names in the order of `PoseEstimate.keypoints`.
        joint_centre_names: J names in the order of `PoseEstimate.joint_centres`; heel and toe are taken from here first.
        settings: thresholds.
        up: the world's vertical direction.

    Raises:
        InputError: neither list has a heel and a toe (or ankle) of both sides.
    """

    def __init__(
        self,
        keypoint_names: Sequence[str],
        joint_centre_names: Sequence[str] = (),
        settings: GaitSettings | None = None,
        up: Sequence[float] = (0.0, 0.0, 1.0),
    ) -> None:
        self.settings = settings or GaitSettings()
        self._points = [_find(keypoint_names, joint_centre_names, side, names) for names in (HEEL_NAMES, TOE_NAMES) for side in "LR"]
        self._up = np.asarray(up, float) / np.linalg.norm(up)
        self._tracker = StepTracker(up)
        self.reset()

    def reset(self) -> None:
        """Forgets everything, e.g. after the stamps went backwards or another person came."""
        self._feet = {side: FootPhase(self.settings) for side in (Side.LEFT, Side.RIGHT)}
        self._feet[Side.LEFT].other, self._feet[Side.RIGHT].other = self._feet[Side.RIGHT], self._feet[Side.LEFT]
        self._last_ns: int | None = None
        self._tracker.reset()
        self._steps: list[StepParameters] = []

    def update(self, estimate: PoseEstimate) -> list[GaitEvent]:
        """Takes the next pose; gives the events that it confirms, usually some 0.1 s after they happened."""
        if estimate.status not in _USABLE:
            return self.update_points(estimate.stamp_ns, np.full((2, 3), np.nan), np.full((2, 3), np.nan))
        p = [np.asarray(estimate.joint_centres[i] if in_centres else estimate.keypoints[i], float) for in_centres, i in self._points]
        return self.update_points(estimate.stamp_ns, np.stack(p[:2]), np.stack(p[2:]))

    def update_points(self, stamp_ns: int, heels: np.ndarray, toes: np.ndarray) -> list[GaitEvent]:
        """The same from bare points.

        Args:
            stamp_ns: time of the pose. One that is not later than the last is skipped; one that is over a second earlier starts anew.
            heels: (2, 3) m, world: left, right; NaN = missing.
            toes: (2, 3) m, world.
        """
        if self._last_ns is not None and stamp_ns <= self._last_ns:
            if stamp_ns > self._last_ns - 1_000_000_000:
                return []
            self.reset()
        self._last_ns = stamp_ns
        events = []
        for side, foot in self._feet.items():
            heel, toe = heels[side], toes[side]
            if not (np.isfinite(heel).all() and np.isfinite(toe).all()):
                continue
            raw = foot.update(stamp_ns, self._split(heel), self._split(toe))
            events += [self._event(side, r, stamp_ns) for r in raw]
        events.sort(key=lambda e: e.stamp_ns)
        self._steps += self._tracker.update(events)
        return events

    def steps(self) -> list[StepParameters]:
        """The steps completed since the last call."""
        steps, self._steps = self._steps, []
        return steps

    def contact(self) -> tuple[bool | None, bool | None]:
        """Whether the left and the right foot are on the floor; None = unknown."""
        return self._feet[Side.LEFT].in_contact, self._feet[Side.RIGHT].in_contact

    def _split(self, point: np.ndarray) -> PointState:
        height = float(point @ self._up)
        return PointState(position=point, horizontal=point - height * self._up, height=height)

    def _event(self, side: Side, raw: RawEvent, now_ns: int) -> GaitEvent:
        floor = min(f.floor for f in self._feet.values() if np.isfinite(f.floor))
        return GaitEvent(
            stamp_ns=raw.stamp_ns,
            type=EventType.INITIAL_CONTACT if raw.initial else EventType.FINAL_CONTACT,
            side=side,
            position=raw.position + (floor - raw.position @ self._up) * self._up,
            time_std_s=raw.time_std_s,
            confidence=raw.confidence,
            detection_delay_s=(now_ns - raw.stamp_ns) * 1e-9,
        )


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
