"""A camera that does not stand where it is thought to: seen from its misfit, left out, found again.

Before a frame is taken, every camera's detections are compared with the predicted body. A camera whose keypoints as a whole (their median) are far from
it, while the other cameras agree with it, is left out of that frame: whatever the reason is, a stranger or a moved tripod, it would bend the body, and
the other cameras' corrections with it. When that lasts, the camera has been moved: its pose is estimated from the last second of the fitted body's
keypoints (`core.resection`), and where they lie on their pixels again it is taken in. Where they do not, it stays out.

A camera that was pushed too little for that, or whose clock was set, is told by how its keypoints lean (`stream.lean`) or lag (`stream.lag`). It stays in,
and begins anew from where it was thought to stand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.core.estimates import CameraFit
from biomech_fit.core.resection import resect
from biomech_fit.core.triangulation import triangulate_robust
from biomech_fit.stream.association import Views
from biomech_fit.stream.lag import lagging
from biomech_fit.stream.last_frames import LastFrames
from biomech_fit.stream.lean import mean_lean, pushed
from biomech_fit.stream.medians import median_seen

MISFIT, STILL_MISFIT = 3.5, 2.5
"""A camera does not fit when the median distance of its keypoints from the predicted body is more than this many standard deviations (noise makes 1.2)
and as many times that of the other cameras. A camera that is left out is compared with the body that the others fitted."""
START_MISFIT, START_MISFIT_OF_FOUR = 3.5, 5.0
"""At a start a camera is compared with the points that the others place, and with the one of the others that fits worst: where all calibrations are
somewhat off, as usual, the refinement does better with all of them. Three others hide more of their own errors in the points."""
START_SUSPECT = 1.8
"""At a start a camera is looked at when its keypoints are so far from the points that it has helped to place."""
LEAST_PX = 8.0
"""It is no misfit below so many pixels."""
LEAST_SEEN = 6
"""Keypoints that say something of a camera."""
START_OTHERS = 3
"""Cameras that must be left at a start: two agree with each other on almost anything."""
OUT_S, BACK_S = 0.2, 0.2
"""A camera that does not fit for so long is out; out, one that fits for so long is in again."""
CONFIRM_S, RETRY_S = 0.5, 0.5
"""Its new pose is looked for this long after it ceased to fit, and again after so long."""
MEMORY_S = 1.0
"""From so much of the latest frames."""
EXPLAINED = 2.0
"""A pose explains a camera when the keypoints are no further from their pixels than this many standard deviations, in the median."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """One person in one frame, as the cameras see it."""

    points: np.ndarray
    """(C, K, 3) m: the fitted body's keypoints at each camera's exposure."""
    xy: np.ndarray
    """(C, K, 2) px; NaN = missing."""
    sigma_px: np.ndarray
    """(C, K)"""
    judged: np.ndarray
    """(C,) bool: enough keypoints to say something."""
    misfits: np.ndarray
    """(C,) bool: left out of this frame, and far from the body that the others fitted."""
    lean: np.ndarray
    """(C, 2) median residuals in standard deviations (`lean.leans`); NaN for cameras that are not judged."""
    lag: np.ndarray
    """(C, 7) what it says of the cameras' clocks (`lag.lag_sums`)."""


@dataclass(eq=False)
class _Doubt:
    """What is going on with one camera that does not fit."""

    since_ns: int
    newest_ns: int
    good_since_ns: int | None = None
    tried_ns: int | None = None


