"""Simulated camera rigs, the calibration that the user gets of them, and the projection by OpenCV."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from biomech_fit.core.camera import Camera

ARC_RAD = np.deg2rad(120.0)
TARGET_HEIGHT_M = 0.95


def camera_rig(
    rng: np.random.Generator, count: int, *, layout: str, radius_m: float, width_px: int, height_px: int, focal_px: float
) -> list[Camera]:
    """`count` cameras on a ring (or a one-sided arc of 120 degrees) that look at the middle of the volume, named cam01, cam02, ...

    Radius +-0.25 m, heights alternating about 1.6 and 2.4 m, focal lengths +-5 %, mild plumb_bob distortion (k1 k2 p1 p2).
    """
    cameras = []
    for i in range(count):
        angle = 2 * np.pi * (i + 0.5) / count if layout == "ring" else ARC_RAD * ((i + 0.5) / count - 0.5) - 0.5 * np.pi
        angle += rng.uniform(-0.06, 0.06)
        radius = radius_m + rng.uniform(-0.25, 0.25)
        height = (1.6, 2.4)[i % 2] + rng.uniform(-0.1, 0.1)
        centre = np.array([radius * np.cos(angle), radius * np.sin(angle), height])
        target = np.array([*rng.uniform(-0.1, 0.1, 2), TARGET_HEIGHT_M])
        rotation = _look_at(centre, target, rng.uniform(-0.02, 0.02))
        focal = focal_px * (1.0 + rng.uniform(-0.05, 0.05))
        middle = np.array([0.5 * (width_px - 1), 0.5 * (height_px - 1)]) + rng.uniform(-15.0, 15.0, 2)
        matrix = np.array([[focal, 0.0, middle[0]], [0.0, focal * (1.0 + rng.uniform(-0.002, 0.002)), middle[1]], [0.0, 0.0, 1.0]])
        distortion = np.array([rng.uniform(-0.10, -0.04), rng.uniform(0.02, 0.08), *rng.uniform(-5e-4, 5e-4, 2)])
        cameras.append(Camera(f"cam{i + 1:02d}", width_px, height_px, matrix, "plumb_bob", distortion, rotation, -rotation @ centre))
    return cameras


def _look_at(centre: np.ndarray, target: np.ndarray, roll_rad: float) -> np.ndarray:
    """(3, 3) world to optical frame (x right, y down, z forward) of a camera at `centre` that looks at `target`."""
    forward = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    upright = np.stack([right, np.cross(forward, right), forward])
    return Rotation.from_rotvec([0.0, 0.0, roll_rad]).as_matrix() @ upright


def perturbed(cameras: list[Camera], rng: np.random.Generator, rotation_rad: float, translation_m: float) -> list[Camera]:
    """A calibration with errors: each camera turned by `rotation_rad` about a random axis through its centre, its centre moved by `translation_m`."""
    out = []
    for camera in cameras:
        axis, direction = rng.standard_normal((2, 3))
        turn = Rotation.from_rotvec(rotation_rad * axis / np.linalg.norm(axis)).as_matrix()
        centre = -camera.rotation.T @ camera.translation + translation_m * direction / np.linalg.norm(direction)
        rotation = turn @ camera.rotation
        out.append(replace(camera, rotation=rotation, translation=-rotation @ centre))
    return out


def project(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Pixels (..., 2) of world points (..., 3) m by OpenCV; NaN behind the camera, outside of the image or where the point is NaN."""
    flat = np.ascontiguousarray(points.reshape(-1, 3), dtype=np.float64)
    depth = flat @ camera.rotation[2] + camera.translation[2]
    good = np.isfinite(depth) & (depth > 0.05)
    pixels = np.full((len(flat), 2), np.nan)
    if good.any():
        rotation, _ = cv2.Rodrigues(camera.rotation)
        pixels[good] = cv2.projectPoints(flat[good].reshape(-1, 1, 3), rotation, camera.translation, camera.matrix, camera.distortion)[0].reshape(-1, 2)
    # A wide angle can fold back into the image through the distortion polynomial: only points near the pinhole image count.
    with np.errstate(invalid="ignore", divide="ignore"):
        ray = (flat @ camera.rotation.T + camera.translation)[:, :2] / depth[:, None]
        pinhole = ray * camera.matrix[[0, 1], [0, 1]] + camera.matrix[:2, 2]
        size = np.array([camera.width, camera.height])
        inside = np.all((pixels >= -0.5) & (pixels < size - 0.5) & (pinhole > -0.25 * size) & (pinhole < 1.25 * size), axis=1)
    pixels[~inside] = np.nan
    return pixels.reshape(*points.shape[:-1], 2)
