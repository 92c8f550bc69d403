"""Collects a pipeline's results into the arrays of a `TrackResult`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import mujoco
import numpy as np

from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import CalibrationEstimate, SubjectEstimate
from biomech_fit.core.gait import FeetAt, GaitDetector, GaitSettings
from biomech_fit.core.gait_recording import Gait, causal_gait, offline_gait
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.placement import best_placement
from biomech_fit.core.types import FrameResult, GaitEvent, PoseEstimate, Status
from biomech_fit.report.figures import reprojection_figures
from biomech_fit.report.result import CONFIDENCE_THRESHOLD, TrackResult, Trajectory


class Collector:
    """Add results as they come, in any mix of causal and smoothed, and of any people; ask for the whole of one person at the end."""

    def __init__(
        self,
        body: BodyModel,
        cameras: Sequence[Camera],
        keypoint_set: KeypointSet,
        lag_s: float = 0.0,
        gait: GaitSettings | None = None,
        person: int = 1,
    ) -> None:
        self._body, self._cameras, self._set, self._lag_s, self._gait, self._person = body, list(cameras), keypoint_set, lag_s, gait, person
        self._frames: dict[int, FrameResult] = {}
        self._smoothed: dict[int, PoseEstimate] = {}

    @property
    def frames(self) -> list[FrameResult]:
        """What was added, in order of time."""
        return [self._frames[stamp] for stamp in sorted(self._frames)]

    def add(self, results: Sequence[FrameResult]) -> None:
        """Take what `poll` or `flush` returned; other people's results are left out."""
        for result in (r for r in results if r.person == self._person):
            if result.smoothed is not None:
                self._smoothed[result.smoothed.stamp_ns] = result.smoothed
            if result.causal is not None or result.smoothed is None or result.smoothed.stamp_ns != result.stamp_ns:
                self._frames[result.stamp_ns] = result

    @property
    def start_ns(self) -> int | None:
        """Stamp of the first frame; None without any."""
        return min(self._frames, default=None)

    def result(
        self, cameras: CalibrationEstimate, body: SubjectEstimate, frame_rate_hz: float, wall_s: float, **more: object
    ) -> TrackResult:
        """The whole run. `more` are further fields of `TrackResult`."""
        stamps, frames = sorted(self._frames), self.frames
        causal = self._trajectory([f.causal for f in frames], [f.status for f in frames], causal_gait, 0.0)
        late = [self._smoothed.get(s) for s in stamps]
        smoothed = self._trajectory(late, [e.status if e else f.status for e, f in zip(late, frames, strict=True)], offline_gait, self._lag_s)
        shape = (len(frames), len(self._cameras), len(self._set))
        observed, confidence = np.full((*shape, 2), np.nan), np.zeros(shape)
        reprojected, reprojected_late = np.full((*shape, 2), np.nan), np.full((*shape, 2), np.nan)
        for t, frame in enumerate(frames):
            if frame.observed_xy is not None and frame.observed_confidence is not None:
                observed[t], confidence[t] = frame.observed_xy, frame.observed_confidence
            for estimate, pixels in ((frame.causal, reprojected), (late[t], reprojected_late)):
                if estimate is not None and estimate.reprojected_xy is not None:
                    pixels[t] = estimate.reprojected_xy
        seen = bool(len(frames) and self._cameras)
        before = self._through(self._cameras, best_placement(self._cameras, causal.keypoints, observed, confidence) if seen else causal.keypoints)
        run = TrackResult(
            stamps_ns=np.array(stamps, np.int64),
            frame_rate_hz=frame_rate_hz,
            coordinate_names=tuple(self._body.coordinate_names),
            coordinate_is_angle=coordinate_is_angle(self._body),
            keypoint_set=self._set,
            joint_centre_names=tuple(self._body.joint_centre_names),
            causal=causal,
            smoothed=smoothed,
            cameras_loaded=self._cameras,
            cameras_refined=list(cameras.cameras),
            observed_xy=observed,
            observed_confidence=confidence,
            reprojected_before_xy=before,
            reprojected_xy=reprojected,
            latency_s=np.array([f.latency_s if f.causal is not None else np.nan for f in frames]),
            wall_s=wall_s,
            segment_lengths_m=dict(body.segment_lengths_m),
            segments=dict(self._body.segments),
            clock_offset_s=cameras.time_offset_s if np.isfinite(cameras.time_offset_std_s).any() else None,
            **more,  # type: ignore[arg-type]
        )
        counted = np.where(confidence >= CONFIDENCE_THRESHOLD, np.linalg.norm(reprojected_late - observed, axis=-1), np.nan)
        if not run.offline:
            run.extra["smoothed"] = {"reprojection_px": reprojection_figures(run.errors_px(before=True), counted), "lag_s": self._lag_s}
        return run

    def _trajectory(
        self, estimates: Sequence[PoseEstimate | None], status: Sequence[Status], read_gait: Callable[[GaitDetector, Sequence[FeetAt]], Gait], lag_s: float
    ) -> Trajectory:
        n, k, j = len(self._body.coordinate_names), len(self._set), len(self._body.joint_centre_names)

        def column(name: str, *shape: int) -> np.ndarray:
            out = np.full((len(estimates), *shape), np.nan)
            for t, estimate in enumerate(estimates):
                if estimate is not None:
                    out[t] = getattr(estimate, name)
            return out

        events, steps = self._gait_of(estimates, read_gait)
        position = column("position", n)
        if self._body.has_free_root and len(position):
            position[:, 3:6] = _unwrapped(position[:, 3:6])
        return Trajectory(
            position,
            column("velocity", n),
            column("position_std", n),
            column("keypoints", k, 3),
            column("keypoint_std", k, 3),
            column("joint_centres", j, 3),
            np.array([int(s) for s in status]),
            [_delayed(e, lag_s) for e in events],
            steps,
        )

    def _gait_of(self, estimates: Sequence[PoseEstimate | None], read_gait: Callable[[GaitDetector, Sequence[FeetAt]], Gait]) -> Gait:
        """None of it where body and keypoints have no feet."""
        try:
            detector = GaitDetector(self._set.names, self._body.joint_centre_names, self._gait)
        except InputError:
            return [], []
        return read_gait(detector, [detector.feet(estimate) for estimate in estimates if estimate is not None])

    def _through(self, cameras: Sequence[Camera], points: np.ndarray) -> np.ndarray:
        """(T, C, K, 2) px of points (T, K, 3)."""
        out = np.full((len(points), len(cameras), len(self._set), 2), np.nan)
        there = np.isfinite(points).all(-1)
        for c, camera in enumerate(cameras):
            if there.any():
                out[:, c][there] = camera.project(points[there])
        return out


def coordinate_is_angle(body: BodyModel) -> np.ndarray:
    """(N,) True where a coordinate is in radians."""
    m = body.mj_model
    angle = np.ones(m.nv, bool)
    if body.has_free_root:
        angle[:3] = False
    for joint in range(m.njnt):
        if m.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
            angle[m.jnt_dofadr[joint]] = False
    return angle


def _delayed(event: GaitEvent, lag_s: float) -> GaitEvent:
    """The event with the lag of the trajectory that it was found on in its delay."""
    return replace(event, detection_delay_s=event.detection_delay_s + lag_s) if lag_s else event


def _unwrapped(angles: np.ndarray) -> np.ndarray:
    """Angles (T, n) without jumps of a turn; gaps (NaN) are bridged."""
    out = angles.copy()
    for column in out.T:
        there = np.isfinite(column)
        column[there] = np.unwrap(column[there])
    return out
