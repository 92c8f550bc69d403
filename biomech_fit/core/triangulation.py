"""Points from two or more calibrated views (numpy, float64, vectorised over keypoints and frames)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from biomech_fit.core.camera import MIN_DEPTH_M, Camera

_MIN_SINE = 0.02
"""Viewing rays of a pair that meet at less than 1.1 degrees tell nothing about depth."""
_MEDIAN_STEPS = 8


def triangulate_weighted(cameras: Sequence[Camera], xy: np.ndarray, weight: np.ndarray, *, iterations: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Weighted linear triangulation (DLT, Hartley & Zisserman 2004, 12.2), re-weighted by depth so that it minimises pixels.

    Args:
        cameras: C calibrated cameras.
        xy: (..., C, K, 2) px in the distorted images; NaN = missing.
        weight: (..., C, K) >= 0, multiplies the squared pixel error; 0 = missing.
        iterations: linear solves; the first one weighs by 1 instead of 1 / depth.

    Returns:
        points (..., K, 3) m in the world, NaN where fewer than two cameras see the keypoint (or their rays are parallel), and
        residuals (..., C, K) px, the distance of each observation from the point projected back; NaN where there is none.
    """
    flat, lead = _flatten(cameras, xy, weight)
    rig, rays, w = _Rig.of(cameras), *_rays(cameras, *flat)
    points = np.full((w.shape[1], 3), np.nan)
    for step in range(iterations):
        points = _solve(rig, rays, w, points if step else None)
    return _shaped(points, _residuals(cameras, flat[0], w, points), lead)


