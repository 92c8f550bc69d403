"""One calibrated camera (numpy) and the projection of all cameras at once (JAX)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DISTORTION_MODELS = {"none": (0,), "plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
"""ROS/OpenCV distortion model names and the numbers of coefficients each takes."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A calibrated camera: ``x_cam = rotation @ x_world + translation``; optical frame, z forward; metres and pixels."""

    name: str
    width: int
    height: int
    matrix: np.ndarray
    """(3, 3) float64, pixels; skew is zero."""
    distortion_model: str
    distortion: np.ndarray
    """(0 | 4 | 5 | 8,) float64, OpenCV order."""
    rotation: np.ndarray
    """(3, 3) float64, world to camera."""
    translation: np.ndarray
    """(3,) float64, metres."""
