"""Camera rigs round a walk: a ring, an arc on one side, and the real rig of the Pose2Sim recording with the walk placed in its working volume."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from walks import DATA

from biomech_fit.core.camera import Camera
from biomech_fit.formats.calibration import read_calibration

RADIUS_M, HEIGHT_M, AIM_M = 4.5, 2.0, 0.9
WIDTH, HEIGHT, FOCAL_PX = 1280, 1024, 1150.0
DISTORTION = (-0.06, 0.02, 0.0004, -0.0003)
"""k1 k2 p1 p2: 6 px at the edge of the image."""
REAL = DATA.parent / "pose2sim_balancing" / "calibration" / "Calib_qualisys.toml"
FACING_DEG = 90.0
"""Bearing of the middle of a one-sided arc; 0 = straight ahead of the walk's direction, 90 = its left."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A rig, and where the walk is put in its world: x_world = turn @ x + shift (about the vertical; m)."""

    cameras: list[Camera]
    turn: np.ndarray
    shift: np.ndarray

    def place(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) m of the file's world in the rig's."""
        return points @ self.turn.T + self.shift


def ring(walk: np.ndarray, count: int = 8) -> Placed:
    """Cameras all round the middle of the walk's points (T, K, 3) m."""
    return _circle(walk, np.arange(count) * 2 * np.pi / count + np.pi / 8)


def one_sided(walk: np.ndarray, arc_deg: float, count: int = 4) -> Placed:
    """Cameras on an arc on the walker's left."""
    return _circle(walk, _heading(walk) + np.deg2rad(FACING_DEG + np.linspace(-arc_deg / 2, arc_deg / 2, count)))


def real(walk: np.ndarray) -> Placed:
    """The four cameras of the Pose2Sim recording, images resized to fit into 1280 x 1024.

    The walk's middle and heading are those that keep most of its points in all images.
    """
    cameras = [_resized(camera, min(WIDTH / camera.width, HEIGHT / camera.height)) for camera in read_calibration(REAL).cameras]
    target = _nearest_to_axes(cameras)
    middle = _middle(walk)
    some = walk[:: max(1, len(walk) // 12)]
    best: tuple[float, Placed] | None = None
    for heading in np.deg2rad(np.arange(0, 360, 15)):
        turn = _about_vertical(heading - _heading(walk))
        for dx in np.arange(-0.6, 0.61, 0.2):
            for dy in np.arange(-0.6, 0.61, 0.2):
                shift = np.array([target[0] + dx, target[1] + dy, 0.0]) - turn @ np.array([middle[0], middle[1], 0.0])
                placed = Placed(cameras, turn, shift)
                seen = np.mean([np.isfinite(pixels(camera, placed.place(some))).all(-1) for camera in cameras])
                # Among places that are as good, the one nearest to where the cameras look.
                score = round(float(seen), 3) - 0.01 * np.hypot(dx, dy)
                if best is None or score > best[0]:
                    best = (score, placed)
    assert best is not None
    return best[1]


RIGS = {"ring of 8": ring, "4 in 60": partial(one_sided, arc_deg=60.0), "4 in 90": partial(one_sided, arc_deg=90.0), "real 4": real}


def pixels(camera: Camera, points: np.ndarray) -> np.ndarray:
    """(..., 3) m to (..., 2) px by OpenCV; NaN outside the image, behind the camera, or for NaN."""
    flat = np.asarray(points, float).reshape(-1, 3)
    depth = flat @ camera.rotation[2] + camera.translation[2]
    out = np.full((len(flat), 2), np.nan)
    good = depth > 0.2
    if good.any():
        turn, _ = cv2.Rodrigues(np.asarray(camera.rotation, float))
        found, _ = cv2.projectPoints(np.ascontiguousarray(flat[good])[:, None], turn, camera.translation, camera.matrix, camera.distortion)
        out[good] = found[:, 0]
    with np.errstate(invalid="ignore"):
        inside = ((out >= -0.5) & (out < np.array([camera.width, camera.height]) - 0.5)).all(-1)
    out[~inside] = np.nan
    return out.reshape(*np.shape(points)[:-1], 2)


def perturbed(cameras: list[Camera], rng: np.random.Generator) -> list[Camera]:
    """The calibration as handed out: every camera turned by 0.3 to 0.8 degrees about a random axis and moved by 10 to 30 mm."""
    out = []
    for camera in cameras:
        turn, _ = cv2.Rodrigues(np.deg2rad(rng.uniform(0.3, 0.8)) * _direction(rng))
        rotation = turn @ camera.rotation
        centre = camera.centre + rng.uniform(0.010, 0.030) * _direction(rng)
        out.append(replace(camera, rotation=rotation, translation=-rotation @ centre))
    return out


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def _circle(walk: np.ndarray, bearings: np.ndarray) -> Placed:
    """Cameras on a circle round the walk, at the given angles from the x axis (rad)."""
    middle = _middle(walk)
    matrix = np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]])
    cameras = []
    for number, bearing in enumerate(bearings):
        centre = np.array([middle[0] + RADIUS_M * np.cos(bearing), middle[1] + RADIUS_M * np.sin(bearing), HEIGHT_M])
        forward = np.array([middle[0], middle[1], AIM_M]) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        name = f"cam_{number + 1:02d}"
        cameras.append(Camera(name, WIDTH, HEIGHT, matrix, "plumb_bob", np.array(DISTORTION), rotation, -rotation @ centre))
    return Placed(cameras, np.eye(3), np.zeros(3))


def _middle(walk: np.ndarray) -> np.ndarray:
    """(2,) m: half way between the first and the last place of the mean point."""
    place = np.nanmean(walk[..., :2], axis=1)
    return 0.5 * (place.min(0) + place.max(0))


def _heading(walk: np.ndarray) -> float:
    """Direction of the walk from the x axis (rad)."""
    place = np.nanmean(walk[..., :2], axis=1)
    x, y = place[-1] - place[0]
    return float(np.arctan2(y, x))


def _resized(camera: Camera, factor: float) -> Camera:
    """The camera with its images resized, so that the detector's 4 px are of an image within 1280 x 1024 in every rig."""
    matrix = np.diag([factor, factor, 1.0]) @ camera.matrix
    return replace(camera, width=round(camera.width * factor), height=round(camera.height * factor), matrix=matrix)


def _about_vertical(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])


def _nearest_to_axes(cameras: list[Camera]) -> np.ndarray:
    """(3,) m, the point nearest to all optical axes."""
    normal, rhs = np.zeros((3, 3)), np.zeros(3)
    for camera in cameras:
        across = np.eye(3) - np.outer(camera.rotation[2], camera.rotation[2])
        normal += across
        rhs += across @ camera.centre
    return np.linalg.solve(normal, rhs)
