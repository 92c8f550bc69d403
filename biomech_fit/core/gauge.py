"""The gauge of a rig: what a moving body cannot tell about the cameras."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.core.residuals import CAMERA_STATES

STIFFNESS = 1e4
"""The rig as a whole is held this much more firmly (in information) than each camera."""


def rig_gauge(cameras: Sequence[Camera], information: np.ndarray, carries: np.ndarray | None = None) -> np.ndarray:
    """Information (7 C, 7 C) that holds the rig's net motion at zero; `information` (7,) is each camera's own prior.
    `carries` (C,) bool: the cameras whose motion counts (None = all); those that were moved do not.

    Moving, turning or stretching all cameras and the body together changes no pixel, so only the loaded calibration speaks about it. The corrections'
    component along these seven directions, in the metric of the prior, is held at zero (inner constraints of a free network; Triggs et al. 2000,
    Bundle Adjustment, section 9.2.2). Without this, linearisation errors of frames that left the window would be taken for information on it.
    """
    centres = np.array([c.centre for c in cameras])
    arms = centres - centres.mean(0)
    directions = np.zeros((len(cameras), CAMERA_STATES, 7))
    for c, (camera, arm) in enumerate(zip(cameras, arms, strict=True)):
        directions[c, 3:6, :3] = np.eye(3)
        directions[c, :3, 3:6] = -camera.rotation
        directions[c, 3:6, 3:6] = np.cross(np.eye(3), arm).T  # column j: axis j x arm
        directions[c, 3:6, 6] = arm
    if carries is not None:
        directions[~carries] = 0.0
    flat = directions.reshape(-1, 7)
    weighted = flat * np.tile(information, len(cameras))[:, None]
    inner = flat.T @ weighted
    # A single camera has no arm: its scale direction is empty.
    return STIFFNESS * weighted @ np.linalg.pinv(inner) @ weighted.T
