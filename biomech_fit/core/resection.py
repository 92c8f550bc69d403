"""Where a camera stands, from points in the world that it sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from biomech_fit.core.camera import MIN_DEPTH_M, Camera

WIDEST, NARROWEST = 40.0, 4.0
"""Scale of the robust kernel in standard deviations: from the first step, which may be far off, to the last."""
NARROWER = 0.75
"""From step to step."""
STEPS = 20
PRIOR_TURN_RAD, PRIOR_SHIFT_M = np.deg2rad(5.0), 0.3
"""Standard deviations about where the camera stood before: what the points leave open stays there."""


@dataclass(frozen=True, eq=False)
class Resection:
    """A camera's new pose."""

    camera: Camera
    misfit: float
    """Median distance of the points from their pixels, in standard deviations; 1.2 where all is noise."""


def resect(camera: Camera, points: np.ndarray, xy: np.ndarray, sigma_px: np.ndarray) -> Resection | None:
    """Turn and move a camera so that points (N, 3) m lie on their pixels (N, 2) with standard deviations (N,) px; NaN = missing.

    Gauss-Newton on the undistorted rays from where the camera stood, each weighed by what the lens makes of its neighbourhood, with a Geman-McClure kernel
    that becomes narrower from step to step (graduated non-convexity, Blake and Zisserman 1987). None where fewer than six points can be used.
    """
    rays, lens = np.full_like(xy, np.nan, dtype=float), np.full((len(xy), 2, 2), np.nan)
    known = np.isfinite(xy).all(1) & np.isfinite(points).all(1)
    rays[known] = camera.undistort(xy[known])
    known &= np.isfinite(rays).all(1)
    lens[known] = _pixels_per_ray(camera, rays[known])
    known &= np.isfinite(lens).all((1, 2))
    if known.sum() < 6:
        return None
    rays, points, xy, sigma = rays[known], points[known], xy[known], sigma_px[known]
    lens = lens[known] / sigma[:, None, None]
    rotation, centre = np.asarray(camera.rotation, float), camera.centre
    prior = np.r_[np.full(3, PRIOR_TURN_RAD**-2), np.full(3, PRIOR_SHIFT_M**-2)]
    scale = WIDEST
    for _ in range(STEPS):
        in_camera, error = _errors(rotation, centre, points, rays, lens)
        k = scale**2 / (scale**2 + (error**2).sum(1))
        inverse_depth = 1 / in_camera[:, 2]
        by_point = np.zeros((len(points), 2, 3))
        by_point[:, 0, 0], by_point[:, 1, 1] = inverse_depth, inverse_depth
        by_point[:, :, 2] = -in_camera[:, :2] * inverse_depth[:, None] ** 2
        by_point = lens @ by_point
        # A turn w of the camera moves the point by w x p; the centre's shift moves it the other way.
        by_state = np.concatenate([by_point @ np.cross(np.eye(3), in_camera[:, None]).swapaxes(1, 2), -by_point @ rotation], 2)
        by_state, weighted = by_state.reshape(-1, 6), (by_state * (k**2)[:, None, None]).reshape(-1, 6)
        so_far = np.r_[Rotation.from_matrix(rotation @ camera.rotation.T).as_rotvec(), centre - camera.centre]
        step = np.linalg.solve(weighted.T @ by_state + np.diag(prior), weighted.T @ error.reshape(-1) - prior * so_far)
        rotation, centre = Rotation.from_rotvec(step[:3]).as_matrix() @ rotation, centre + step[3:]
        scale = max(NARROWER * scale, NARROWEST)
    found = replace(camera, rotation=rotation, translation=-rotation @ centre)
    distance = np.linalg.norm(xy - found.project(points), axis=1) / sigma
    return Resection(found, float(np.median(np.where(np.isfinite(distance), distance, np.inf))))


def _pixels_per_ray(camera: Camera, rays: np.ndarray) -> np.ndarray:
    """(N, 2, 2) px: derivative of the pixels by the rays (N, 2) at depth 1; it is not the focal length far from the middle of a wide lens."""
    straight, step = replace(camera, rotation=np.eye(3), translation=np.zeros(3)), 1e-4
    moved = rays[:, None] + step * np.concatenate([np.eye(2), -np.eye(2)])
    pixels = straight.project(np.concatenate([moved, np.ones_like(moved[..., :1])], -1).reshape(-1, 3)).reshape(-1, 4, 2)
    return np.swapaxes(pixels[:, :2] - pixels[:, 2:], 1, 2) / (2 * step)


def _errors(rotation: np.ndarray, centre: np.ndarray, points: np.ndarray, rays: np.ndarray, lens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points in the camera's frame (N, 3), not behind it, and whitened errors (N, 2)."""
    in_camera = (points - centre) @ rotation.T
    in_camera[:, 2] = np.maximum(in_camera[:, 2], MIN_DEPTH_M)
    return in_camera, np.squeeze(lens @ (rays - in_camera[:, :2] / in_camera[:, 2:])[..., None], -1)
