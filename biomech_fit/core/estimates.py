"""The slow states as plain data: what the fit knows about the cameras and about the person."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from biomech_fit.core.camera import Camera


class CameraFit(IntEnum):
    """What is thought of a camera's pose."""

    FINE = 0
    LEFT_OUT = 1
    """It does not fit to the others, and its keypoints are not used."""
    MOVED = 2
    """It was moved, or loaded wrongly; where it stands has been estimated anew."""
    PUSHED = 3
    """It was pushed a little, or its clock was set; both have been estimated anew."""


@dataclass(frozen=True, eq=False)
class CalibrationEstimate:
    """The calibration as estimated so far; C cameras, arrays in the order of `cameras`."""

    stamp_ns: int
    """Newest frame in the estimate; 0 before the first."""
    cameras: tuple[Camera, ...]
    """The refined cameras."""
    loaded: tuple[Camera, ...]
    """The cameras as they were loaded."""
    refined: tuple[bool, ...]
    """False where a camera stays as loaded."""
    covariance: np.ndarray
    """(C, 6, 6) of the optical frame's pose in the world: x y z (m), rotation about the world's x y z (rad); NaN = not known."""
    time_offset_s: np.ndarray
    """(C,) exposure time = stamp + time_offset_s."""
    time_offset_std_s: np.ndarray
    """(C,) NaN = not estimated."""
    reprojection_rms_px: np.ndarray
    """(C,) of the tracked person's keypoints with confidence >= 0.5; NaN = none."""
    loaded_reprojection_rms_px: np.ndarray
    """(C,) the same through the loaded cameras."""
    fits: tuple[CameraFit, ...] = ()
    """C, or none where nobody has looked."""


@dataclass(frozen=True, eq=False)
class SubjectEstimate:
    """The body as estimated so far for one person; S scales, K keypoints."""

    stamp_ns: int
    """Newest frame in the estimate; 0 before the first."""
    name: str
    """Empty = not named."""
    model: str
    scale_names: tuple[str, ...]
    scales: np.ndarray
    """(S,) additive to 1 as in the solver: 0 = the model's own size."""
    scale_std: np.ndarray
    """(S,)"""
    keypoint_names: tuple[str, ...]
    keypoint_offsets: np.ndarray
    """(K, 3) m, from the model's scaled point to where the detector aims at, in the keypoint's body frame."""
    keypoint_offset_std: np.ndarray
    """(K, 3) m."""
    segment_lengths_m: dict[str, float]
    frames: int
    """Frame sets that the estimate has seen."""
    fixed: bool
    """True = given by a subject file and not estimated further."""
    covariance: np.ndarray | None = None
    """(S + 3K, S + 3K) of scales and offsets (x, y, z keypoint by keypoint); NaN for keypoints that the model lacks; None = only the standard deviations
    are known."""
