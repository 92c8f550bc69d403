"""What the end-to-end fit is compared with: robust triangulation, then inverse kinematics, frame by frame.

Stage one is `core.triangulation.triangulate_robust` on detections with confidence >= 0.5: all camera pairs, geometric median, weights
``exp(-d^2 / (150 mm)^2)``. The low-pass filter that such pipelines have follows (Butterworth, fourth order, 6 Hz, without lag). Stage two brings the body's
keypoints to the points. The body is the fitted one, with its keypoint offsets, and the first guess is the stream's: what the two stages would have to find
out by themselves they are given, so that the difference between the two is that of fitting all at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import jax
import jax.numpy as jnp
import numpy as np
from scipy.signal import butter, sosfiltfilt

from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.kinematics import Kinematics
from biomech_fit.core.program import program
from biomech_fit.core.triangulation import triangulate_robust
from biomech_fit.offline.trial import Trial

MIN_CONFIDENCE = 0.5
CUT_OFF_HZ, ORDER = 6.0, 2
"""Of the filter, which runs forwards and backwards: fourth order."""
POINT_STD_M, LIMIT_STD_RAD = 0.01, 0.05
"""Of a triangulated point about the body's, and of a joint beyond its range."""
ITERATIONS, BLOCK_FRAMES = 20, 128


@dataclass(frozen=True, eq=False)
class TwoStage:
    """Distances (T, C, K) px of one recording's detections from the body that the two stages find; NaN where there is none."""

    loaded: np.ndarray
    """Cameras as they were loaded."""
    refined: np.ndarray
    """Cameras as the fit has them."""
    held_out: np.ndarray | None = None
    """As `refined`, of detections that were left out; None where none were."""
    fit_held_out: np.ndarray | None = None
    """The fit's own, of the same detections, which it had not seen either."""

    def of_set(self, mapped: np.ndarray) -> TwoStage:
        """For the whole keypoint set, of which the body has those in `mapped` (K_set,)."""

        def spread(errors: np.ndarray | None) -> np.ndarray | None:
            if errors is None:
                return None
            out = np.full((*errors.shape[:2], len(mapped)), np.nan)
            out[:, :, mapped] = errors
            return out

        return TwoStage(*(spread(getattr(self, field.name)) for field in fields(self)))  # type: ignore[arg-type]


