"""From the cameras' states (rotation, centre and clock of each, then their lenses') to refined cameras and their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from biomech_fit.config.fit import RefineConfig
from biomech_fit.core.camera import Camera
from biomech_fit.core.readout import rotation_vector_matrix
from biomech_fit.core.residuals import CAMERA_STATES


def corrected(cameras: Sequence[Camera], states: np.ndarray) -> list[Camera]:
    """The cameras with corrections `states` ((7 + L) C,): of all poses and clocks, then of all lenses, if any."""
    poses, lenses = np.split(states, [CAMERA_STATES * len(cameras)])
    out = []
    for camera, state in zip(cameras, poses.reshape(-1, CAMERA_STATES), strict=True):
        rotation = rotation_vector_matrix(state[:3]) @ camera.rotation
        out.append(replace(camera, rotation=rotation, translation=-rotation @ (camera.centre + state[3:6])))
    return _with_lenses(out, lenses) if len(lenses) else out


def _with_lenses(cameras: Sequence[Camera], states: np.ndarray) -> list[Camera]:
    """The cameras with lens corrections `states` (L C,), see `core.residuals.LENS_STATES`."""
    out = []
    for camera, (focal, *distortion) in zip(cameras, states.reshape(len(cameras), -1), strict=True):
        matrix = np.array(camera.matrix, float)
        matrix[[0, 1], [0, 1]] *= np.exp(focal)
        camera = replace(camera, matrix=matrix)
        if distortion:
            terms = np.zeros(max(len(camera.distortion), 4))
            terms[: len(camera.distortion)] = camera.distortion
            terms[:2] += distortion
            camera = replace(camera, distortion=terms, distortion_model="plumb_bob" if camera.distortion_model == "none" else camera.distortion_model)
        out.append(camera)
    return out


def camera_uncertainty(
    refined: Sequence[Camera], mean: np.ndarray, covariance: np.ndarray, refine: RefineConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of states with this mean ((7 + L) C,) and covariance: each camera's pose covariance (C, 6, 6) as `CalibrationEstimate` has it, clock offsets (C,) and
    their standard deviations; NaN where `refine` says that they are not estimated."""
    count = len(refined)
    poses, clock, clock_std = np.full((count, 6, 6), np.nan), np.zeros(count), np.full(count, np.nan)
    if refine.clock:
        own = slice(CAMERA_STATES - 1, CAMERA_STATES * count, CAMERA_STATES)
        clock, clock_std = mean[own], np.sqrt(np.maximum(np.diag(covariance)[own], 0))
    if refine.cameras:
        for c, camera in enumerate(refined):
            own = slice(c * CAMERA_STATES, c * CAMERA_STATES + 6)
            to_pose = np.zeros((6, 6))
            to_pose[:3, 3:], to_pose[3:, :3] = np.eye(3), -camera.rotation.T
            poses[c] = to_pose @ covariance[own, own] @ to_pose.T
    return poses, clock, clock_std
