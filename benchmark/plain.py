"""The plain pipeline: weighted linear triangulation (DLT), a zero-phase Butterworth filter of 6 Hz, and angles between three points.

Triangulation: Hartley & Zisserman, Multiple View Geometry, 2nd ed., 12.2, in undistorted normalised coordinates, both rows of a camera times its confidence.
It takes the first person of each image. Knee and ankle are the angle between hip, knee, ankle and between knee, ankle, big toe. The hip's, which passes
straight, is that from the line between neck and middle of the hips to the thigh, seen along the line of the hips so that it has a sign; with the shoulder of
its own side in place of neck and middle, which turn less, its error is more than twice as large.
"""

from __future__ import annotations

import time

import cv2
import numpy as np
from output import Output
from recordings import RATE_HZ, Recording
from scipy.signal import butter, filtfilt
from walks import FLEXIONS

from biomech_fit.core.camera import Camera
from biomech_fit.core.keypoint_set import KeypointSet

CUTOFF_HZ = 6.0
_POLES = 2
"""Of one pass; forth and back make a filter of the fourth order, as Pose2Sim's."""
_CHAINS = {"knee_angle": ("Hip", "Knee", "Ankle"), "ankle_angle": ("Knee", "Ankle", "BigToe")}


def run(recording: Recording, keypoint_set: KeypointSet) -> Output:
    """Triangulated, filtered points and their angles."""
    began, cpu_began = time.perf_counter(), time.process_time()
    xy, confidence = _stack(recording, len(keypoint_set))
    points = filtered(triangulated(recording.given, xy, confidence))
    angles = flexions(points, keypoint_set.names)
    frames = len(recording.frames)
    return Output(points, angles, 1e3 * (time.perf_counter() - began) / frames, 1e3 * (time.process_time() - cpu_began) / frames)


def _stack(recording: Recording, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(T, C, K, 2) px and (T, C, K) confidence of the first person; 0 = nothing there."""
    names = [camera.name for camera in recording.given]
    xy = np.zeros((len(recording.frames), len(names), count, 2))
    confidence = np.zeros(xy.shape[:-1])
    for t, packets in enumerate(recording.frames):
        for packet in packets:
            if len(packet.xy):
                c = names.index(packet.camera)
                xy[t, c], confidence[t, c] = packet.xy[0], packet.confidence[0]
    confidence[~np.isfinite(xy).all(-1)] = 0.0
    return np.nan_to_num(xy), confidence


def triangulated(cameras: list[Camera], xy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(T, K, 3) m from (T, C, K, 2) px and (T, C, K); NaN where fewer than two cameras have a weight."""
    rows = np.empty((xy.shape[0], xy.shape[2], 2 * len(cameras), 4))
    for c, camera in enumerate(cameras):
        rays = cv2.undistortPoints(xy[:, c].reshape(-1, 1, 2), camera.matrix, camera.distortion).reshape(*xy[:, c].shape)
        pose = np.column_stack([camera.rotation, camera.translation])
        rows[:, :, 2 * c : 2 * c + 2] = weight[:, c, :, None, None] * (rays[..., None] * pose[2] - pose[:2])
    solution = np.linalg.svd(rows)[2][..., 3, :]
    points = solution[..., :3] / solution[..., 3:]
    points[(weight > 0).sum(1) < 2] = np.nan
    return points


def filtered(points: np.ndarray) -> np.ndarray:
    """(T, K, 3): gaps bridged by straight lines, then low-pass from a point's first to its last sighting."""
    b, a = butter(_POLES, CUTOFF_HZ / (RATE_HZ / 2))
    out = np.full_like(points, np.nan)
    for k in range(points.shape[1]):
        good = np.flatnonzero(np.isfinite(points[:, k, 0]))
        if len(good) > 6 * _POLES:
            span = np.arange(good[0], good[-1] + 1)
            bridged = np.column_stack([np.interp(span, good, points[good, k, i]) for i in range(3)])
            out[span, k] = filtfilt(b, a, bridged, axis=0)
    return out


def flexions(points: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """(T, 6) degrees, `FLEXIONS`."""
    at = {name: points[:, k] for k, name in enumerate(names)}
    out = np.empty((len(points), len(FLEXIONS)))
    for column, name in enumerate(FLEXIONS):
        joint, side = name[:-2], name[-1].upper()
        if joint == "hip_flexion":
            across = at["LHip"] - at["RHip"]
            trunk, thigh = (_orthogonal(end - start, across) for start, end in ((at["MidHip"], at["Neck"]), (at[side + "Hip"], at[side + "Knee"])))
            turn = (np.cross(thigh, -trunk) * across).sum(-1) / np.linalg.norm(across, axis=-1)
            out[:, column] = np.degrees(np.arctan2(turn, -(thigh * trunk).sum(-1)))
            continue
        start, middle, end = (at[side + point] for point in _CHAINS[joint])
        bend = _between(start - middle, end - middle)
        out[:, column] = 180.0 - bend if joint == "knee_angle" else 90.0 - bend
    return out


def _orthogonal(vector: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """The part of (T, 3) that is orthogonal to (T, 3)."""
    return vector - (vector * axis).sum(-1, keepdims=True) / (axis**2).sum(-1, keepdims=True) * axis


def _between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(T,) degrees between (T, 3) and (T, 3)."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(first, second), axis=-1), (first * second).sum(-1)))
