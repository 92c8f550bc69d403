"""What the gait pictures need of a run, whatever it came from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from biomech_fit.core.gait_summary import SummarySettings
from biomech_fit.core.opensim_axes import pelvis_rotation
from biomech_fit.core.steps import StepParameters
from biomech_fit.core.types import GaitEvent
from biomech_fit.report.result import TrackResult

_PARTS = {"heels": ("Heel", "Ankle"), "toes": ("BigToe", "Toe", "SmallToe")}


@dataclass(eq=False)
class GaitView:
    """T frames in a z-up world; NaN = missing."""

    stamps_ns: np.ndarray
    """(T,)"""
    zero_ns: int
    """Stamp that is 0 s."""
    events: list[GaitEvent]
    steps: list[StepParameters]
    heels: np.ndarray
    """(T, 2, 3) m: left, right."""
    toes: np.ndarray
    """(T, 2, 3) m."""
    pelvis: np.ndarray
    """(T, 3) m."""
    angles: dict[str, np.ndarray] = field(default_factory=dict)
    """(T,) degrees by coordinate. The pelvis' tilt and obliquity are about its own axes, whichever way the person walks."""

    @property
    def time_s(self) -> np.ndarray:
        """(T,)"""
        return (self.stamps_ns - self.zero_ns) * 1e-9


def turns(step: StepParameters) -> bool:
    """Whether a step belongs to a turn, as the means take it by default."""
    return abs(step.turn_rad) > np.radians(SummarySettings().turn_deg)


def view_of(result: TrackResult) -> GaitView | None:
    """Of the smoothed run; None where the body has no heels (or ankles)."""
    body = result.smoothed
    found = {part: [_point(result, side, names, keypoints_first=True) for side in "LR"] for part, names in _PARTS.items()}
    if any(heel is None for heel in found["heels"]):
        return None
    hips = [_point(result, side, ("Hip",)) for side in "LR"]
    nowhere = np.full((len(result.stamps_ns), 3), np.nan)
    angles = {n: np.degrees(body.position[:, i]) for i, (n, angle) in enumerate(zip(result.coordinate_names, result.coordinate_is_angle, strict=True)) if angle}
    return GaitView(
        result.stamps_ns,
        result.zero_ns,
        body.events,
        body.steps,
        *(np.stack([nowhere if p is None else p for p in found[part]], axis=1) for part in ("heels", "toes")),
        nowhere if hips[0] is None or hips[1] is None else 0.5 * (hips[0] + hips[1]),
        _about_the_pelvis(angles),
    )


def _point(result: TrackResult, side: str, names: tuple[str, ...], keypoints_first: bool = False) -> np.ndarray | None:
    """(T, 3): the body's own point, which is the same with every keypoint set, or first the keypoint, between which steps are measured."""
    body = result.smoothed
    kinds = [(result.joint_centre_names, body.joint_centres), (result.keypoint_names, body.keypoints)]
    for name in names:
        for there, points in kinds[::-1] if keypoints_first else kinds:
            if side + name in there and np.isfinite(points[:, there.index(side + name)]).any():
                return points[:, there.index(side + name)]
    return None


def _about_the_pelvis(angles: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """OpenSim's tilt and list are about the ground's axes and change their meaning with the direction of walking; these do not: `pelvis_anterior_tilt`
    (forwards and down positive) and, for each side, `pelvis_obliquity_l` and `_r` (that side up positive)."""
    names = ("pelvis_tilt", "pelvis_list", "pelvis_rotation")
    if not all(n in angles for n in names):
        return angles
    rotation = pelvis_rotation(np.radians(np.stack([angles[n] for n in names], axis=1)))  # columns: forward, up, right
    forward_up, right_up = np.degrees(np.arcsin(np.clip(rotation[:, 2, [0, 2]], -1.0, 1.0))).T
    return {**angles, "pelvis_anterior_tilt": -forward_up, "pelvis_obliquity_r": right_up, "pelvis_obliquity_l": -right_up}
