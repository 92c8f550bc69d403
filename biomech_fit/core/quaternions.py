"""Rotations as quaternions (w x y z), matrices and angles, in numpy."""

from __future__ import annotations

import mujoco
import numpy as np


def quat_to_matrix(wxyz: np.ndarray) -> np.ndarray:
    """(..., 4) quaternions wxyz of any length -> (..., 3, 3) rotation matrices."""
    q = np.asarray(wxyz, dtype=float)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_quat(rotation: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotation matrices -> (..., 4) unit quaternions wxyz with w >= 0 (Bar-Itzhack 2000: the matrix' leading eigenvector)."""
    r = np.asarray(rotation, dtype=float)
    k = np.zeros((*r.shape[:-2], 4, 4))
    k[..., 0, 0] = r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2]
    axial = np.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], axis=-1)
    k[..., 0, 1:] = k[..., 1:, 0] = axial
    k[..., 1:, 1:] = r + np.swapaxes(r, -1, -2) - k[..., :1, :1] * np.eye(3)
    q = np.linalg.eigh(k)[1][..., -1]
    return np.where(q[..., :1] < 0, -q, q)


def single_quat(rotation: np.ndarray) -> np.ndarray:
    """(4,) unit quaternion wxyz with w >= 0 of one (3, 3) rotation matrix: as `matrix_to_quat`, at a tenth of the cost."""
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation, float).ravel())
    return -quat if quat[0] < 0 else quat


def rotation_angle_deg(first: np.ndarray, second: np.ndarray) -> float:
    """Angle in degrees between two (3, 3) rotation matrices; accurate for small angles."""
    difference = first @ second.T
    axis = np.array([difference[2, 1] - difference[1, 2], difference[0, 2] - difference[2, 0], difference[1, 0] - difference[0, 1]])
    return float(np.degrees(np.arctan2(np.linalg.norm(axis), np.trace(difference) - 1)))
