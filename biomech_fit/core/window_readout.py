"""From the solved window to the frames that are given out."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from biomech_fit.core import spline
from biomech_fit.core.linear import SlowShare
from biomech_fit.core.result import Readout
from biomech_fit.core.window import Window
from biomech_fit.core.window_costs import WindowCosts


def newest_and(window: Window, late: Array) -> Array:
    """(2,) slots of the newest and the lagged frame."""
    return jnp.stack([jnp.asarray(window.u.shape[0] - 1, late.dtype), late])


def read_out(costs: WindowCosts, window: Window, slots: Array, covariance: Array, share: SlowShare) -> Readout:
    """The frames in some slots (P,), with the covariance (P, N, N) of their poses and the slow states' share in it, as a solve knows them."""
    layout, body, kinematics = costs.layout, costs.body, costs.kinematics
    scales, offsets, cameras, clock = costs.unpack(window)
    value, slope = spline.basis(window.u[slots], costs.options.knots)
    x, by_u = value @ window.control, slope @ window.control
    poses = kinematics.poses(x, window.reference, scales)
    points = kinematics.keypoints(poses, scales, body.keypoint_body, costs.keypoint_local, offsets)
    speed = costs.keypoint_velocity(points, by_u)
    delay, seen = window.observed.delay[slots] + clock, window.observed.uv[slots]
    in_camera = (points.position[:, None] + speed[:, None] * delay[:, :, None, None]) @ jnp.swapaxes(cameras.rotation, -1, -2)[None]
    uv, _, valid = costs.lens(cameras, in_camera + cameras.translation[None, :, None])
    uv = jnp.where(valid[..., None], uv, jnp.nan)
    # Keypoint covariance: pose and scales jointly, then each keypoint's own offset.
    s, k = layout.n_scales, layout.n_keypoints
    count = len(slots)
    with_scales = share.pose_slow[:, :, :s]
    corner = jnp.broadcast_to(share.slow[:s, :s], (count, s, s))
    joint = jnp.concatenate(
        [jnp.concatenate([covariance, with_scales], 2), jnp.concatenate([jnp.swapaxes(with_scales, 1, 2), corner], 2)], 1
    )
    moves, turn = jnp.concatenate([points.by_pose, points.by_scale], -1), points.by_offset
    own = jnp.concatenate([share.pose_slow[:, :, layout.offsets], jnp.broadcast_to(share.slow[:s, layout.offsets], (count, s, 3 * k))], 1)
    own = own.reshape(count, -1, k, 3).transpose(0, 2, 1, 3)
    own_block = share.slow[layout.offsets, layout.offsets].reshape(k, 3, k, 3)[jnp.arange(k), :, jnp.arange(k)]
    turned = jnp.swapaxes(turn, -1, -2)
    both = moves @ own @ turned
    point_covariance = moves @ joint[:, None] @ jnp.swapaxes(moves, -1, -2) + both + jnp.swapaxes(both, -1, -2) + turn @ own_block @ turned
    centres = kinematics.points(poses, scales, body.joint_centre_body, np.float32(body.joint_centre_position))
    return Readout(
        x,
        by_u / costs.options.spacing_s,
        window.reference,
        covariance,
        points.position,
        speed,
        point_covariance,
        centres,
        jnp.linalg.norm(seen - uv, axis=-1),
        uv,
    )
