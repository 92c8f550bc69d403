"""From the solver's arrays to a `PoseEstimate` in OpenSim coordinates (numpy)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from biomech_fit.core.body import BodyModel
from biomech_fit.core.gauge import Placement
from biomech_fit.core.opensim_axes import pelvis_angles, world_to_opensim
from biomech_fit.core.quaternions import quat_to_matrix, single_quat
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


_SKEW = np.array([[0, 0, 0, 0, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 0, -1, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0]], float)
"""From a vector to the nine entries of its cross-product matrix."""


def _turns(phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation vectors (F, 3) as matrices (F, 3, 3), and world angular velocity in the reference frame per rate of phi (Barfoot, State Estimation for
    Robotics, eq. 7.77)."""
    square = np.sum(phi * phi, axis=1)
    angle = np.sqrt(square)
    first, second = np.sinc(angle / np.pi), 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    # (angle - sin(angle)) / angle^3 loses all digits at small angles.
    third = np.where(square < 1e-4, 1 / 6 - square / 120, (1 - first) / np.maximum(square, 1e-4))
    skew = (phi @ _SKEW).reshape(-1, 3, 3)
    twice, eye = skew @ skew, np.eye(3)
    first, second, third = first[:, None, None], second[:, None, None], third[:, None, None]
    return eye + first * skew + second * twice, eye + second * skew + third * twice


def rotation_vector_matrix(phi: np.ndarray) -> np.ndarray:
    """(3, 3) of a rotation vector (3,), rad."""
    return _turns(np.asarray(phi, float)[None])[0][0]


_STEP = 1e-4
"""rad, for the derivative of the pelvis angles."""
_NUDGES = np.concatenate([np.eye(3)[None], _turns(_STEP * np.eye(3))[0]])


@lru_cache(maxsize=4)
def _neutral(body: BodyModel) -> np.ndarray:
    """(3, 3) the pelvis frame's orientation in the world when all angles are 0."""
    return quat_to_matrix(body.mj_model.qpos0[3:7])


def pose_estimates(
    body: BodyModel, mapped: np.ndarray, readout: Readout, seen: Sequence[Seen], lag_s: Sequence[float], placement: Placement | None = None
) -> list[PoseEstimate]:
    """The first frames of a readout (host arrays), as many as `seen` has; its `reference` may be each frame's own.

    `mapped` (K,) says which of the set's keypoints the solver's ones are; the others are NaN. `placement` (None = sure) is how surely the rig stands in the
    world: it widens what is said of places in the world.
    """
    count, own = len(seen), slice(len(seen))
    x, velocity, centres = (np.asarray(a[own], float) for a in (readout.x, readout.velocity, readout.joint_centres))
    std = np.sqrt(np.maximum(np.diagonal(readout.covariance[own], axis1=1, axis2=2), 0.0, dtype=float))
    position, rate, qpos = x.copy(), velocity.copy(), x
    place, quats, pelvis_covariance = np.zeros((count, 3)), np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)), np.zeros((count, 6, 6))
    if body.has_free_root:
        place, reference = x[:, :3], np.asarray(readout.reference, float)
        turn, jacobian = _turns(x[:, 3:6])
        turn, to_world = reference @ turn, reference @ jacobian
        angles = pelvis_angles(_NUDGES @ turn[:, None], _neutral(body))
        slopes = np.swapaxes(angles[:, 1:] - angles[:, :1], 1, 2)
        slopes = ((slopes + np.pi) % (2 * np.pi) - np.pi) / _STEP
        blocks = np.zeros((count, 6, 6))
        blocks[:, :3, :3], blocks[:, 3:, 3:] = np.eye(3), to_world
        pelvis_covariance = blocks @ readout.covariance[own, :6, :6] @ np.swapaxes(blocks, 1, 2)
        if placement is not None:
            pelvis_covariance += placement.of_poses(place)
        angle_covariance = slopes @ pelvis_covariance[:, 3:, 3:] @ np.swapaxes(slopes, 1, 2)
        position[:, :3], position[:, 3:6] = world_to_opensim(place), angles[:, 0]
        rate[:, :3], rate[:, 3:6] = world_to_opensim(velocity[:, :3]), np.squeeze(slopes @ to_world @ velocity[:, 3:6, None], -1)
        std[:, :3] = np.sqrt(np.maximum(np.diagonal(pelvis_covariance, axis1=1, axis2=2)[:, [0, 2, 1]], 0.0))
        std[:, 3:6] = np.sqrt(np.maximum(np.diagonal(angle_covariance, axis1=1, axis2=2), 0.0))
        quats = np.array([single_quat(matrix) for matrix in turn])
        qpos = np.concatenate([place, quats, x[:, 6:]], 1)
    keypoints, spread = np.asarray(readout.keypoints[own], float), np.asarray(readout.keypoint_covariance[own], float)
    if placement is not None:
        spread = spread + placement.of_points(keypoints.reshape(-1, 3)).reshape(spread.shape)
    if not mapped.all():
        keypoints, spread = _of_set(keypoints, mapped, 1), _of_set(spread, mapped, 1)
    keypoint_std = np.sqrt(np.maximum(np.diagonal(spread, axis1=2, axis2=3), 0.0))
    reprojected = _of_set(readout.uv[own], mapped, 2)
    return [
        PoseEstimate(
            frame.stamp_ns,
            frame.status,
            position[f],
            rate[f],
            std[f],
            qpos[f],
            place[f],
            quats[f],
            pelvis_covariance[f],
            keypoints[f],
            keypoint_std[f],
            centres[f],
            lag_s[f],
            _rms_px(readout.error_px[f], frame.confidence),
            frame.cameras_used,
            frame.cameras_missing,
            reprojected[f],
            spread[f],
        )
        for f, frame in enumerate(seen)
    ]


def _of_set(values: np.ndarray, mapped: np.ndarray, axis: int) -> np.ndarray:
    """The solver's keypoints, along an axis, as those of the set: NaN where it has none."""
    shape = list(values.shape)
    shape[axis] = len(mapped)
    out = np.full(shape, np.nan)
    out[(slice(None),) * axis + (mapped,)] = values
    return out


def _rms_px(error_px: np.ndarray, confidence: np.ndarray) -> float:
    """Of errors (C, K) whose confidence is at least 0.5, where the camera can see the point at all; NaN without any."""
    counted = error_px[(confidence >= 0.5) & np.isfinite(error_px)]
    return float(np.sqrt(np.mean(np.square(counted, dtype=float)))) if len(counted) else float("nan")
