"""One person's way through the frames: found, followed, predicted, lost and found again, with what is told of each frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.result import Result
from biomech_fit.core.triangulation import triangulate_robust
from biomech_fit.core.types import FrameResult, PoseEstimate, Status
from biomech_fit.stream.association import Found, Views
from biomech_fit.stream.camera_watch import MISFIT, STILL_MISFIT, Sighting, judge, misfits_at_start, without
from biomech_fit.stream.lag import lag_sums
from biomech_fit.stream.lean import leans
from biomech_fit.stream.medians import misses
from biomech_fit.stream.person import PersonTracker, SlowEstimate
from biomech_fit.stream.swaps import START_PX, SideSwaps, ahead_px

RMS_MEMORY_FRAMES = 60
"""Reprojection errors per camera are over this many newest frames."""
SIZE_MEMORY = 0.05
"""Share of a new frame in the running mean of a person's lengths."""


@dataclass(frozen=True, eq=False)
class FittedFrame:
    """What one fitted frame says about the cameras."""

    xy: np.ndarray
    """(C, K, 2) px."""
    confidence: np.ndarray
    """(C, K)"""
    error_px: np.ndarray
    """(C, K) through the refined cameras."""
    points: np.ndarray
    """(K, 3) m."""


class Track:
    """A place for one person, numbered from 1. It outlives the person's absence: sizes, cameras and where the person was last are kept.

    Args:
        bones: (E, 2) pairs of the solver's keypoints whose distance tells people apart.
        mirror: (K,) left-right partner of each of the solver's keypoints.
    """

    def __init__(self, number: int, tracker: PersonTracker, config: FitConfig, bones: np.ndarray, mirror: np.ndarray):
        self.number, self.tracker, self.config, self._bones = number, tracker, config, bones
        self._sides = SideSwaps(tracker.body, mirror, config.noise.robust_scale)
        self.swapped = np.zeros(len(tracker.cameras), int)
        """(C,) frames in which left and right were exchanged back, since the start."""
        self._left: tuple[SlowEstimate, int] | None = None
        self.clear()

    def clear(self) -> None:
        """Nobody has been here. What the tracker knows is its own matter."""
        self.status = self._status_now = Status.INITIALISING
        self.seen_ns = self.began_ns = 0
        self.fitted = self.lost_frames = self.restarts = self._bad = 0
        self.was_lost = False
        self.points: np.ndarray | None = None
        """(K, 3) m, the newest body's keypoints."""
        self.velocity = np.zeros(3)
        self.lengths: np.ndarray | None = None
        """(E,) m"""
        self.views: Views | None = None
        self.misfits = np.zeros(len(self.tracker.cameras), bool)
        """(C,) cameras that did not fit where the track began."""
        self.sighting: Callable[[], Sighting] | None = None
        """Makes the newest fitted frame as the cameras saw it; before the next frame, whose results do not wait for it."""
        self.recent: deque[FittedFrame] = deque(maxlen=RMS_MEMORY_FRAMES)

    def free(self) -> None:
        """Make the place a stranger's: body and cameras are as before anybody was seen."""
        if self.fitted:
            self._left = self.tracker.slow, self.fitted
        self.tracker.forget()
        self.clear()

    def forget_body(self) -> None:
        """Know no more than of anybody: neither of who is here nor of who was here last."""
        self._left = None
        self.tracker.clear_subject()

    def body(self) -> tuple[SlowEstimate, int]:
        """What is known of the person, and from how many frames; in a free place, of who was here last."""
        return (self.tracker.slow, self.fitted) if self.fitted or self._left is None else self._left

    @property
    def alive(self) -> bool:
        return self.tracker.window is not None

    @property
    def known(self) -> bool:
        """Somebody has been tracked here and is not forgotten."""
        return self.points is not None

    def overdue(self, stamp_ns: int) -> bool:
        """Predicted for too long."""
        return self.tracker.overdue(self.seen_ns, stamp_ns)

    def place(self, stamp_ns: int) -> np.ndarray:
        """(3,) m: where the middle of the body should be, walking on for half a second at most."""
        assert self.points is not None
        ahead = np.clip((stamp_ns - self.seen_ns) * 1e-9, 0.0, 0.5)
        return np.nanmean(self.points, axis=0) + ahead * self.velocity

    # --- frames -----------------------------------------------------------------------------------------------------------------------------------

    def start(self, stamp_ns: int, found: Found, delay_s: np.ndarray, out: np.ndarray) -> FrameResult | None:
        """Begin with somebody who was found; None, and no track, where the body does not fit. `delay_s` (C,): each camera's stamp minus the frame's; `out`
        (C,): cameras that are not to be used."""
        views, points = self._straightened(stamp_ns, found, out)
        estimate = self.tracker.start(stamp_ns, views, points, delay_s)
        if estimate is None:
            return None
        status = Status.REINITIALISED if self.was_lost else Status.OK
        self.restarts += self.was_lost
        self.began_ns = self.began_ns or stamp_ns
        self.was_lost, self._bad, self.seen_ns = False, 0, stamp_ns
        self.status, self._status_now, self.views = status, Status.OK, views
        self._look_at(estimate)
        return self._result(stamp_ns, status, replace(estimate, status=status), None, views, delay_s)

    def step(self, stamp_ns: int, views: Views, delay_s: np.ndarray, others: Callable[[], bool], out: np.ndarray) -> list[FrameResult]:
        """Fit one frame. Where the track ends with it, its last smoothed frames are returned and it is no longer alive.

        `out` (C,): cameras that are not to be used. `others`: whether there are detections that nobody has taken; so somebody who is not where the body is
        may be this person.
        """
        self.sighting = None
        predicted, speed_px_s = self.tracker.predicted_pixels(stamp_ns), self.tracker.pixel_speeds()
        ahead = ahead_px(predicted, (stamp_ns - self._looked_ns) * 1e-9)
        sigma_px = np.hypot(self.tracker.noise.sigma_px(views.confidence), ahead[:, None])
        undone = self._sides.undo(stamp_ns, views, predicted, sigma_px)
        self.swapped += undone.exchanged
        whole = undone.views
        left_out = judge(whole, predicted, sigma_px, MISFIT)[1] | out
        views, mirrored = without(whole, left_out), undone.mirrored
        enough = (views.confidence > 0).sum() >= self.config.track.min_keypoints
        if mirrored:
            self.lost_frames += 1
            return self.end()
        if enough:
            self.seen_ns = stamp_ns
        status = self._status_now if enough else Status.PREDICTED
        causal, smoothed, arrays = self.tracker.take(stamp_ns, views, status, delay_s)
        self.views = views
        if causal is None:
            self.lost_frames += 1
            self.was_lost = True
            return []
        self._status_now = Status.OK
        error_px = arrays.frames.error_px[0]
        self.sighting = partial(self._sighting, arrays, whole, delay_s, left_out, speed_px_s)
        self.recent.append(FittedFrame(views.xy, views.confidence, error_px, causal.keypoints[self.tracker.mapped]))
        self._look_at(causal)
        bad = enough and misses(error_px, views.confidence, self.config.track.lost_px)
        self._bad = self._bad + 1 if bad or (not enough and others()) else 0
        if self._bad >= self.config.track.reinit_after_frames:
            # The person is there, but not where the body is.
            self.lost_frames += 1
            return self.end()
        self.status = status
        return [self._result(stamp_ns, status, causal, smoothed, views, delay_s)]

    def end(self) -> list[FrameResult]:
        """The person is gone; the smoothed frames that the lag holds back."""
        results = self.rest()
        self.tracker.drop()
        self.was_lost, self._bad, self.views = True, 0, None
        return results

    def rest(self) -> list[FrameResult]:
        """The smoothed frames that the lag holds back. The track goes on."""
        return [FrameResult(e.stamp_ns, e.status, None, e, 0.0, person=self.number) for e in self.tracker.rest()]

    def nothing(self, stamp_ns: int, status: Status, missing: tuple[str, ...]) -> FrameResult:
        """A frame without this person. `missing`: the cameras that see nobody."""
        self.status = status
        return FrameResult(stamp_ns, status, None, None, 0.0, person=self.number, cameras_missing=missing)

    # --- small parts ------------------------------------------------------------------------------------------------------------------------------

    def _sighting(self, arrays: Result, views: Views, delay_s: np.ndarray, left_out: np.ndarray, speed_px_s: np.ndarray) -> Sighting:
        sigma_px = self.tracker.noise.sigma_px(views.confidence)
        judged, misfits = judge(views, arrays.frames.uv[0], sigma_px, STILL_MISFIT, left_out)
        points, velocity = arrays.frames.keypoints[0], arrays.frames.keypoint_velocity[0]
        later = (delay_s + self.tracker.clocks())[:, None, None]
        error_px, seen = views.xy - arrays.frames.uv[0], views.confidence > 0
        lean, lag = leans(error_px, sigma_px, seen, judged), lag_sums(error_px, speed_px_s, sigma_px, seen)
        return Sighting(points + later * velocity, views.xy, sigma_px, judged, misfits & left_out, lean, lag)

    def _straightened(self, stamp_ns: int, found: Found, out: np.ndarray) -> tuple[Views, np.ndarray]:
        """The views of somebody found with left and right as most cameras have them and without cameras that do not fit, and the points (K, 3) from them."""
        cameras, views = self.tracker.corrected_cameras(), found.views
        self._sides.forget()
        predicted = np.stack([camera.project(found.points) for camera in cameras])
        sigma_px = self.tracker.noise.sigma_px(views.confidence)
        undone = self._sides.undo(stamp_ns, views, predicted, np.hypot(sigma_px, START_PX))
        self.swapped += undone.exchanged
        straight = without(undone.views, out)
        self.misfits = misfits_at_start(cameras, straight, sigma_px)
        kept = without(straight, self.misfits)
        return kept, found.points if kept is views else triangulate_robust(cameras, kept.xy, kept.confidence)[0]

    def _result(
        self, stamp_ns: int, status: Status, causal: PoseEstimate, smoothed: PoseEstimate | None, views: Views, delay_s: np.ndarray
    ) -> FrameResult:
        self.fitted += 1
        mapped = self.tracker.mapped
        cameras, k = len(views.xy), len(mapped)
        xy, confidence = np.full((cameras, k, 2), np.nan), np.zeros((cameras, k))
        xy[:, mapped], confidence[:, mapped] = views.xy, views.confidence
        return FrameResult(stamp_ns, status, causal, smoothed, 0.0, xy, confidence, self.number, delay_s)

    def _look_at(self, estimate: PoseEstimate) -> None:
        """Remember where the person is, how fast and how large."""
        points = estimate.keypoints[self.tracker.mapped]
        if self.points is not None and estimate.stamp_ns > self._looked_ns:
            step_s = (estimate.stamp_ns - self._looked_ns) * 1e-9
            share = min(step_s / 0.2, 1.0)
            self.velocity = (1 - share) * self.velocity + share * (points.mean(0) - self.points.mean(0)) / step_s
        lengths = bone_lengths(points, self._bones)
        self.lengths = lengths if self.lengths is None else (1 - SIZE_MEMORY) * self.lengths + SIZE_MEMORY * lengths
        self.points, self._looked_ns = points, estimate.stamp_ns


def bone_lengths(points: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """(E,) m: distances of pairs (E, 2) of points (K, 3)."""
    return np.linalg.norm(points[bones[:, 0]] - points[bones[:, 1]], axis=1)
