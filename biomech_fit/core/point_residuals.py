"""Observed 3D points as residuals: their positions, or scale-free the directions of the bones between them.

Positions may share an error in every frame (`PointCosts.drift_std_m`): a monocular estimator's root drifts in depth while the pose about it is good. That
error is eliminated in closed form (Schur complement of one 3-vector per frame), which couples the points of a frame. Directions are unit vectors from
keypoint to keypoint: sizes need not agree, as in KinePose (Gildea et al., IMVIP 2022). The root then follows the points' centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from biomech_fit.core.robust import Kernel

CENTRING_STEPS = 3
"""Re-weighted means that find the frame's common error."""
LEAST_SHARE = 1e-3
"""Slots of the window that are empty have share 0, and nothing to divide by it."""
MIN_BONE_M = 1e-3
"""Bones shorter than this have no direction."""
LEAST_ROOT_STD_M = 0.3
"""With directions the root is never held more firmly than this: the points' centre is that of another size of body."""


@dataclass(frozen=True)
class PointCosts:
    """What is compared with observed 3D points."""

    bones: tuple[tuple[int, int], ...] = ()
    """Directions of these pairs of keypoints are compared; none = the points' positions."""
    drift_std_m: float = 0.0
    """Standard deviation, per axis, of an error that all points of a frame share."""


class PointObservations(NamedTuple):
    """Observed places of the keypoints in T frames."""

    xyz: Array
    """(T, K, 3) m; anything finite where the information is 0."""
    information: Array
    """(T, K) 1/m^2 per axis, before the robust kernel; 0 = missing."""


class PointTerms(NamedTuple):
    """Normal equations in the points of T frames."""

    matrix: Array
    """(T, K, 3, 3) 1/m^2 of each point."""
    joined: Array | None
    """(T, 3, K, 3, K) 1/m^2 what is to be added to that where points are coupled."""
    vector: Array
    """(T, K, 3) 1/m."""
    cost: Array
    """()"""


def point_terms(points: Array, observed: PointObservations, share: Array, costs: PointCosts, kernel: Kernel, scale: Array) -> PointTerms:
    """Robust residuals of points (T, K, 3); `share` (T,) is how many independent frames each stands for."""
    compare = _directions if costs.bones else _positions
    return compare(points, observed, share[:, None], costs, kernel, scale)


def _positions(points: Array, observed: PointObservations, share: Array, costs: PointCosts, kernel: Kernel, scale: Array) -> PointTerms:
    error = observed.xyz - points
    known = 1 / costs.drift_std_m**2 if costs.drift_std_m > 0 else np.inf
    common = jnp.zeros_like(error[:, :1])
    if costs.drift_std_m > 0:
        seen = (observed.information > 0)[..., None]
        common = jnp.nan_to_num(jnp.nanmedian(jnp.where(seen, error, jnp.nan), 1, keepdims=True))
        for _ in range(CENTRING_STEPS):
            weight = kernel(jnp.sum((error - common) ** 2, -1) * observed.information, scale)[1] * observed.information
            common = _common(error, weight, known)
    cost, kept = kernel(jnp.sum((error - common) ** 2, -1) * observed.information, scale)
    weight = kept * observed.information * share
    matrix, joined = weight[..., None, None] * jnp.eye(3, dtype=points.dtype), None
    if costs.drift_std_m > 0:
        # The common error is white from frame to frame as far as this goes, so it is `share` of an independent one, too.
        known = known * jnp.maximum(share, LEAST_SHARE)
        common = _common(error, weight, known)
        joined = _each_axis(-weight[:, :, None] * weight[:, None, :] / (jnp.sum(weight, 1) + known[:, 0])[:, None, None])
    return PointTerms(matrix, joined, weight[..., None] * (error - common), jnp.sum(cost * share))


def _common(error: Array, weight: Array, known: Array | float) -> Array:
    """(T, 1, 3) the error (T, K, 3) that all points of a frame share, given its information `known` about zero."""
    return jnp.sum(weight[..., None] * error, 1, keepdims=True) / (jnp.sum(weight, 1, keepdims=True) + known)[..., None]


def _directions(points: Array, observed: PointObservations, share: Array, costs: PointCosts, kernel: Kernel, scale: Array) -> PointTerms:
    frames, count = points.shape[:2]
    start, end = np.array(costs.bones).T
    bone, seen_bone = points[:, end] - points[:, start], observed.xyz[:, end] - observed.xyz[:, start]
    length, seen_length = (jnp.linalg.norm(a, axis=-1, keepdims=True) for a in (bone, seen_bone))
    length = jnp.maximum(length, MIN_BONE_M)
    direction, target = bone / length, seen_bone / jnp.maximum(seen_length, MIN_BONE_M)
    seen = observed.information > 0
    variance = jnp.where(seen, 1 / jnp.where(seen, observed.information, 1.0), 0.0)
    there = seen[:, start] & seen[:, end] & (seen_length[..., 0] > MIN_BONE_M)
    # The directions' information, as points of this uncertainty would have it at the ends of the model's own bone.
    information = jnp.where(there, length[..., 0] ** 2 / jnp.where(there, variance[:, start] + variance[:, end], 1.0), 0.0)
    cost, kept = kernel(jnp.sum((target - direction) ** 2, -1) * information, scale)
    weight = kept * information * share
    across = (jnp.eye(3, dtype=points.dtype) - direction[..., None] * direction[..., None, :]) / length[..., None]
    incidence = np.zeros((len(start), count), np.float32)
    incidence[np.arange(len(start)), start], incidence[np.arange(len(start)), end] = -1.0, 1.0
    of_bones = weight[..., None, None] * across @ across
    joined = jnp.einsum("ek,teab,el->takbl", incidence, of_bones, incidence)
    vector = jnp.einsum("ek,tea->tka", incidence, weight[..., None] * jnp.squeeze(across @ target[..., None], -1))
    # The root is where the points' centre is, more or less.
    mean = seen / jnp.maximum(jnp.sum(seen, 1, keepdims=True), 1)
    known = share / max(costs.drift_std_m, LEAST_ROOT_STD_M) ** 2
    off = jnp.sum(mean[..., None] * (observed.xyz - points), 1, keepdims=True)
    joined = joined + _each_axis(known[..., None] * mean[:, :, None] * mean[:, None, :])
    vector = vector + (known * mean)[..., None] * off
    return PointTerms(jnp.zeros((frames, count, 3, 3), points.dtype), joined, vector, jnp.sum(cost * share))


def _each_axis(matrix: Array) -> Array:
    """(T, K, K) the same along all three axes: (T, 3, K, 3, K)."""
    return matrix[:, None, :, None, :] * jnp.eye(3, dtype=matrix.dtype)[None, :, None, :, None]
