"""OpenSim's ground axes and pelvis angles <-> positions, rotations and MuJoCo qpos in the z-up world (numpy).

OpenSim's ground is x forward, y up, z right; the world is x forward, y left, z up: ``x_os = x``, ``y_os = z``, ``z_os = -y``.
Pelvis angles are the rotations of Rajagopal et al. 2016, ``R_os = Rz(tilt) Rx(list) Ry(rotation)``, intrinsic in that order. They are
singular at a list of +-90 degrees (a person lying on the side), where tilt and rotation cannot be told apart; rotations themselves are not.
"""

from __future__ import annotations

import numpy as np

from biomech_fit.core.quaternions import matrix_to_quat, quat_to_matrix

WORLD_FROM_OPENSIM = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""(3, 3): ``v_world = WORLD_FROM_OPENSIM @ v_opensim``. Also the neutral orientation of a body frame that follows OpenSim (x forward, y up, z right)."""


def world_to_opensim(points: np.ndarray) -> np.ndarray:
    """(..., 3) vectors in the world -> in OpenSim's ground."""
    return np.asarray(points) @ WORLD_FROM_OPENSIM


def opensim_to_world(points: np.ndarray) -> np.ndarray:
    """(..., 3) vectors in OpenSim's ground -> in the world."""
    return np.asarray(points) @ WORLD_FROM_OPENSIM.T


def pelvis_rotation(tilt_list_rotation: np.ndarray, neutral: np.ndarray = WORLD_FROM_OPENSIM) -> np.ndarray:
    """Rotation matrices (..., 3, 3), pelvis frame to world, of angles (..., 3) in rad.

    `neutral` is the pelvis frame's orientation in the world when the person stands upright and faces +x (all angles 0).
    """
    angles = np.asarray(tilt_list_rotation, dtype=float)
    (ca, sa), (cb, sb), (cc, sc) = ((np.cos(angles[..., k]), np.sin(angles[..., k])) for k in range(3))
    rows = [
        [ca * cc - sa * sb * sc, -sa * cb, ca * sc + sa * sb * cc],
        [sa * cc + ca * sb * sc, ca * cb, sa * sc - ca * sb * cc],
        [-cb * sc, sb, cb * cc],
    ]
    in_ground = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    return WORLD_FROM_OPENSIM @ in_ground @ WORLD_FROM_OPENSIM.T @ neutral


def pelvis_angles(rotation: np.ndarray, neutral: np.ndarray = WORLD_FROM_OPENSIM) -> np.ndarray:
    """Tilt, list and rotation (..., 3) in rad of rotation matrices (..., 3, 3), pelvis frame to world; list within +-90 degrees, the others within +-180."""
    r = WORLD_FROM_OPENSIM.T @ np.asarray(rotation, dtype=float) @ np.asarray(neutral).T @ WORLD_FROM_OPENSIM
    tilt = np.arctan2(-r[..., 0, 1], r[..., 1, 1])
    list_ = np.arcsin(np.clip(r[..., 2, 1], -1.0, 1.0))
    turn = np.arctan2(-r[..., 2, 0], r[..., 2, 2])
    return np.stack([tilt, list_, turn], axis=-1)


def coordinates_from_qpos(qpos: np.ndarray, neutral_quat: np.ndarray | None) -> np.ndarray:
    """MuJoCo positions (..., nq) -> coordinates (..., N) of `BodyModel`.

    `neutral_quat` (4,) wxyz is the free root's orientation in the model's qpos0; None = the model has no free root (qpos is returned).
    """
    q = np.asarray(qpos, dtype=float)
    if neutral_quat is None:
        return q.copy()
    angles = pelvis_angles(quat_to_matrix(q[..., 3:7]), quat_to_matrix(neutral_quat))
    return np.concatenate([world_to_opensim(q[..., :3]), angles, q[..., 7:]], axis=-1)


def qpos_from_coordinates(coordinates: np.ndarray, neutral_quat: np.ndarray | None) -> np.ndarray:
    """Inverse of `coordinates_from_qpos`."""
    x = np.asarray(coordinates, dtype=float)
    if neutral_quat is None:
        return x.copy()
    quat = matrix_to_quat(pelvis_rotation(x[..., 3:6], quat_to_matrix(neutral_quat)))
    return np.concatenate([opensim_to_world(x[..., :3]), quat, x[..., 6:]], axis=-1)
