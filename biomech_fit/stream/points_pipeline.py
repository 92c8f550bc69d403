"""The path of 3D points: points of a marker system, a depth camera or a monocular estimator in, one person's poses out.

`PointsPipeline` is to `PointsPacket` what `stream.pipeline.FitPipeline` is to the keypoints of calibrated cameras, with the same methods.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import CalibrationEstimate, SubjectEstimate
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import STATUS_SENTENCE, FrameResult, PointsPacket, PoseEstimate, Status
from biomech_fit.stream.device import choose_device, use_compilation_cache, use_one_blas_thread
from biomech_fit.stream.fitted_body import FittedBody, KnownBody
from biomech_fit.stream.frame_budget import FrameBudget
from biomech_fit.stream.points_tracker import PointsTracker, PointViews
from biomech_fit.stream.slow_states import SlowEstimate

JUMP_S, JUMP_FRAMES = 0.15, 6
"""Stamps that fall back by more than both are a restart of the stream; by less, a packet that comes late and is dropped."""
MAX_M = 1e4
"""Coordinates beyond this are no metres of a person."""


class PointsPipeline:
    """Streaming fit of one person to 3D points.

    Args:
        body: the skeleton, loaded for `keypoint_set`.
        keypoint_set: what the points are.
        config: settings; `config.points` for the points, `config.stream.frame_rate_hz` their rate.
        subject: a known body, or a base model of many people; None = the model's own.

    Raises:
        InputError: a body with too few of the set's keypoints, a set without bones where directions are wanted, or a subject of another model.
    """

    def __init__(self, body: BodyModel, keypoint_set: KeypointSet, config: FitConfig, subject: KnownBody | None = None):
        self.keypoint_set, self.config = keypoint_set, config
        self._fitted = FittedBody(body, keypoint_set, config.track.min_start_keypoints)
        bones = self._fitted.bones()
        if config.points.residual == "direction" and len(bones) < 3:
            raise InputError(f"The keypoint set {keypoint_set.name} has no bones (edges) whose directions could be fitted; use points.residual: position.")
        use_compilation_cache()
        use_one_blas_thread()
        self.tracker = PointsTracker(self._fitted.solved, self._fitted.mapped, config, choose_device(config.device), bones)
        self._given_subject: KnownBody | None = None
        self.compiled_s: float | None = None
        self._fitted_frames = self._lost_frames = self._restarts = self._late = 0
        self._budget = FrameBudget(config.stream.frame_rate_hz)
        self._clear()
        if subject is not None:
            self.set_subject(subject)

    def _clear(self) -> None:
        self._queue: deque[PointsPacket] = deque()
        self._budget.clear()
        self._newest_ns = self._seen_ns = self._bad = 0
        self._was_lost, self._status, self._start_status = False, Status.INITIALISING, Status.OK
        self._person = -1
        self._last: PoseEstimate | None = None

    # --- in and out -------------------------------------------------------------------------------------------------------------------------------

    def compile(self) -> float:
        """Compile everything on the real shapes; returns the seconds it took. Nothing is compiled afterwards."""
        began = time.perf_counter()
        self.tracker.compile()
        self.compiled_s = time.perf_counter() - began
        return self.compiled_s

    def feed_keypoints(self, packet: PointsPacket) -> None:
        """Take the points of one instant. Raises InputError, and drops them, when the arrays do not fit together."""
        k, people = len(self.keypoint_set), np.shape(packet.xyz)[:1]
        fits = np.shape(packet.xyz) == (*people, k, 3) and (packet.sigma_m is None or np.shape(packet.sigma_m) == (*people, k))
        if not fits or (packet.person_ids is not None and np.shape(packet.person_ids) != people):
            raise InputError(
                f"3D points came with the shapes {np.shape(packet.xyz)}, {np.shape(packet.sigma_m)} and {np.shape(packet.person_ids)}; "
                f"(P, {k}, 3), (P, {k}) and (P,) fit the keypoint set {self.keypoint_set.name}."
            )
        self._queue.append(packet)

    def poll(self, now_ns: int | None = None) -> list[FrameResult]:
        """Results of all packets fed since the last call; `now_ns` is the packets' arrival clock (None = no waiting is counted)."""
        results: list[FrameResult] = []
        while self._queue:
            packet, began = self._queue.popleft(), time.perf_counter()
            waited = max(0.0, (now_ns - packet.received_ns) * 1e-9) if now_ns is not None and packet.received_ns is not None else 0.0
            made = self._take(packet)
            latency = waited + time.perf_counter() - began
            results += [replace(r, latency_s=latency) for r in made]
            self.tracker.prepare()
        return results

    def skip(self, now_ns: int | None = None) -> int:
        """Instead of `poll` where the machine does not keep up: leaves out the packets that it would fit; how many."""
        count = len(self._queue)
        self._queue.clear()
        return count

    def flush(self) -> list[FrameResult]:
        """At the end of a recording: what the lag still holds back."""
        return self.poll() + self._rest()

    def set_subject(self, subject: KnownBody) -> list[FrameResult]:
        """Know the person from now on; the track starts anew with the next frame. Returns the smoothed results that the lag still held back."""
        known, results = self._fitted.known(subject), self._rest()
        if subject.people > 1:
            self._given_subject = None
            self.tracker.set_anybody(known, None)
        else:
            self._given_subject = subject
            self.tracker.set_subject(known)
        return results

    def reset(self, subject: bool = False) -> None:
        """Start anew with the next frame. The body is kept unless `subject`."""
        if subject:
            self._given_subject = None
            self.tracker.clear_subject()
        self.tracker.drop()
        self._clear()

    # --- estimates --------------------------------------------------------------------------------------------------------------------------------

    @property
    def lag_frames(self) -> int:
        """Frames between the newest and the smoothed one."""
        return self.tracker.lag_frames

    @property
    def too_fast(self) -> str:
        """A sentence where frames of the run were left out because they come faster than `stream.frame_rate_hz`; else ""."""
        return self._budget.problem

    def calibration(self) -> CalibrationEstimate:
        """Of no camera."""
        none = np.zeros(0)
        return CalibrationEstimate(self._newest_ns, (), (), (), np.zeros((0, 6, 6)), none, none, none, none)

    def subject(self, person: int = 1) -> SubjectEstimate:
        """The person's body as estimated so far."""
        assert person == 1
        slow: SlowEstimate = self.tracker.slow
        given = self._given_subject
        fixed = given is not None and not self.tracker.config.refine.scales
        return self._fitted.estimate(self._newest_ns, given.name if given else "", slow, self.tracker.layout, self._fitted_frames, fixed)

    def bodies(self) -> dict[int, SubjectEstimate]:
        """The bodies by the person's number."""
        return {1: self.subject()}

    def diagnostics(self, calibration: CalibrationEstimate | None = None) -> list[tuple[int, str, str, dict[str, Any]]]:
        """Rows (level 0 ok, 1 warning, 2 error; name; sentence; values). `calibration` is not looked at: there is no camera."""
        level = 0 if self._status in (Status.OK, Status.REINITIALISED) else 1
        counts = {"frames": self._fitted_frames, "lost": self._lost_frames, "restarts": self._restarts, "late": self._late}
        return [(level, "track", STATUS_SENTENCE[self._status], counts), *self._budget.rows()]

    # --- one frame --------------------------------------------------------------------------------------------------------------------------------

    def _take(self, packet: PointsPacket) -> list[FrameResult]:
        results: list[FrameResult] = []
        if self._newest_ns and packet.stamp_ns <= self._newest_ns:
            back_s = (self._newest_ns - packet.stamp_ns) * 1e-9
            if back_s <= max(JUMP_S, JUMP_FRAMES / self.config.stream.frame_rate_hz):
                self._late += 1
                return []
            results, waiting = self._rest(), self._queue
            self.tracker.drop()
            self._clear()
            self._queue = waiting
        self._newest_ns = packet.stamp_ns
        if not self._budget.takes(packet.stamp_ns):
            return results
        return results + self._frame(packet.stamp_ns, self._of_person(packet))

    def _frame(self, stamp_ns: int, views: PointViews | None) -> list[FrameResult]:
        results: list[FrameResult] = []
        tracker = self.tracker
        if tracker.overdue(self._seen_ns, stamp_ns):
            results += self._end()
        if tracker.window is not None:
            results += self._step(stamp_ns, views or self._nothing())
            if tracker.window is not None or any(r.stamp_ns == stamp_ns and r.causal is not None for r in results):
                return results
        estimate = None if views is None else tracker.start(stamp_ns, views, views.points, np.zeros(0))
        if estimate is None:
            self._status = Status.NO_PERSON if views is None else Status.LOST if self._was_lost else Status.INITIALISING
            return [*results, FrameResult(stamp_ns, self._status, None, None, 0.0)]
        self._status = Status.REINITIALISED if self._was_lost else Status.OK
        self._restarts += self._was_lost
        self._was_lost, self._bad, self._seen_ns = False, 0, stamp_ns
        self._start_status = self._status
        return [*results, self._result(stamp_ns, replace(estimate, status=self._status), None)]

    def _step(self, stamp_ns: int, views: PointViews) -> list[FrameResult]:
        """Fit one frame of the track; where it ends, the tracker has no window any more."""
        enough = views.there.sum() >= self.config.track.min_keypoints
        if enough:
            self._seen_ns = stamp_ns
        self._status = self._start_status if enough else Status.PREDICTED
        causal, smoothed, arrays = self.tracker.take(stamp_ns, views, self._status, np.zeros(0))
        if causal is None:
            self._lost_frames += 1
            self._was_lost = True
            return []
        self._start_status = Status.OK
        self._bad = self._bad + 1 if enough and self.tracker.is_off(arrays, views) else 0
        if self._bad >= self.config.track.reinit_after_frames:
            self._lost_frames += 1
            return self._end()
        return [self._result(stamp_ns, causal, smoothed)]

    def _result(self, stamp_ns: int, causal: PoseEstimate, smoothed: PoseEstimate | None) -> FrameResult:
        self._fitted_frames += 1
        self._last = causal
        k = len(self.keypoint_set)
        return FrameResult(stamp_ns, self._status, causal, smoothed, 0.0, np.zeros((0, k, 2)), np.zeros((0, k)))

    def _end(self) -> list[FrameResult]:
        results = self._rest()
        self.tracker.drop()
        self._was_lost, self._bad, self._person, self._last = True, 0, -1, None
        return results

    def _rest(self) -> list[FrameResult]:
        return [FrameResult(e.stamp_ns, e.status, None, e, 0.0) for e in self.tracker.rest()]

    def _nothing(self) -> PointViews:
        k = int(self._fitted.mapped.sum())
        return PointViews.of_points(np.full((k, 3), np.nan), np.ones(k))

    def _of_person(self, packet: PointsPacket) -> PointViews | None:
        """The followed person's points: by the source's number, else whoever is nearest; before that, who has most points. None: nobody is there."""
        xyz = np.asarray(packet.xyz, float)[:, self._fitted.mapped]
        xyz = np.where((np.abs(np.nan_to_num(xyz, nan=np.inf)) < MAX_M).all(-1, keepdims=True), xyz, np.nan)
        usual = self.config.points.sigma_m
        sigma = np.full(xyz.shape[:2], usual) if packet.sigma_m is None else np.asarray(packet.sigma_m, float)[:, self._fitted.mapped]
        # What is given as nought or not at all is not known; the best systems know a point to a tenth of a millimetre.
        sigma = np.where(np.isfinite(sigma) & (sigma > 0), np.maximum(sigma, 1e-4), usual)
        there = np.isfinite(xyz).all(-1)
        ids = np.full(len(xyz), -1) if packet.person_ids is None else np.asarray(packet.person_ids)
        if not there.any():
            return None
        same = np.flatnonzero((ids == self._person) & (ids >= 0) & there.any(1))
        if len(same):
            which = int(same[0])
        elif self._last is not None:
            here = self._last.keypoints[self._fitted.mapped]
            far = np.array([np.median(np.linalg.norm(p[t] - here[t], axis=1)) if t.any() else np.inf for p, t in zip(xyz, there, strict=True)])
            which = int(np.argmin(far))
            if far[which] > self.config.points.lost_m and len(xyz) > 1:
                return None
        else:
            which = int(np.argmax(there.sum(1)))
        self._person = int(ids[which])
        return PointViews.of_points(xyz[which], sigma[which])