class InverseKinematics:
    """Poses of single frames from 3D points, for a body of known size: Gauss-Newton on all frames of a block at once.

    Args:
        body: with the K keypoints that are compared.
        scales: (S,)
        offsets: (K, 3) m.
    """

    def __init__(self, body: BodyModel, scales: np.ndarray, offsets: np.ndarray):
        self.body, self._kinematics = body, Kinematics(body)
        self._scales, self._offsets = np.float32(scales), np.float32(offsets)
        self._solve = program(self._descend)

    def keypoints(self, guess: np.ndarray, turn: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(T, K, 3) m of the posed body. `guess` (T, N) with the root's orientation in `turn` (T, 3, 3) is the start; NaN in `points` (T, K, 3) = missing."""
        pad = -len(points) % BLOCK_FRAMES
        there = np.isfinite(points).all(-1)
        arrays = [guess, turn, np.where(there[..., None], points, 0.0), there]
        padded = [np.pad(np.float32(a), ((0, pad), *((0, 0),) * (a.ndim - 1)), mode="edge") for a in arrays]
        blocks = range(0, len(padded[0]), BLOCK_FRAMES)
        found = [np.asarray(self._solve(*(a[i : i + BLOCK_FRAMES] for a in padded))) for i in blocks]
        return np.concatenate(found)[: len(points)].astype(float)

    def _descend(self, x: jax.Array, turn: jax.Array, points: jax.Array, there: jax.Array) -> jax.Array:
        body, kinematics = self.body, self._kinematics
        local = np.float32(body.keypoint_position)
        known = np.isfinite(body.pose_std)
        pose = np.float32(np.where(known, 1 / np.where(known, body.pose_std, 1.0) ** 2, 0.0))
        lower, upper = (np.float32(np.clip(a, -1e6, 1e6)) for a in (body.lower, body.upper))

        def placed(x: jax.Array):
            return kinematics.keypoints(kinematics.poses(x, turn, self._scales), self._scales, body.keypoint_body, local, self._offsets)

        def step(_: int, x: jax.Array) -> jax.Array:
            seen = placed(x)
            frames, n = x.shape
            weight = jnp.sqrt(there)[..., None] / POINT_STD_M
            moves = (seen.by_pose * weight[..., None]).reshape(frames, -1, n)
            error = ((points - seen.position) * weight).reshape(frames, -1)
            beyond = jnp.maximum(x - upper, 0) - jnp.maximum(lower - x, 0)
            outside = (beyond != 0) / LIMIT_STD_RAD**2
            rhs = jnp.squeeze(jnp.swapaxes(moves, 1, 2) @ error[..., None], -1) - outside * beyond - pose * (x - np.float32(body.pose_mean))
            matrix = jnp.swapaxes(moves, 1, 2) @ moves + jax.vmap(jnp.diag)(outside + pose + 1e-2)
            change = jnp.linalg.solve(matrix, rhs[..., None])[..., 0]
            return x + change * jnp.minimum(1.0, 0.5 / jnp.maximum(jnp.max(jnp.abs(change), 1, keepdims=True), 1e-6))

        return placed(jax.lax.fori_loop(0, ITERATIONS, step, x)).position


def two_stage(
    ik: InverseKinematics,
    trial: Trial,
    loaded: Sequence[Camera],
    refined: Sequence[Camera],
    mask: np.ndarray | None,
    fit_uv: np.ndarray | None,
) -> TwoStage:
    """Both stages on one recording. `mask` (T, C, K): detections that are left out to be predicted; `fit_uv` (T, C, K, 2) px: where the fit predicts them."""
    in_sample = [_errors(cameras, _posed(ik, trial, cameras), trial) for cameras in (loaded, refined)]
    if mask is None or fit_uv is None:
        return TwoStage(*in_sample)
    predicted = _errors(refined, _posed(ik, trial.without(mask), refined), trial)
    own = np.where(trial.confidence > 0, np.linalg.norm(fit_uv - trial.xy, axis=-1), np.nan)
    judged = mask & np.isfinite(predicted)
    return TwoStage(*in_sample, *(np.where(judged, errors, np.nan) for errors in (predicted, own)))


def _posed(ik: InverseKinematics, trial: Trial, cameras: Sequence[Camera]) -> np.ndarray:
    weight = np.where(trial.confidence >= MIN_CONFIDENCE, trial.confidence, 0.0)
    points, _ = triangulate_robust(cameras, np.where(weight[..., None] > 0, trial.xy, np.nan), weight)
    return ik.keypoints(trial.guess, trial.turn, _filtered(trial.time_s, points))


def _filtered(time_s: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (T, K, 3) without what is faster than `CUT_OFF_HZ`; gaps are bridged for the filter and stay gaps."""
    if len(time_s) < 6 * (2 * ORDER + 1):
        return points
    rate_hz = 1 / np.median(np.diff(time_s))
    sos = butter(ORDER, CUT_OFF_HZ, fs=rate_hz, output="sos") if rate_hz > 2 * CUT_OFF_HZ else None
    out = points.copy()
    for k in range(points.shape[1] if sos is not None else 0):
        there = np.isfinite(points[:, k]).all(-1)
        if there.sum() >= 2:
            whole = np.stack([np.interp(time_s, time_s[there], points[there, k, axis]) for axis in range(3)], 1)
            out[there, k] = sosfiltfilt(sos, whole, axis=0)[there]
    return out


def _errors(cameras: Sequence[Camera], keypoints: np.ndarray, trial: Trial) -> np.ndarray:
    """(T, C, K) px from the detections."""
    out = np.full(trial.confidence.shape, np.nan)
    for c, camera in enumerate(cameras):
        distance = np.linalg.norm(camera.project(keypoints.reshape(-1, 3)).reshape(*keypoints.shape[:2], 2) - trial.xy[:, c], axis=-1)
        out[:, c] = np.where(trial.confidence[:, c] > 0, distance, np.nan)
    return out
