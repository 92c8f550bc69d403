"""Worlds whose up is another axis than z."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError

ROTATIONS = {
    "x": np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "-x": np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]]),
    "y": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "-y": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "z": np.eye(3),
    "-z": np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]),
}
"""(3, 3) for each axis that points up: z-up world from the file's world, a rotation. That of y is OpenSim's (x, y, z) -> (x, -z, y)."""


def upright(points: np.ndarray, up: str) -> np.ndarray:
    """(..., 3) points of a world with this axis up, in the z-up world. Raises InputError for an unknown axis."""
    if up not in ROTATIONS:
        raise InputError(f"'{up}' is not an axis; valid are {', '.join(ROTATIONS)}.")
    return np.asarray(points) @ ROTATIONS[up].T


def upright_camera(camera: Camera, up: str) -> Camera:
    """The camera of a world with this axis up, in the z-up world. Raises InputError for an unknown axis."""
    return replace(camera, rotation=upright(camera.rotation, up))


def fallen_camera(camera: Camera, up: str) -> Camera:
    """The inverse of `upright_camera`."""
    return replace(camera, rotation=camera.rotation @ ROTATIONS[up])


def likely_up(lower: np.ndarray, upper: np.ndarray) -> str | None:
    """The axis along which (T, 3) points of the upper body lie farthest above (T, 3) points of the feet; None where that is not clear."""
    above = np.asarray(upper) - np.asarray(lower)
    above = above[np.isfinite(above).all(1)]
    if not len(above):
        return None
    middle = np.median(above, axis=0)
    axis = int(np.argmax(np.abs(middle)))
    if np.abs(middle[axis]) < 2 * np.sort(np.abs(middle))[-2]:
        return None
    return ("" if middle[axis] > 0 else "-") + "xyz"[axis]
