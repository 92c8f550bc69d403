"""Where the cameras should see the keypoints of a coming frame."""

from __future__ import annotations

import numpy as np

from biomech_fit.core.camera import Camera

MOST_STEPS = 5.0
"""Motion is continued for so many frames at most."""
SLOWEST_S = 0.1
"""Frames further apart than this tell no speed."""


class PixelMotion:
    """The fitted keypoints in the pictures of the last two frames, continued by constant velocity."""

    def __init__(self) -> None:
        self._frames: list[tuple[int, np.ndarray, np.ndarray]] = []

    def add(self, stamp_ns: int, uv: np.ndarray, points: np.ndarray) -> None:
        """The newest frame: (C, K, 2) px and (K, 3) m."""
        self._frames = [*self._frames[-1:], (stamp_ns, np.array(uv), points)]

    def see_anew(self, c: int, camera: Camera) -> None:
        """Camera c stands elsewhere."""
        for _, uv, points in self._frames:
            uv[c] = camera.project(points)

    def at(self, stamp_ns: int) -> np.ndarray:
        """(C, K, 2) px."""
        newest_ns, uv, _ = self._frames[-1]
        if len(self._frames) < 2:
            return uv
        before_ns, before, _ = self._frames[-2]
        ahead = min((stamp_ns - newest_ns) / max(newest_ns - before_ns, 1), MOST_STEPS)
        return uv + ahead * (uv - before)

    def speed(self) -> np.ndarray:
        """(C, K, 2) px/s of the newest frame; 0 where the one before is too old, or there is none, NaN where the camera cannot see the point in both."""
        (before_ns, before, _), (newest_ns, uv, _) = self._frames[0], self._frames[-1]
        step_s = (newest_ns - before_ns) * 1e-9
        return (uv - before) / step_s if 0 < step_s < SLOWEST_S else np.zeros_like(uv)
