"""The gauge of a rig: what a moving body cannot tell about the cameras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
    flat, _ = common_motions(cameras, carries)
    weighted = flat * np.tile(information, len(cameras))[:, None]
    # A single camera has no arm: its scale direction is empty.
    return STIFFNESS * weighted @ np.linalg.pinv(flat.T @ weighted) @ weighted.T


_SHIFTS = np.eye(3, 7)
_BY_ARM = np.concatenate([np.zeros((3, 3, 3)), -np.cross(np.eye(3)[:, None], np.eye(3)).swapaxes(1, 2), np.eye(3)[..., None]], 2).reshape(3, 21)
"""Of a point that lies an axis from the centre: how shift, turn (axis x arm) and stretch move it; by axis of the arm (3, 3 x 7)."""


class Placement(NamedTuple):
    """How surely the loaded calibration places the rig as a whole, and with it everything that it sees."""

    centre: np.ndarray
    """(3,) m, about which it may be turned and stretched."""
    covariance: np.ndarray
    """(7, 7) of shift (m), turn (rad, world axes) and stretch."""

    def moves(self, points: np.ndarray) -> np.ndarray:
        """(P, 3, 7) derivative of points (P, 3) m by shift, turn and stretch."""
        arm = np.atleast_2d(points) - self.centre
        return _SHIFTS + (arm @ _BY_ARM).reshape(-1, 3, 7)

    def of_points(self, points: np.ndarray) -> np.ndarray:
        """(P, 3, 3) m^2, what it adds to the covariance of points (P, 3) m."""
        by = self.moves(points)
        return by @ self.covariance @ by.transpose(0, 2, 1)

    def of_poses(self, positions: np.ndarray) -> np.ndarray:
        """(P, 6, 6) what it adds to that of poses at positions (P, 3) m: place (m), then turn about the world's axes (rad)."""
        by = np.zeros((len(positions), 6, 7))
        by[:, :3], by[:, 3:] = self.moves(positions), np.eye(7)[3:6]
        return by @ self.covariance @ by.transpose(0, 2, 1)


def rig_placement(cameras: Sequence[Camera], information: np.ndarray, carries: np.ndarray | None = None) -> Placement:
    """The covariance of what `rig_gauge` holds: no picture tells it, so it is that of the prior for good. Arguments as there."""
    flat, centre = common_motions(cameras, carries)
    return Placement(centre, np.linalg.pinv(flat.T @ (flat * np.tile(information, len(cameras))[:, None])))


def common_motions(cameras: Sequence[Camera], carries: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The cameras' states (7 C, 7) by shift, turn and stretch of the rig, and the point about which it is turned."""
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
    return directions.reshape(-1, 7), centres.mean(0)
