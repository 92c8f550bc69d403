"""From the solver's arrays to a `PoseEstimate` in OpenSim coordinates (numpy)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import mujoco
import numpy as np

from biomech_fit.core.body import BodyModel
from biomech_fit.core.gauge import Placement
from biomech_fit.core.opensim_axes import pelvis_angles, quat_to_matrix, world_to_opensim
from biomech_fit.core.result import Readout
from biomech_fit.core.types import PoseEstimate, Status


@dataclass(frozen=True, eq=False)
class Seen:
    """What was observed of a frame, kept until its smoothed estimate comes out."""

    stamp_ns: int
    status: Status
    confidence: np.ndarray
    """(C, K) of the solver's keypoints; 0 = missing or not used."""
    cameras_used: tuple[str, ...]
    cameras_missing: tuple[str, ...]


def rotation_vector_matrix(phi: np.ndarray) -> np.ndarray:
    """(3, 3) of a rotation vector (3,), rad."""
    quat, flat = np.zeros(4), np.zeros(9)
    angle = float(np.linalg.norm(phi))
    mujoco.mju_axisAngle2Quat(quat, np.asarray(phi, float) / max(angle, 1e-12), angle)
    mujoco.mju_quat2Mat(flat, quat)
    return flat.reshape(3, 3)


_STEP = 1e-4
"""rad, for the derivative of the pelvis angles."""
_NUDGES = np.stack([np.eye(3), *(rotation_vector_matrix(_STEP * e) for e in np.eye(3))])


@lru_cache(maxsize=4)
def _neutral(body: BodyModel) -> np.ndarray:
    """(3, 3) the pelvis frame's orientation in the world when all angles are 0."""
    return quat_to_matrix(body.mj_model.qpos0[3:7])


def _quat(matrix: np.ndarray) -> np.ndarray:
    """(4,) wxyz with w >= 0 of one rotation matrix, which is what the general `matrix_to_quat` gives at ten times the cost."""
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, matrix.ravel())
    return -quat if quat[0] < 0 else quat


def _left_jacobian(phi: np.ndarray) -> np.ndarray:
    """(3, 3): world angular velocity in the reference frame per rate of phi (Barfoot, State Estimation for Robotics, eq. 7.77)."""
    angle = float(np.linalg.norm(phi))
    x, y, z = phi
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    if angle < 1e-4:
        return np.eye(3) + 0.5 * skew
    return np.eye(3) + (1 - np.cos(angle)) / angle**2 * skew + (angle - np.sin(angle)) / angle**3 * skew @ skew


def pose_estimate(
    body: BodyModel, mapped: np.ndarray, readout: Readout, index: int, seen: Seen, lag_s: float, placement: Placement | None = None
) -> PoseEstimate:
    """One frame of a readout (host arrays). `mapped` (K,) says which of the set's keypoints the solver's ones are; the others are NaN.

    `placement` (None = sure) is how surely the rig stands in the world: it widens what is said of places in the world.
    """
    x, velocity, covariance = (np.asarray(a[index], float) for a in (readout.x, readout.velocity, readout.covariance))
    std = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    position, rate = x.copy(), velocity.copy()
    qpos, pelvis_covariance = x, np.zeros((6, 6))
    pelvis_position, pelvis_quat = np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0])
    if body.has_free_root:
        reference = np.asarray(readout.reference, float)
        turn = reference @ rotation_vector_matrix(x[3:6])
        to_world = reference @ _left_jacobian(x[3:6])
        angles, *nudged = pelvis_angles(_NUDGES @ turn, _neutral(body))
        slopes = np.stack(nudged, 1) - angles[:, None]
        slopes = ((slopes + np.pi) % (2 * np.pi) - np.pi) / _STEP
        blocks = np.zeros((6, 6))
        blocks[:3, :3], blocks[3:, 3:] = np.eye(3), to_world
        pelvis_covariance = blocks @ covariance[:6, :6] @ blocks.T
        if placement is not None:
            pelvis_covariance += placement.of_pose(x[:3])
        angle_covariance = slopes @ pelvis_covariance[3:, 3:] @ slopes.T
        position[:3], position[3:6] = world_to_opensim(x[:3]), angles
        rate[:3], rate[3:6] = world_to_opensim(velocity[:3]), slopes @ to_world @ velocity[3:6]
        std[:3] = np.sqrt(np.maximum(np.diag(pelvis_covariance)[[0, 2, 1]], 0.0))
        std[3:6] = np.sqrt(np.maximum(np.diag(angle_covariance), 0.0))
        pelvis_position, pelvis_quat = x[:3], _quat(turn)
        qpos = np.concatenate([x[:3], pelvis_quat, x[6:]])
    keypoints, keypoint_covariance = np.full((len(mapped), 3), np.nan), np.full((len(mapped), 3, 3), np.nan)
    keypoints[mapped], keypoint_covariance[mapped] = readout.keypoints[index], readout.keypoint_covariance[index]
    if placement is not None:
        keypoint_covariance[mapped] += placement.of_points(keypoints[mapped])
    keypoint_std = np.sqrt(np.maximum(np.diagonal(keypoint_covariance, axis1=1, axis2=2), 0.0))
    reprojected = np.full((len(readout.uv[index]), len(mapped), 2), np.nan)
    reprojected[:, mapped] = readout.uv[index]
    counted = seen.confidence >= 0.5
    rms = float(np.sqrt(np.mean(np.square(readout.error_px[index][counted], dtype=float)))) if counted.any() else float("nan")
    return PoseEstimate(
        seen.stamp_ns,
        seen.status,
        position,
        rate,
        std,
        qpos,
        pelvis_position,
        pelvis_quat,
        pelvis_covariance,
        keypoints,
        keypoint_std,
        np.asarray(readout.joint_centres[index], float),
        lag_s,
        rms,
        seen.cameras_used,
        seen.cameras_missing,
        reprojected,
        keypoint_covariance,
    )
