"""Feet on the floor: soft constraints of the sole points, felt only where a foot rests.

A sole point that hardly moves is taken to stand still, and one that also lies near the floor to lie on it. Both terms have bounded costs (Geman and
McClure 1987, as re-weighted least squares), so that a foot which moves or is lifted stops feeling them: nothing decides about contact but the motion.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from biomech_fit.core.kinematics import Keypoints
from biomech_fit.core.robust import geman_mcclure

FLOOR_STATES = 3
"""Height of the floor (m) at the world's origin and its slopes along the two horizontal axes."""


class ContactTerms(NamedTuple):
    """Normal equations of T frames in their poses, the poses' time derivatives, the scales and the floor."""

    rate: Array
    """(T, N, N) on the poses' time derivative."""
    rate_rhs: Array
    """(T, N)"""
    joint: Array
    """(T, N + S + FLOOR_STATES, N + S + FLOOR_STATES) on pose, scales and floor."""
    joint_rhs: Array
    """(T, N + S + FLOOR_STATES)"""
    resting: Array
    """(T, P) 0..1, how much each sole point is taken to rest."""


class ContactNoise(NamedTuple):
    """Standard deviations of a resting point, and how far beyond them a point may be before it counts as not resting."""

    speed_std: float = 0.06
    """m/s"""
    speed_limit: float = 0.12
    """m/s"""
    height_std: float = 0.01
    """m"""
    height_limit: float = 0.04
    """m"""


def contact(points: Keypoints, rate: Array, up: Array, floor: Array, share: Array, noise: ContactNoise) -> ContactTerms:
    """Terms of P sole points in T frames.

    `rate` (T, N) is the poses' time derivative, `up` (3, 3) the floor's frame as rows (two horizontal axes and the vertical), `floor` (FLOOR_STATES,) its
    height and slopes, `share` (T,) how many independent samples a frame stands for (0 = nothing).
    """
    frames, count, _, n = points.by_pose.shape
    velocity = jnp.squeeze(points.by_pose @ rate[:, None, :, None], -1)
    squared = jnp.sum(velocity * velocity, -1)
    scale = jnp.asarray(noise.speed_limit / noise.speed_std, squared.dtype)
    resting = geman_mcclure(squared / noise.speed_std**2, scale)[1]
    weight = share[:, None] * resting / noise.speed_std**2
    flat = points.by_pose.reshape(frames, count * 3, n)
    weighted = (points.by_pose * weight[:, :, None, None]).reshape(frames, count * 3, n)
    rate_matrix = jnp.swapaxes(weighted, 1, 2) @ flat
    rate_rhs = -jnp.squeeze(jnp.swapaxes(weighted, 1, 2) @ velocity.reshape(frames, count * 3, 1), -1)
    # Height over the floor, and its derivatives: by pose and scales through the point, by the floor's own states.
    place = points.position @ up.T
    base = jnp.stack([jnp.ones_like(place[..., 0]), place[..., 0], place[..., 1]], -1)
    height = place[..., 2] - base @ floor
    scale = jnp.asarray(noise.height_limit / noise.height_std, height.dtype)
    low = geman_mcclure(jnp.square(height) / noise.height_std**2, scale)[1]
    weight = share[:, None] * resting * low / noise.height_std**2
    by_all = jnp.concatenate([up[2] @ points.by_pose, up[2] @ points.by_scale, -base], -1)
    weighted = by_all * weight[..., None]
    joint = jnp.swapaxes(weighted, 1, 2) @ by_all
    joint_rhs = -jnp.squeeze(jnp.swapaxes(weighted, 1, 2) @ height[..., None], -1)
    return ContactTerms(rate_matrix, rate_rhs, joint, joint_rhs, resting)
