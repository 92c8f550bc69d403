"""Worlds whose up is another axis than z."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.triangulation import triangulate_weighted
from biomech_fit.core.types import KeypointPacket

LOWER, UPPER = ("ankle", "heel"), ("shoulder", "hip")
"""Points of the feet and of the upper body have these words in their names, in any keypoint set."""
INSTANTS = 60
"""From so many the axis is taken."""
MOST_PACKETS = 20_000
AGREE = 0.5
"""Cosine: cameras are not all upside down or on their sides, so that up in their images is within 60 degrees of up in the room, in the mean. Else the person
lies, or it is not known what is up."""

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


def chosen_up(given: str | None, cameras: Sequence[Camera], names: Sequence[str], packets: Iterable[KeypointPacket]) -> tuple[str, str | None]:
    """The axis that is taken for up: the given one, else as the first person seen stands (`seen_up`), else z; and a sentence where it is an unusual one that
    nobody asked for."""
    seen = None if given else seen_up(cameras, names, packets)
    unusual = seen is not None and seen != "z"
    stands = f"The person stands along {seen} of the calibration's world, which is taken for up; --world-up sets another." if unusual else None
    return given or seen or "z", stands


def seen_up(cameras: Sequence[Camera], names: Sequence[str], packets: Iterable[KeypointPacket]) -> str | None:
    """The axis of the calibration's world that points up: that along which the first person seen stands, where the cameras' images say the same.

    Instants in which two cameras or more see one person and nobody else are taken, `INSTANTS` at most. None where it is not clear.

    Args:
        cameras: calibrated in that world.
        names: of the keypoints in the packets.
        packets: in the order of their arrival.
    """
    rows = {camera.name: c for c, camera in enumerate(cameras)}
    points = [[k for k, name in enumerate(names) if any(word in name.lower() for word in words)] for words in (LOWER, UPPER)]
    if not all(points):
        return None
    shape = (len(cameras), len(names))
    middles: list[np.ndarray] = []
    xy, weight = np.full((*shape, 2), np.nan), np.zeros(shape)
    for count, packet in enumerate(packets):
        if packet.camera not in rows:
            continue
        c = rows[packet.camera]
        if weight[c].any():  # a camera's next packet: the instant is over
            if (weight > 0).any(1).sum() >= 2:
                found, _ = triangulate_weighted(cameras, xy, weight)
                middles.append(np.stack([_mean(found[part]) for part in points]))
            xy[:], weight[:] = np.nan, 0.0
        if len(middles) >= INSTANTS or count >= MOST_PACKETS:
            break
        if len(packet.xy) == 1:
            xy[c], weight[c] = packet.xy[0], np.where(np.isfinite(packet.xy[0]).all(1), packet.confidence[0], 0.0)
    if not middles:
        return None
    lower, upper = np.moveaxis(np.array(middles), 1, 0)
    up = likely_up(lower, upper)
    if up is None or ROTATIONS[up][2] @ -np.mean([camera.rotation[1] for camera in cameras], axis=0) < AGREE:
        return None
    return up


def _mean(points: np.ndarray) -> np.ndarray:
    """(3,) of those that are known."""
    known = points[np.isfinite(points).all(1)]
    return known.mean(axis=0) if len(known) else np.full(3, np.nan)