def triangulate_robust(
    cameras: Sequence[Camera], xy: np.ndarray, weight: np.ndarray, *, sigma_m: float = 0.15, kernel_px: float = 25.0, iterations: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Triangulation that survives views which are wrong by a lot (left-right swaps, another person), and keeps those that are off by a biased calibration.

    The midpoints of all camera pairs' rays are reduced to their geometric median (Weiszfeld 1937); a camera's weight is the mean of
    ``exp(-distance^2 / sigma_m^2)`` over its pairs (Cotton 2024, arXiv 2402.17192, has the scheme and the 150 mm). From there re-weighted least squares
    on the reprojection error with a Cauchy kernel of `kernel_px`.

    Arguments, shapes and results as in `triangulate_weighted`.
    """
    flat, lead = _flatten(cameras, xy, weight)
    rig, rays, w = _Rig.of(cameras), *_rays(cameras, *flat)
    median, trust = _median_of_pairs(rig, rays, w, sigma_m)
    points, w_now = median, w * trust
    for _ in range(iterations):
        points = _solve(rig, rays, w_now, points)
        error = _pixel_error(rig, rays, points)
        w_now = np.where(np.isnan(error), 0.0, w * trust / (1.0 + (error / kernel_px) ** 2))
    return _shaped(points, _residuals(cameras, flat[0], w, points), lead)


class _Rig:
    """What triangulation needs of C cameras, stacked once per rig."""

    def __init__(self, cameras: tuple[Camera, ...]) -> None:
        self.projection = np.stack([c.projection_matrix for c in cameras])
        self.focal = np.array([[c.matrix[0, 0], c.matrix[1, 1]] for c in cameras], float)
        self.centre = np.stack([c.centre for c in cameras])
        self.first, self.second = np.triu_indices(len(cameras), 1)
        self.membership = np.zeros((len(cameras), len(self.first)))
        self.membership[self.first, np.arange(len(self.first))] = 1.0
        self.membership[self.second, np.arange(len(self.first))] = 1.0

    @staticmethod
    def of(cameras: Sequence[Camera]) -> _Rig:
        return _rig(tuple(cameras))


@lru_cache(maxsize=16)
def _rig(cameras: tuple[Camera, ...]) -> _Rig:
    return _Rig(cameras)


def _flatten(cameras: Sequence[Camera], xy: np.ndarray, weight: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], tuple[int, ...]]:
    """(..., C, K, 2) to (C, N, 2) with N = frames x keypoints, and (..., K)."""
    xy, weight = np.asarray(xy, float), np.asarray(weight, float)
    if xy.ndim < 3 or xy.shape[-3] != len(cameras) or xy.shape[-1] != 2 or xy.shape[:-1] != weight.shape:
        raise ValueError(f"xy must be (..., {len(cameras)}, K, 2) and weight (..., {len(cameras)}, K), not {xy.shape} and {weight.shape}")
    lead = (*xy.shape[:-3], xy.shape[-2])
    return (np.moveaxis(xy, -3, 0).reshape(len(cameras), -1, 2), np.moveaxis(weight, -2, 0).reshape(len(cameras), -1)), lead


def _shaped(points: np.ndarray, residual: np.ndarray, lead: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return points.reshape(*lead, 3), np.moveaxis(residual.reshape(-1, *lead), 0, -2)


def _rays(cameras: Sequence[Camera], xy: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised coordinates (C, N, 2), zeros where missing, and weights (C, N), zero where missing."""
    rays = np.stack([c.undistort(p) for c, p in zip(cameras, xy, strict=True)])
    seen = np.isfinite(rays).all(-1) & np.isfinite(weight) & (weight > 0)
    return np.where(seen[..., None], rays, 0.0), np.where(seen, weight, 0.0)


def _solve(rig: _Rig, rays: np.ndarray, weight: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
    """One weighted linear solve (N, 3); `previous` points give the depths."""
    p = rig.projection
    rows = p[:, None, :2, :] - rays[..., None] * p[:, None, 2:, :]  # (C, N, 2, 4)
    scale = np.broadcast_to(rig.focal[:, None, :], rays.shape)
    if previous is not None:
        depth = previous @ p[:, 2, :3].T + p[:, 2, 3]  # (N, C)
        depth = np.where(depth.T > MIN_DEPTH_M, depth.T, 1.0)
        scale = scale / np.where(np.isfinite(depth), depth, 1.0)[..., None]
    rows = rows * (scale * np.sqrt(weight)[..., None])[..., None]
    stacked = np.moveaxis(rows, 0, 1).reshape(rays.shape[1], -1, 4)
    normal = np.swapaxes(stacked, 1, 2) @ stacked
    matrix, right = normal[:, :3, :3], -normal[:, :3, 3:]
    enough = (weight > 0).sum(0) >= 2
    size = np.trace(matrix, axis1=1, axis2=2)
    enough &= (size > 0) & (np.linalg.det(matrix) > 1e-12 * size**3)
    safe = np.where(enough[:, None, None], matrix, np.eye(3))
    return np.where(enough[:, None], np.linalg.solve(safe, right)[..., 0], np.nan)


def _pixel_error(rig: _Rig, rays: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(C, N) px in the undistorted image; infinite behind a camera, NaN for NaN points."""
    in_camera = np.einsum("cij,nj->cni", rig.projection[..., :3], points) + rig.projection[:, None, :, 3]
    depth = in_camera[..., 2:]
    error = np.linalg.norm((in_camera[..., :2] / np.where(depth > MIN_DEPTH_M, depth, 1.0) - rays) * rig.focal[:, None], axis=-1)
    return np.where(depth[..., 0] <= MIN_DEPTH_M, np.inf, error)


def _residuals(cameras: Sequence[Camera], xy: np.ndarray, weight: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(C, N) px in the distorted images."""
    residual = np.full(weight.shape, np.nan)
    for c, camera in enumerate(cameras):
        seen = (weight[c] > 0) & np.isfinite(points[:, 0])
        residual[c, seen] = np.linalg.norm(camera.project(points[seen]) - xy[c, seen], axis=1)
    return residual


def _median_of_pairs(rig: _Rig, rays: np.ndarray, weight: np.ndarray, sigma_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Geometric median (N, 3) of the pairs' midpoints and the trust (C, N), 0 to 1, that each camera earns by agreeing with it."""
    direction = np.concatenate([rays, np.ones_like(rays[..., :1])], -1) @ rig.projection[..., :3]
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    i, j = rig.first, rig.second
    u, v = direction[i], direction[j]  # (P, N, 3)
    baseline = (rig.centre[j] - rig.centre[i])[:, None]
    cosine = (u * v).sum(-1)
    sine2 = 1.0 - cosine**2
    bu, bv = (baseline * u).sum(-1), (baseline * v).sum(-1)
    safe = np.maximum(sine2, _MIN_SINE**2)
    along_u, along_v = (bu - cosine * bv) / safe, (cosine * bu - bv) / safe
    middle = 0.5 * (rig.centre[i][:, None] + along_u[..., None] * u + rig.centre[j][:, None] + along_v[..., None] * v)
    pair = np.sqrt(weight[i] * weight[j]) * np.sqrt(np.maximum(sine2, 0))
    pair *= (sine2 > _MIN_SINE**2) & (along_u > 0) & (along_v > 0)
    total = pair.sum(0)
    with np.errstate(invalid="ignore"):
        median = np.where(total > 0, 1.0, np.nan)[:, None] * np.einsum("pn,pnk->nk", pair, middle) / np.maximum(total, 1e-300)[:, None]
    distance = np.linalg.norm(middle - median, axis=-1)
    for _ in range(_MEDIAN_STEPS):
        pull = pair / np.maximum(distance, 1e-4)
        median = np.einsum("pn,pnk->nk", pull, middle) / np.maximum(pull.sum(0), 1e-300)[:, None]
        distance = np.linalg.norm(middle - median, axis=-1)
    closeness = pair * np.exp(-((distance / sigma_m) ** 2))
    trust = (rig.membership @ closeness) / np.maximum(rig.membership @ pair, 1e-300)
    # When nobody agrees (two cameras far apart, say), the least-squares compromise is better than nothing.
    hopeless = ~(trust.max(0) >= 1e-3)
    trust = np.where(hopeless, 1.0, np.maximum(trust, 1e-6))
    median = np.where((total > 0)[:, None], median, np.nan)
    return median, trust
