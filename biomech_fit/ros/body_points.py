"""What gait needs of a body state, read from the serialized message."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from biomech_fit.core.types import Status
from biomech_fit.ros.cdr import CdrReader

PELVIS_DOUBLES = 7 + 36
"""Position, quaternion and covariance of `BodyState.pelvis`."""


class BodyPoints(NamedTuple):
    """A body state without its joint angles."""

    stamp_ns: int
    frame_id: str
    subject: str
    status: Status
    keypoint_names: tuple[str, ...]
    keypoints: np.ndarray
    """(K, 3) m."""
    joint_centre_names: tuple[str, ...]
    joint_centres: np.ndarray
    """(J, 3) m."""
    lag_s: float


def stamp_of_serialized(message: bytes) -> int:
    """Stamp (ns) of a serialized message that begins with a header."""
    return CdrReader(message).stamp_ns()


class BodyPointsReader:
    """Reads serialized `BodyState` messages; remembers names from one to the next."""

    def __init__(self) -> None:
        self._joints: dict[bytes, tuple[str, ...]] = {}
        self._keypoints: dict[bytes, tuple[str, ...]] = {}
        self._centres: dict[bytes, tuple[str, ...]] = {}

    def read(self, message: bytes) -> BodyPoints | None:
        """None of a message that has only a status. Raises ValueError where it is broken, or its arrays do not fit its names."""
        cdr = CdrReader(message)
        stamp_ns, frame_id, subject, status = cdr.stamp_ns(), cdr.string(), cdr.string(), cdr.byte()
        cdr.skip_string()
        cdr.strings(self._joints)
        if not cdr.skip_float32s():
            return None
        cdr.skip_float32s()
        cdr.skip_float32s()
        cdr.skip(8, PELVIS_DOUBLES)
        cdr.skip_string()
        keypoint_names, keypoints = cdr.strings(self._keypoints), cdr.float32s()
        cdr.skip_float32s()
        centre_names, centres = cdr.strings(self._centres), cdr.float32s()
        keypoints, centres = keypoints.reshape(len(keypoint_names), 3), centres.reshape(len(centre_names), 3)
        return BodyPoints(stamp_ns, frame_id, subject, Status(status), keypoint_names, keypoints, centre_names, centres, cdr.float32())
