"""Segment lengths of a scaled body, and how well they are known."""

from __future__ import annotations

import copy

import mujoco
import numpy as np

from biomech_fit.core.body import BodyModel

_STEP = 1e-4
"""Of the scales, for the derivative of lengths that are almost linear in them."""


def segment_lengths(body: BodyModel, scales: np.ndarray) -> dict[str, float]:
    """Distances (m) between joint centres in the rest pose of the body with scale parameters (S,), by segment name."""
    return dict(zip(body.segments, _lengths(body, np.asarray(scales)[None])[0].tolist(), strict=True))


def segment_length_std(body: BodyModel, scales: np.ndarray, covariance: np.ndarray) -> dict[str, float]:
    """Standard deviations (m) of `segment_lengths` from the scales' covariance (S, S)."""
    steps = _STEP * np.eye(len(scales))
    lengths = _lengths(body, np.concatenate([scales + steps, scales - steps]))
    slope = (lengths[: len(scales)] - lengths[len(scales) :]) / (2 * _STEP)
    variance = np.einsum("sl,st,tl->l", slope, covariance, slope)
    return dict(zip(body.segments, np.sqrt(np.maximum(variance, 0.0)).tolist(), strict=True))


def _lengths(body: BodyModel, scales: np.ndarray) -> np.ndarray:
    """(B, L) of bodies with scales (B, S)."""
    model = copy.copy(body.mj_model)
    data = mujoco.MjData(model)
    index = {name: j for j, name in enumerate(body.joint_centre_names)}
    ends = np.array([(index[a], index[b]) for a, b in body.segments.values()], int).reshape(-1, 2)
    out = np.zeros((len(scales), len(ends)))
    for row, factors in zip(out, 1.0 + np.einsum("bas,ns->nba", body.scale_matrix, scales), strict=True):
        model.body_pos[1:] = body.mj_model.body_pos[1:] * factors[model.body_parentid[1:]]
        model.jnt_pos[:] = body.mj_model.jnt_pos * factors[model.jnt_bodyid]
        mujoco.mj_kinematics(model, data)
        local = body.joint_centre_position * factors[body.joint_centre_body]
        world = data.xpos[body.joint_centre_body] + np.einsum("jab,jb->ja", data.xmat[body.joint_centre_body].reshape(-1, 3, 3), local)
        row[:] = np.linalg.norm(world[ends[:, 0]] - world[ends[:, 1]], axis=1)
    return out
