"""The main path: packets of all cameras in, people's poses out. No ROS, no files; the nodes and the command line both use it.

    feed_keypoints -> assembler -> frame set -> follow (or find) the people in every camera -> a window solver for each -> FrameResult
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import CalibrationEstimate, CameraFit, SubjectEstimate
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import STATUS_SENTENCE, FrameResult, FrameSet, KeypointPacket, Status
from biomech_fit.stream.assembler import RESET_JUMP_S, Assembler
from biomech_fit.stream.association import cleaned
from biomech_fit.stream.camera_estimate import camera_uncertainty
from biomech_fit.stream.camera_report import CameraReport
from biomech_fit.stream.device import choose_device, use_compilation_cache, use_one_blas_thread
from biomech_fit.stream.fitted_body import FittedBody, KnownBody
from biomech_fit.stream.frame_budget import FrameBudget
from biomech_fit.stream.people import People
from biomech_fit.stream.person import PersonTracker


class FitPipeline:
    """Streaming fit of one person, or of several (`stream.max_people`): every result says whose it is.

    Args:
        body: the skeleton, loaded for `keypoint_set`.
        cameras: the calibrated cameras; packets of others are refused.
        keypoint_set: what the detectors send.
        config: settings.
        subject: the first person's known body, or a base model of many people, which says what to expect of everybody; None = the model's own.

    Raises:
        InputError: no camera, a body with too few of the set's keypoints, or a subject of another model.
    """

    def __init__(self, body: BodyModel, cameras: list[Camera], keypoint_set: KeypointSet, config: FitConfig, subject: KnownBody | None = None):
        if not cameras:
            raise InputError("There is no camera; a fit needs at least two calibrated ones.")
        self.full_body, self.cameras, self.keypoint_set, self.config = body, list(cameras), keypoint_set, config
        self._names = [camera.name for camera in cameras]
        self._fitted = FittedBody(body, keypoint_set, config.track.min_start_keypoints)
        self._mapped = self._fitted.mapped
        use_compilation_cache()
        use_one_blas_thread()
        device = choose_device(config.device)
        trackers = [
            PersonTracker(self._fitted.solved, self._mapped, self.cameras, config, config.stream.frame_rate_hz, device) for _ in range(config.stream.max_people)
        ]
        self._given_subject: KnownBody | None = None
        self._people = People(trackers, self.cameras, config, self._fitted.bones(), self._fitted.mirror())
        if subject is not None:
            self.set_subject(subject)
        self._assembler = self._new_assembler()
        self._budget = FrameBudget(config.stream.frame_rate_hz)
        self._camera_report = CameraReport(config.refine)
        self.compiled_s: float | None = None
        self._newest_ns = 0

    # --- in and out -------------------------------------------------------------------------------------------------------------------------------

    def compile(self) -> float:
        """Compile everything on the real shapes; returns the seconds it took. Nothing is compiled afterwards."""
        began = time.perf_counter()
        self._people.tracks[0].tracker.compile()
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
        self._people.rig.judge()

    def poll(self, now_ns: int | None = None) -> list[FrameResult]:
        """Results of all frame sets that are complete, or whose deadline has passed at `now_ns` (None = the newest packet's arrival)."""
        return self._results(self._assembler.poll(now_ns), now_ns)

    def skip(self, now_ns: int | None = None) -> int:
        """Instead of `poll` where the machine does not keep up: leaves out the frame sets that it would fit; how many."""
        return len(self._assembler.poll(now_ns))

    def flush(self) -> list[FrameResult]:
        """At the end of a recording: close all sets, and give out what the lag still holds back (results with a smoothed estimate only)."""
        results = self._results(self._assembler.flush(), None)
        return results + self._people.rest()

    def feed_frame_set(self, frame_set: FrameSet) -> list[FrameResult]:
        """Take a set that somebody else assembled (message_filters). One that is not later than the last is left out; where stamps have gone back by more
        than `RESET_JUMP_S`, the fit starts anew."""
        back_s = (self._newest_ns - frame_set.stamp_ns) * 1e-9
        if not self._newest_ns or back_s < 0:
            return self._results([frame_set], None)
        if back_s <= RESET_JUMP_S:
            return []
        rest = self._people.rest()
        self._clear()
        return rest + self._results([frame_set], None)

    def set_subject(self, subject: KnownBody) -> list[FrameResult]:
        """Know the first person from now on, or, by a base model, what to expect of everybody: their tracks start anew with the next frame, the cameras'
        corrections are kept.

        Returns the smoothed results that the lag still held back. Raises InputError for a subject of another model.
        """
        known, tracks = self._fitted.known(subject), self._people.tracks
        if subject.people > 1:
            results = [result for track in tracks for result in track.rest()]
            self._given_subject = None
            for track in tracks:
                track.tracker.set_anybody(known, subject.keypoint_noise(self.keypoint_set.name))
            return results
        results = tracks[0].rest()
        self._given_subject = subject
        tracks[0].tracker.set_subject(known)
        return results

    def reset(self, subject: bool = False, cameras: bool = False) -> None:
        """Start anew with the next frame, e.g. after the clock went back. A single person's body is kept unless `subject` (several people's are not: nobody
        knows who will be who; a known body and a base model stay), the cameras' corrections unless `cameras`.
        """
        self._assembler = self._new_assembler()
        self._clear()
        if cameras:
            self._people.rig.restore()
        if subject:
            self._given_subject = None
            for track in self._people.tracks:
                track.forget_body()

    # --- estimates --------------------------------------------------------------------------------------------------------------------------------

    @property
    def lag_frames(self) -> int:
        """Frames between the newest and the smoothed one."""
        return self._people.tracks[0].tracker.lag_frames

    @property
    def tracker(self) -> PersonTracker:
        """The first person's, for looking at what the solver does."""
        return self._people.tracks[0].tracker

    @property
    def too_fast(self) -> str:
        """A sentence where frames of the run were left out because they come faster than `stream.frame_rate_hz`; else ""."""
        return self._budget.problem

    def cameras_found(self) -> dict[int, CameraFit]:
        """Cameras that were moved or pushed and stand elsewhere since, whether they fit now or are left out."""
        return self._people.rig.watch.elsewhere

    def cameras_begun(self) -> dict[int, int]:
        """Cameras that were found to be moved or pushed since the stream started, and the stamp (ns) of the frame after which they began anew."""
        self._people.rig.judge()
        return dict(self._people.rig.begun_ns)

    def calibration(self) -> CalibrationEstimate:
        """The cameras as estimated so far; where several people are tracked, from all of them (`stream.shared_cameras`)."""
        self._people.rig.judge()
        layout, count = self._people.tracks[0].tracker.layout, len(self.cameras)
        refined = self._people.rig.corrected()
        states = self._people.rig.estimate() if layout.n_cameras else (np.zeros(0), np.zeros((0, 0)))
        refine = self.config.refine if layout.n_cameras else replace(self.config.refine, cameras=False, clock=False)
        covariance, clock, clock_std = camera_uncertainty(refined, *states, refine)
        rms, loaded = self._camera_rms(refined)
        return CalibrationEstimate(
            self._newest_ns, tuple(refined), tuple(self.cameras), (self.config.refine.cameras,) * count, covariance, clock, clock_std, rms, loaded,
            self._people.rig.watch.fits,
        )  # fmt: skip

    def subject(self, person: int = 1) -> SubjectEstimate:
        """A person's body as estimated so far."""
        track = self._people.tracks[person - 1]
        given = self._given_subject if person == 1 else None
        slow, fitted = track.body()
        fixed = given is not None and not self.config.refine.scales
        return self._fitted.estimate(self._newest_ns, given.name if given else "", slow, track.tracker.layout, fitted, fixed)

    def bodies(self) -> dict[int, SubjectEstimate]:
        """The bodies of the first person and of all others who are tracked or missed, by number."""
        return {track.number: self.subject(track.number) for track in self._people.tracks if track.number == 1 or track.known}

    def diagnostics(self, calibration: CalibrationEstimate | None = None) -> list[tuple[int, str, str, dict[str, Any]]]:
        """Rows (level 0 ok, 1 warning, 2 error; name; sentence; values) on every person's track and every camera.

        `calibration` is what `calibration()` said, where the caller has it already. Shares in the sentences are since the last call.
        """
        rows: list[tuple[int, str, str, dict[str, Any]]] = []
        for track in self._people.tracks:
            if track.number == 1 or track.known:
                level = 0 if track.status in (Status.OK, Status.REINITIALISED) else 1
                name = "track" if track.number == 1 else f"track of person {track.number}"
                counts = {"frames": track.fitted, "lost": track.lost_frames, "restarts": track.restarts}
                rows.append((level, name, STATUS_SENTENCE[track.status], counts))
        rows += self._budget.rows()
        swapped = np.sum([track.swapped for track in self._people.tracks], axis=0)
        return rows + self._camera_report.rows(self._assembler.health(), calibration or self.calibration(), swapped)

    # --- one frame set ----------------------------------------------------------------------------------------------------------------------------

    def _results(self, frame_sets: list[FrameSet], now_ns: int | None) -> list[FrameResult]:
        results: list[FrameResult] = []
        if self._assembler.took_reset():
            results += self._people.rest()
            self._clear()
        for frame_set in frame_sets:
            if not self._budget.takes(frame_set.stamp_ns, len(frame_set.packets)):
                continue
            began = time.perf_counter()
            waited = max(0.0, ((now_ns or 0) - frame_set.closed_ns) * 1e-9) if now_ns is not None and frame_set.closed_ns is not None else 0.0
            made = self._frame(frame_set)
            latency = waited + time.perf_counter() - began
            results += [replace(r, latency_s=latency) for r in made]
            self._people.prepare()
        return results

    def _frame(self, frame_set: FrameSet) -> list[FrameResult]:
        """Fit one set."""
        self._newest_ns = frame_set.stamp_ns
        packets = [frame_set.packets.get(name) for name in self._names]
        people = cleaned(packets, self._mapped, self.config.noise.min_confidence)
        return self._people.frame(frame_set.stamp_ns, people, self._delays(frame_set))

    # --- small parts ------------------------------------------------------------------------------------------------------------------------------

    def _new_assembler(self) -> Assembler:
        stream = self.config.stream
        return Assembler(self._names, 1 / stream.frame_rate_hz, stream.deadline_s, dead_after_s=stream.camera_timeout_s)

    def _clear(self) -> None:
        self._newest_ns = 0
        self._budget.clear()
        self._people.clear()

    def _delays(self, frame_set: FrameSet) -> np.ndarray:
        """(C,) s: each camera's stamp minus the set's."""
        return np.array([(frame_set.packets[n].stamp_ns - frame_set.stamp_ns) * 1e-9 if n in frame_set.packets else 0.0 for n in self._names])

    def _camera_rms(self, refined: list[Camera]) -> tuple[np.ndarray, np.ndarray]:
        """(C,) px over every third of the newest frames, through the refined and through the loaded cameras: a frame waits for this once a second."""
        count = len(self.cameras)
        recent = [frame for track in self._people.tracks for frame in list(track.recent)[::-3]]
        if not recent:
            return np.full(count, np.nan), np.full(count, np.nan)
        xy, confidence, error, points = (np.stack([getattr(f, name) for f in recent]) for name in ("xy", "confidence", "error_px", "points"))
        counted = confidence >= 0.5
        flat = points.reshape(-1, 3)
        loaded = np.stack([camera.project(flat).reshape(*points.shape[:2], 2) for camera in self.cameras], 1)
        loaded_error = np.linalg.norm(loaded - xy, axis=-1)

        def rms(values: np.ndarray) -> np.ndarray:
            known = counted & np.isfinite(values)
            return np.array([np.sqrt(np.mean(values[:, c][known[:, c]] ** 2)) if known[:, c].any() else np.nan for c in range(count)])

        return rms(error), rms(loaded_error)
