"""The main path: packets of all cameras in, a person's pose out. No ROS, no files; the nodes and the command line both use it.

    feed_keypoints -> assembler -> frame set -> follow (or find) the person in every camera -> window solver -> FrameResult
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import CalibrationEstimate, SubjectEstimate
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.residuals import CAMERA_STATES
from biomech_fit.core.segments import segment_lengths
from biomech_fit.core.types import STATUS_SENTENCE, FrameResult, FrameSet, KeypointPacket, PoseEstimate, Status
from biomech_fit.stream.assembler import Assembler
from biomech_fit.stream.association import Views, cleaned, find_person, follow
from biomech_fit.stream.device import choose_device, use_compilation_cache, use_one_blas_thread
from biomech_fit.stream.person import PersonTracker

RMS_MEMORY_FRAMES = 60
"""Reprojection errors per camera are over this many newest frames."""


class KnownBody(Protocol):
    """A person measured before (`formats.subject.Subject`)."""

    name: str

    def scale_vector(self, body: BodyModel) -> tuple[np.ndarray, np.ndarray]:
        """Scale parameters (S,) and their standard deviations."""
        ...

    def offset_matrix(self, body: BodyModel, keypoint_set: str) -> tuple[np.ndarray, np.ndarray]:
        """Keypoint offsets (K, 3) m and their standard deviations."""
        ...

    def covariance(self, body: BodyModel, keypoint_set: str) -> np.ndarray:
        """(S + 3K, S + 3K) of both."""
        ...


class FitPipeline:
    """Streaming fit of one person.

    Args:
        body: the skeleton, loaded for `keypoint_set`.
        cameras: the calibrated cameras; packets of others are refused.
        keypoint_set: what the detectors send.
        config: settings.
        subject: a known body, or None to estimate it.

    Raises:
        InputError: no camera, a body with too few of the set's keypoints, a subject of another model, or more than one person.
    """

    def __init__(self, body: BodyModel, cameras: list[Camera], keypoint_set: KeypointSet, config: FitConfig, subject: KnownBody | None = None):
        if not cameras:
            raise InputError("There is no camera; a fit needs at least two calibrated ones.")
        if config.stream.max_people != 1:
            raise InputError(f"stream.max_people is {config.stream.max_people}; this version tracks one person.")
        self.full_body, self.cameras, self.keypoint_set, self.config = body, list(cameras), keypoint_set, config
        self._names = [camera.name for camera in cameras]
        self._mapped = np.asarray(body.keypoint_body) >= 0
        known, wanted = int(self._mapped.sum()), config.track.min_start_keypoints
        if known < wanted:
            raise InputError(f"The model {body.name} knows {known} keypoints of the set {keypoint_set.name}; at least {wanted} are needed.")
        self._body = _restricted(body, tuple(self._mapped))
        use_compilation_cache()
        use_one_blas_thread()
        self._tracker = PersonTracker(self._body, self._mapped, self.cameras, config, config.stream.frame_rate_hz, choose_device(config.device))
        self._given_subject = subject
        if subject is not None:
            self._tracker.set_subject(*self._known_body(subject))
        self._assembler = self._new_assembler()
        self.compiled_s: float | None = None
        self._clear()

    # --- in and out -------------------------------------------------------------------------------------------------------------------------------

    def compile(self) -> float:
        """Compile everything on the real shapes; returns the seconds it took. Nothing is compiled afterwards."""
        began = time.perf_counter()
        self._tracker.compile()
        self.compiled_s = time.perf_counter() - began
        return self.compiled_s

    def feed_keypoints(self, packet: KeypointPacket) -> None:
        """Take one camera's detections. Raises InputError, and drops the packet, when it is not of this rig or its arrays do not fit together."""
        if packet.camera not in self._names:
            raise InputError(f"Keypoints came from camera '{packet.camera}', which the calibration does not have; it has: {', '.join(self._names)}.")
        k, people = len(self.keypoint_set), np.shape(packet.xy)[:1]
        if np.shape(packet.xy) != (*people, k, 2) or np.shape(packet.confidence) != (*people, k):
            raise InputError(
                f"Camera '{packet.camera}' sent arrays of shapes {np.shape(packet.xy)} and {np.shape(packet.confidence)}; "
                f"(P, {k}, 2) and (P, {k}) fit the keypoint set {self.keypoint_set.name}."
            )
        self._assembler.feed(packet)

    def poll(self, now_ns: int | None = None) -> list[FrameResult]:
        """Results of all frame sets that are complete, or whose deadline has passed at `now_ns` (None = the newest packet's arrival)."""
        return self._results(self._assembler.poll(now_ns), now_ns)

    def flush(self) -> list[FrameResult]:
        """At the end of a recording: close all sets, and give out what the lag still holds back (results with a smoothed estimate only)."""
        results = self._results(self._assembler.flush(), None)
        return results + self._finish_track()

    def feed_frame_set(self, frame_set: FrameSet) -> list[FrameResult]:
        """Take a set that somebody else assembled (message_filters)."""
        return self._results([frame_set], None)

    def set_subject(self, subject: KnownBody) -> list[FrameResult]:
        """Know the person from now on: the track starts anew with the next frame, the cameras' corrections are kept.

        Returns the smoothed results that the lag still held back. Raises InputError for a subject of another model.
        """
        known = self._known_body(subject)
        results = self._finish_track()
        self._given_subject = subject
        self._tracker.set_subject(*known)
        return results

    def reset(self, subject: bool = False) -> None:
        """Start anew with the next frame, e.g. after the clock went back. The cameras' corrections are kept, the body too unless `subject`."""
        self._assembler = self._new_assembler()
        if subject:
            self._given_subject = None
            self._tracker.clear_subject()
        self._tracker.drop()
        self._clear()

    # --- estimates --------------------------------------------------------------------------------------------------------------------------------

    @property
    def lag_frames(self) -> int:
        """Frames between the newest and the smoothed one."""
        return self._tracker.lag_frames

    def calibration(self) -> CalibrationEstimate:
        """The cameras as estimated so far."""
        layout, count = self._tracker.layout, len(self.cameras)
        refined = self._tracker.corrected_cameras()
        covariance, clock, clock_std = np.full((count, 6, 6), np.nan), np.zeros(count), np.full(count, np.nan)
        if layout.n_cameras:
            states = self._tracker.slow.mean[layout.cameras].reshape(-1, CAMERA_STATES)
            block = self._tracker.slow.covariance[layout.cameras, layout.cameras]
            if self.config.refine.clock:
                clock = states[:, 6]
                clock_std = np.sqrt(np.maximum(np.diag(block)[6::CAMERA_STATES], 0))
            if self.config.refine.cameras:
                for c, camera in enumerate(refined):
                    own = block[c * CAMERA_STATES : c * CAMERA_STATES + 6, c * CAMERA_STATES : c * CAMERA_STATES + 6]
                    to_pose = np.zeros((6, 6))
                    to_pose[:3, 3:], to_pose[3:, :3] = np.eye(3), -camera.rotation.T
                    covariance[c] = to_pose @ own @ to_pose.T
        rms, loaded = self._camera_rms(refined)
        return CalibrationEstimate(
            self._newest_ns, tuple(refined), tuple(self.cameras), (self.config.refine.cameras,) * count, covariance, clock, clock_std, rms, loaded
        )

    def subject(self) -> SubjectEstimate:
        """The body as estimated so far."""
        layout, slow = self._tracker.layout, self._tracker.slow
        std = np.sqrt(np.maximum(np.diag(slow.covariance), 0.0))
        k = len(self.keypoint_set)
        offsets, offset_std = np.zeros((k, 3)), np.full((k, 3), np.nan)
        offsets[self._mapped] = slow.mean[layout.offsets].reshape(-1, 3)
        offset_std[self._mapped] = std[layout.offsets].reshape(-1, 3)
        size, kept = layout.n_scales + 3 * k, self._body_states()
        covariance = np.full((size, size), np.nan)
        covariance[np.ix_(kept, kept)] = slow.covariance[: layout.offsets.stop, : layout.offsets.stop]
        return SubjectEstimate(
            self._newest_ns,
            self._given_subject.name if self._given_subject else "",
            self.full_body.name,
            tuple(self.full_body.scale_names),
            slow.mean[layout.scales].copy(),
            std[layout.scales],
            tuple(self.full_body.keypoint_names),
            offsets,
            offset_std,
            segment_lengths(self.full_body, slow.mean[layout.scales]),
            self._fitted,
            self._given_subject is not None and not self.config.refine.scales,
            covariance,
        )

    def diagnostics(self) -> list[tuple[int, str, str, dict[str, Any]]]:
        """Rows (level 0 ok, 1 warning, 2 error; name; sentence; values) on the track and every camera."""
        level = 0 if self._status in (Status.OK, Status.REINITIALISED) else 1
        rows: list[tuple[int, str, str, dict[str, Any]]] = [
            (level, "track", STATUS_SENTENCE[self._status], {"frames": self._fitted, "lost": self._lost_frames, "restarts": self._restarts})
        ]
        for name, health in self._assembler.health().items():
            if health.alive:
                sentence, row = "The camera sends keypoints.", 0
            else:
                sentence, row = ("The camera has stopped sending keypoints." if health.received else "The camera has sent nothing yet."), 1
            counts = {entry: getattr(health, entry) for entry in ("late", "duplicates", "lost", "received")}
            values = {"rate_hz": round(health.rate_hz, 2), **counts}
            rows.append((row, f"camera {name}", sentence, values))
        return rows

    # --- one frame set ----------------------------------------------------------------------------------------------------------------------------

    def _results(self, frame_sets: list[FrameSet], now_ns: int | None) -> list[FrameResult]:
        results: list[FrameResult] = []
        if self._assembler.took_reset():
            results += self._finish_track()
            self._tracker.drop()
            self._clear()
        for frame_set in frame_sets:
            began = time.perf_counter()
            waited = max(0.0, ((now_ns or 0) - frame_set.closed_ns) * 1e-9) if now_ns is not None and frame_set.closed_ns is not None else 0.0
            made = self._frame(frame_set)
            latency = waited + time.perf_counter() - began
            results += [replace(r, latency_s=latency) for r in made]
        return results

    def _frame(self, frame_set: FrameSet) -> list[FrameResult]:
        """Fit one set. More than one result only where a track ended: its last smoothed frames come first."""
        stamp = frame_set.stamp_ns
        self._newest_ns = stamp
        people = [
            cleaned(frame_set.packets[name], self._mapped, self.config.noise.min_confidence) if name in frame_set.packets else None for name in self._names
        ]
        before: list[FrameResult] = []
        restarted = False
        if self._tracker.window is not None and (stamp - self._seen_ns) * 1e-9 > self.config.track.predict_s:
            before, restarted = self._finish_track(), True
            self._tracker.drop()
        if self._tracker.window is None:
            return [*before, self._start(stamp, people, restarted or self._restart_pending)]
        predicted = self._tracker.predicted_pixels(stamp)
        views = follow(people, predicted, self.config.track.association_px)
        enough = (views.confidence > 0).sum() >= self.config.track.min_keypoints
        if enough:
            self._seen_ns = stamp
        status = self._status_now if enough else Status.PREDICTED
        causal, smoothed, arrays = self._tracker.take(stamp, views, status, self._delays(frame_set))
        if causal is None:
            self._lost_frames += 1
            self._restart_pending = True
            return [*before, self._nothing(stamp, Status.LOST)]
        self._status_now = Status.OK
        self._remember(views, arrays.frames.error_px[0], causal)
        bad = enough and np.median(arrays.frames.error_px[0][views.confidence > 0]) > self.config.track.lost_rms_px
        unseen = not enough and any(found is not None and len(found[0]) for found in people)
        self._bad = self._bad + 1 if bad or unseen else 0
        if self._bad >= self.config.track.reinit_after_frames:
            # The person is there, but not where the body is: take what is seen as a new start.
            self._lost_frames += 1
            before += self._finish_track()
            self._tracker.drop()
            return [*before, self._start(stamp, people, True)]
        self._status = status
        return [*before, self._result(stamp, status, causal, smoothed, views)]

    def _start(self, stamp: int, people: list, restarted: bool) -> FrameResult:
        cameras = self._tracker.corrected_cameras()
        seeing = sum(found is not None and len(found[0]) > 0 and bool((found[1] > 0).any()) for found in people)
        self._restart_pending = restarted
        if seeing < 2:
            return self._nothing(stamp, Status.TOO_FEW_CAMERAS if seeing else Status.NO_PERSON)
        found = find_person(cameras, people)
        estimate = self._tracker.start(stamp, *found) if found is not None else None
        if found is None or estimate is None:
            return self._nothing(stamp, Status.LOST if restarted else Status.INITIALISING)
        self._restarts += restarted
        self._restart_pending, self._bad, self._seen_ns = False, 0, stamp
        status = Status.REINITIALISED if restarted else Status.OK
        self._status, self._status_now = status, Status.OK
        return self._result(stamp, status, replace(estimate, status=status), None, found[0])

    def _finish_track(self) -> list[FrameResult]:
        """The smoothed frames that the lag holds back."""
        return [FrameResult(e.stamp_ns, e.status, None, e, 0.0) for e in self._tracker.rest()]

    def _result(self, stamp: int, status: Status, causal: PoseEstimate, smoothed: PoseEstimate | None, views: Views) -> FrameResult:
        self._fitted += 1
        k = len(self._mapped)
        xy, confidence = np.full((len(self.cameras), k, 2), np.nan), np.zeros((len(self.cameras), k))
        xy[:, self._mapped], confidence[:, self._mapped] = views.xy, views.confidence
        return FrameResult(stamp, status, causal, smoothed, 0.0, xy, confidence)

    def _nothing(self, stamp: int, status: Status) -> FrameResult:
        self._status = status
        return FrameResult(stamp, status, None, None, 0.0)

    # --- small parts ------------------------------------------------------------------------------------------------------------------------------

    def _new_assembler(self) -> Assembler:
        stream = self.config.stream
        return Assembler(self._names, 1 / stream.frame_rate_hz, stream.deadline_s, dead_after_s=stream.camera_timeout_s)

    def _clear(self) -> None:
        self._status = self._status_now = Status.INITIALISING
        self._newest_ns = self._seen_ns = 0
        self._fitted = self._lost_frames = self._restarts = self._bad = 0
        self._restart_pending = False
        self._recent: deque[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = deque(maxlen=RMS_MEMORY_FRAMES)

    def _known_body(self, subject: KnownBody) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scales, offsets and their covariance as the tracker takes them. Raises InputError for a subject of another model."""
        body, keypoint_set, kept = self.full_body, self.keypoint_set.name, self._body_states()
        scales, _ = subject.scale_vector(body)
        offsets, _ = subject.offset_matrix(body, keypoint_set)
        return scales, offsets[self._mapped], subject.covariance(body, keypoint_set)[np.ix_(kept, kept)]

    def _body_states(self) -> np.ndarray:
        """(S + 3K,) where the solver's scales and offsets are among those of the whole keypoint set."""
        scales = np.arange(len(self.full_body.scale_names))
        offsets = len(scales) + 3 * np.flatnonzero(self._mapped)[:, None] + np.arange(3)
        return np.concatenate([scales, offsets.reshape(-1)])

    def _delays(self, frame_set: FrameSet) -> np.ndarray:
        """(C,) s: each camera's stamp minus the set's."""
        return np.array([(frame_set.packets[n].stamp_ns - frame_set.stamp_ns) * 1e-9 if n in frame_set.packets else 0.0 for n in self._names])

    def _remember(self, views: Views, error_px: np.ndarray, causal: PoseEstimate) -> None:
        self._recent.append((views.xy, views.confidence, error_px, causal.keypoints[self._mapped]))

    def _camera_rms(self, refined: list[Camera]) -> tuple[np.ndarray, np.ndarray]:
        """(C,) px over the newest frames, through the refined and through the loaded cameras."""
        count = len(self.cameras)
        if not self._recent:
            return np.full(count, np.nan), np.full(count, np.nan)
        xy, confidence, error, points = (np.stack(a) for a in zip(*self._recent, strict=True))
        counted = confidence >= 0.5
        flat = points.reshape(-1, 3)
        loaded = np.stack([camera.project(flat).reshape(*points.shape[:2], 2) for camera in self.cameras], 1)
        loaded_error = np.linalg.norm(loaded - xy, axis=-1)

        def rms(values: np.ndarray) -> np.ndarray:
            return np.array([np.sqrt(np.nanmean(values[:, c][counted[:, c]] ** 2)) if counted[:, c].any() else np.nan for c in range(count)])

        return rms(error), rms(loaded_error)


@lru_cache(maxsize=4)
def _restricted(body: BodyModel, known: tuple[bool, ...]) -> BodyModel:
    """The body with only the keypoints that it has; one object for one body, so that compiled solvers can be shared."""
    mapped = np.array(known)
    return replace(
        body,
        keypoint_names=tuple(n for n, m in zip(body.keypoint_names, mapped, strict=True) if m),
        keypoint_body=body.keypoint_body[mapped],
        keypoint_position=body.keypoint_position[mapped],
        keypoint_offset_std=body.keypoint_offset_std[mapped],
    )
