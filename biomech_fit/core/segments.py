"""Segment lengths of a scaled body."""

from __future__ import annotations

import copy

import mujoco
import numpy as np

from biomech_fit.core.body import BodyModel


def segment_lengths(body: BodyModel, scales: np.ndarray) -> dict[str, float]:
    """Distances (m) between joint centres in the rest pose of the body with scale parameters (S,), by segment name."""
    scale = 1.0 + body.scale_matrix @ scales
    model = copy.copy(body.mj_model)
    model.body_pos[1:] *= scale[model.body_parentid[1:]]
    model.jnt_pos[:] *= scale[model.jnt_bodyid]
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    local = body.joint_centre_position * scale[body.joint_centre_body]
    world = data.xpos[body.joint_centre_body] + np.einsum("jab,jb->ja", data.xmat[body.joint_centre_body].reshape(-1, 3, 3), local)
    place = dict(zip(body.joint_centre_names, world, strict=True))
    return {name: float(np.linalg.norm(place[a] - place[b])) for name, (a, b) in body.segments.items()}