def judge(
    views: Views, predicted: np.ndarray, sigma_px: np.ndarray, limit: float, suspects: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Which cameras (C,) see enough to be judged, and which of these do not fit to the predicted pixels (C, K, 2), NaN = not known. Without any
    `suspects` (C,) (None = all are) nobody asks for the second."""
    off = views.xy - predicted
    distance = np.sqrt(off[..., 0] ** 2 + off[..., 1] ** 2)
    seen = (views.confidence > 0) & np.isfinite(distance)
    judged, misfits = seen.sum(1) >= LEAST_SEEN, np.zeros(len(seen), bool)
    if suspects is not None and not suspects.any():
        return judged, misfits
    pixels, whitened = median_seen(distance, seen), median_seen(distance / sigma_px, seen)
    for c in np.flatnonzero(judged & (whitened > limit) & (pixels > LEAST_PX)):
        others = np.delete(whitened, c)[np.delete(judged, c)]
        # Of two cameras nobody knows which one is wrong.
        misfits[c] = len(others) >= 2 and whitened[c] > limit * np.median(others)
    return judged, misfits


def misfits_at_start(cameras: Sequence[Camera], views: Views, sigma_px: np.ndarray) -> np.ndarray:
    """(C,) cameras that do not fit to the points that the others place: the worst one first, one by one."""
    out = np.zeros(len(cameras), bool)
    while views.seen.sum() > START_OTHERS:
        distance = _whitened(cameras, views, sigma_px)
        worst = int(np.argmax(np.where(np.isfinite(distance), distance, 0.0)))
        if not np.isfinite(distance[worst]) or distance[worst] < START_SUSPECT:
            break
        others = without(views, np.arange(len(cameras)) == worst)
        alone = _whitened(cameras, others, sigma_px, views)
        rest = np.max(alone[others.seen & np.isfinite(alone)], initial=1.0)
        if not alone[worst] > (START_MISFIT if others.seen.sum() > START_OTHERS else START_MISFIT_OF_FOUR) * rest:
            break
        out[worst], views = True, others
    return out


def _whitened(cameras: Sequence[Camera], placed: Views, sigma_px: np.ndarray, compared: Views | None = None) -> np.ndarray:
    """(C,) median distance in standard deviations of `compared` (None = the same) from the points that `placed` gives; infinite with too few keypoints."""
    compared = compared or placed
    points, _ = triangulate_robust(cameras, placed.xy, placed.confidence)
    distance = np.linalg.norm(compared.xy - np.stack([camera.project(points) for camera in cameras]), axis=-1)
    seen = (compared.confidence > 0) & np.isfinite(distance)
    return np.where(seen.sum(1) >= LEAST_SEEN, median_seen(distance / sigma_px, seen), np.inf)


def without(views: Views, cameras: np.ndarray) -> Views:
    """The views with some cameras (C,) left out."""
    if not cameras.any():
        return views
    xy, confidence = views.xy.copy(), views.confidence.copy()
    xy[cameras], confidence[cameras] = np.nan, 0.0
    return Views(xy, confidence, views.taken)


class CameraWatch:
    """The cameras of a rig, as all tracked people together see them. `estimate`: look for a moved camera's pose; else it is only left out."""

    def __init__(self, cameras: int, estimate: bool):
        self._count, self._estimate = cameras, estimate
        self.forget()

    def forget(self) -> None:
        """All cameras are as they were loaded, and fine."""
        self.out = np.zeros(self._count, bool)
        """(C,) cameras that are left out for the time being."""
        self.moved = np.zeros(self._count, bool)
        """(C,) cameras that were estimated anew: they stand elsewhere."""
        self.pushed = np.zeros(self._count, bool)
        """(C,) the same for those that were pushed a little, or whose clock was set."""
        self.clear()

    def clear(self) -> None:
        """Nobody is here. What is out stays out."""
        self._doubts: dict[int, _Doubt] = {}
        self._sightings: deque[tuple[int, Sighting]] = deque()
        self._last = LastFrames()
        """Leans (C, 2) and lags (C, 7) of all people together."""

    def doubt(self, stamp_ns: int, cameras: np.ndarray) -> None:
        """Cameras (C,) that did not fit where a track began are out at once."""
        for c in np.flatnonzero(cameras):
            self.out[c] = True
            self._doubts.setdefault(int(c), _Doubt(stamp_ns, stamp_ns))

    @property
    def fits(self) -> tuple[CameraFit, ...]:
        """What is thought of each camera."""
        fits = np.select([self.out, self.moved, self.pushed], [CameraFit.LEFT_OUT, CameraFit.MOVED, CameraFit.PUSHED], CameraFit.FINE)
        return tuple(CameraFit(fit) for fit in fits)

    @property
    def elsewhere(self) -> dict[int, CameraFit]:
        """Cameras that stand elsewhere than they were loaded, by number, whether they fit now or are left out."""
        moved = dict.fromkeys(np.flatnonzero(self.moved).tolist(), CameraFit.MOVED)
        return dict.fromkeys(np.flatnonzero(self.pushed).tolist(), CameraFit.PUSHED) | moved

    def look(self, stamp_ns: int, sightings: Sequence[Sighting], cameras: Callable[[], Sequence[Camera]]) -> dict[int, Camera]:
        """Take a frame of all tracked people; returns the poses from which cameras begin anew that were found to have been moved or pushed. `cameras` gives
        them as estimated so far."""
        if not sightings:
            return {}
        self._sightings.extend((stamp_ns, sighting) for sighting in sightings)
        while (stamp_ns - self._sightings[0][0]) * 1e-9 > MEMORY_S:
            self._sightings.popleft()
        judged, misfits = (np.sum([getattr(s, name) for s in sightings], axis=0) for name in ("judged", "misfits"))
        found: dict[int, Camera] = {}
        for c in np.flatnonzero(judged):
            if 2 * misfits[c] > judged[c]:
                doubt = self._doubts.get(int(c))
                if doubt is None or (stamp_ns - doubt.newest_ns) * 1e-9 > OUT_S:
                    doubt = self._doubts[int(c)] = _Doubt(stamp_ns, stamp_ns)
                doubt.newest_ns, doubt.good_since_ns = stamp_ns, None
                lasted_s = (stamp_ns - doubt.since_ns) * 1e-9
                self.out[c] |= lasted_s >= OUT_S
                since_s = (stamp_ns - doubt.tried_ns) * 1e-9 if doubt.tried_ns is not None else np.inf
                if self._estimate and lasted_s >= CONFIRM_S and since_s >= RETRY_S:
                    doubt.tried_ns = stamp_ns
                    camera = self._resected(int(c), doubt.since_ns, cameras()[c])
                    if camera is not None:
                        found[int(c)] = camera
                        self.moved[c], self.out[c] = True, False
                        del self._doubts[int(c)]
            elif c in self._doubts or self.out[c]:
                doubt = self._doubts.setdefault(int(c), _Doubt(stamp_ns, stamp_ns))
                doubt.good_since_ns = doubt.good_since_ns or stamp_ns
                if (stamp_ns - doubt.good_since_ns) * 1e-9 >= BACK_S:
                    self.out[c] = False
                    del self._doubts[int(c)]
        if self._estimate:
            self._look_closer(stamp_ns, sightings, [*self._doubts, *found])
            for c in self._begun(lambda: _by_shift(cameras(), sightings)):
                found[c], self.pushed[c] = cameras()[c], True
        return found

    def _look_closer(self, stamp_ns: int, sightings: Sequence[Sighting], doubted: list[int]) -> None:
        """Keep how the keypoints lean and lag. Cameras that do not fit, or were just found, are another matter."""
        both = np.concatenate([mean_lean(np.stack([s.lean for s in sightings])), np.sum([s.lag for s in sightings], axis=0)], 1)
        both[self.out], both[doubted] = np.nan, np.nan
        self._last.add(stamp_ns, both)

    def _begun(self, by_shift: Callable[[], np.ndarray]) -> set[int]:
        """Cameras that begin anew with this frame."""
        seen = self._last.look()
        if seen is None:
            return set()
        age_s, both = seen
        begun = {c for c in (pushed(age_s, both[..., :2], by_shift), lagging(age_s, both[..., 2:])) if c is not None}
        for c in begun:
            self._last.forget(c)
        return begun

    def _resected(self, c: int, since_ns: int, camera: Camera) -> Camera | None:
        """The pose that explains what the camera has seen since it ceased to fit."""
        rows = [s for stamp_ns, s in self._sightings if stamp_ns >= since_ns and s.misfits[c]]
        if not rows:
            return None
        points, xy, sigma = (np.concatenate([getattr(s, name)[c] for s in rows]) for name in ("points", "xy", "sigma_px"))
        result = resect(camera, points, xy, sigma)
        return result.camera if result is not None and result.misfit < EXPLAINED else None


def _by_shift(cameras: Sequence[Camera], sightings: Sequence[Sighting]) -> np.ndarray:
    """(C, 2, 3) 1/m: the leans' derivative by a shift of the bodies."""
    out, step_m = np.zeros((len(cameras), 2, 3)), 0.01
    for c, camera in enumerate(cameras):
        for sighting in sightings:
            middle = np.nanmean(sighting.points[c], axis=0)
            there = camera.project(middle + step_m * np.concatenate([np.eye(3), -np.eye(3)]))
            out[c] -= np.nan_to_num((there[:3] - there[3:]).T / (2 * step_m * np.median(sighting.sigma_px[c]) * len(sightings)))
    return out
