"""Who is who: the places for tracked people, and in every frame set the detections, each given to one of them, or to somebody new.

    follow the tracked ones -> fit them side by side -> look at who is left: somebody who was lost, or somebody new

With one place (`stream.max_people` 1) the main person is followed, and with several the main person is number 1: the one with the most keypoints that
agree over all cameras, confidence-weighted. Where others have more than half of that, they are watched for some frames first: who moves counts up to
twice, and what is still (no keypoint moves against another) or has the same confidence everywhere, as a poster or a figure has, a quarter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from scipy.optimize import linear_sum_assignment

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.camera import Camera
from biomech_fit.core.types import FrameResult, Status
from biomech_fit.stream.association import Detections, Found, Views, find_people, follow, unclaimed
from biomech_fit.stream.person import PersonTracker
from biomech_fit.stream.shared_cameras import SharedCameras
from biomech_fit.stream.track import Track, bone_lengths
from biomech_fit.stream.watch import Watch, Watchlist, median_distance

CANDIDATES = 6
"""So many people are looked at where somebody was lost."""
RIVAL_SHARE = 0.5
"""Support of the second best, as a share of the best, from which on it is not clear who the main person is."""
RIVALRY_S = 0.1
"""For this long they are watched then."""
LOOK_S = 0.1
"""How often those who are left are looked at while somebody is tracked."""
MIN_SHARE = 0.5
"""More than this share of the cameras that should see a new person must do so."""
APART_M = 0.25
"""Somebody found this near to a tracked body (median over keypoints) is that body, detected twice."""
SAME_M, SAME_S = 0.12, 0.5
"""Two tracks as near as this for so long follow one body."""
REACH_M, WALK_M_S = 0.5, 1.5
"""Somebody who was lost is found within this distance of where expected, and so much further for each second since."""
AT_ONCE_M, AT_ONCE_S = 0.6, 3.0
"""Nearer and sooner than this, at the first look."""
SIZE_STD, SIZE_GATE = 0.03, 0.10
"""Difference in size of one person seen twice, and the most."""
EPHEMERAL_S = 1.0
"""A person who was tracked for less than this is not remembered."""
YIELD_S = 3.0
"""Where all places are taken, somebody new gets that of the person who has been away longest, at least so long."""
SIZES, PROPORTIONS = (0.45, 1.5), 0.25
"""A person's size over the model's, and how much single bones may differ from it (median of logarithms)."""


class People:
    """The places, and what joins them.

    Args:
        trackers: one for each place, on one compiled solver.
        bones: (E, 2) pairs of the solver's keypoints whose distances are a person's size.
        mirror: (K,) left-right partner of each of the solver's keypoints.
    """

    def __init__(self, trackers: list[PersonTracker], cameras: list[Camera], config: FitConfig, bones: np.ndarray, mirror: np.ndarray):
        self.tracks = [Track(i + 1, tracker, config, bones, mirror) for i, tracker in enumerate(trackers)]
        self.config, self._cameras, self._bones = config, cameras, bones
        self._model_lengths = bone_lengths(trackers[0].template, bones)
        self._watchlist = Watchlist(bones)
        self.rig = SharedCameras(trackers, cameras, config.refine.cameras)
        workers = min(len(trackers), os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(workers, "person") if workers > 1 else None
        self.clear()

    @property
    def several(self) -> bool:
        return len(self.tracks) > 1

    def clear(self) -> None:
        """Nobody is here. Cameras stay as they were estimated; so does the body of a single person. Of several, nobody knows who will be who."""
        for track in self.tracks:
            if self.several and track.fitted:
                self._free(track)
            track.tracker.drop()
            track.clear()
        self._watchlist.clear()
        self.rig.clear()
        self._looked_ns: int | None = None
        self._same_since: dict[tuple[int, int], int] = {}

    def rest(self) -> list[FrameResult]:
        """The smoothed frames that the lag holds back."""
        self.rig.judge()
        return [result for track in self.tracks for result in track.rest()]

    def prepare(self) -> None:
        """Begin in the background what the next frame needs; to be called once this one's results are out."""
        for track in self.tracks:
            track.tracker.prepare()

    # --- one frame --------------------------------------------------------------------------------------------------------------------------------

    def frame(self, stamp_ns: int, people: Detections, delay_s: np.ndarray) -> list[FrameResult]:
        """Results of one frame set, in the order of the people's numbers; where a track ended, its last smoothed frames come before the rest.

        The first person has a result in every frame, the others from when they come until they are forgotten.
        """
        self.rig.judge()
        results = [result for track in self.tracks if track.overdue(stamp_ns) for result in track.end()]
        live = [track for track in self.tracks if track.alive]
        if live:
            predicted = np.stack([track.tracker.predicted_pixels(stamp_ns) for track in live])
            claims = follow(people, predicted, self.config.track.association_px)
            left = partial(self._are_left, people, claims)
            jobs = [(track, stamp_ns, views, delay_s, left, self.rig.watch.out) for track, views in zip(live, claims, strict=True)]
            stepped = map(_step, jobs) if self._pool is None or len(jobs) < 2 else self._pool.map(_step, jobs)
            results += [result for several in stepped for result in several]
            results += self._join(stamp_ns)
            self.rig.seen(stamp_ns, [track.sighting for track in live if track.alive and track.sighting is not None])
        self._forget(stamp_ns)
        results += self._search(stamp_ns, people, delay_s)
        told = {result.person for result in results if result.causal is not None}
        for track in self.tracks:
            if track.number not in told and (track.number == 1 or track.known):
                missing = tuple(camera.name for camera, found in zip(self._cameras, people, strict=True) if not _sees(found))
                results.append(track.nothing(stamp_ns, self._why_nobody(track, people), missing))
        return sorted(results, key=lambda result: result.person)

    def _are_left(self, people: Detections, claims: Sequence[Views]) -> bool:
        """Whether a single person might be among the detections that are not taken for anybody."""
        return not self.several and _cameras_that_see(unclaimed(people, claims)) > 0

    def _why_nobody(self, track: Track, people: Detections) -> Status:
        seeing = _cameras_that_see(people)
        if seeing < 2 and not (self.several and track.known):
            return Status.TOO_FEW_CAMERAS if seeing else Status.NO_PERSON
        return Status.LOST if track.was_lost else Status.INITIALISING

    def _join(self, stamp_ns: int) -> list[FrameResult]:
        """End the younger of two tracks that follow one body."""
        results: list[FrameResult] = []
        live = [track for track in self.tracks if track.alive]
        same = {}
        for i, a in enumerate(live):
            for b in live[i + 1 :]:
                if a.points is not None and b.points is not None and median_distance(a.points, b.points) < SAME_M:
                    pair = (a.number, b.number)
                    same[pair] = self._same_since.get(pair, stamp_ns)
                    if (stamp_ns - same[pair]) * 1e-9 > SAME_S:
                        younger = max((a, b), key=lambda track: (track.began_ns, track.number))
                        results += younger.end()
                        self._free(younger)
        self._same_since = same
        return results

    def _forget(self, stamp_ns: int) -> None:
        """Places of those who are away for long, or were there for a moment only, become free."""
        if not self.several:
            return
        for track in self.tracks:
            if track.known and not track.alive:
                brief = (track.seen_ns - track.began_ns) * 1e-9 < EPHEMERAL_S
                if brief or (stamp_ns - track.seen_ns) * 1e-9 > self.config.track.forget_s:
                    self._free(track)

    def _free(self, track: Track) -> None:
        """Make the place a stranger's: the body is forgotten, what it told of the cameras is not."""
        self.rig.keep(track.number - 1)
        track.free()
        self.rig.begin(track.number - 1)

    # --- those who are left -----------------------------------------------------------------------------------------------------------------------

    def _search(self, stamp_ns: int, people: Detections, delay_s: np.ndarray) -> list[FrameResult]:
        """Look for those who are not tracked. At most one starts in a frame: a start takes as long as many frames."""
        away = [track for track in self.tracks if not track.alive]
        live = [track for track in self.tracks if track.alive]
        if not away or _cameras_that_see(people) < 2:
            return []
        if live and self._looked_ns is not None and (stamp_ns - self._looked_ns) * 1e-9 < LOOK_S:
            return []
        self._looked_ns = stamp_ns
        left = unclaimed(people, [track.views for track in live if track.views is not None])
        if _cameras_that_see(left) < 2:
            return []
        # Who was lost need not be among those who are seen best.
        found = find_people(self.rig.corrected(), left, max(len(away) + 1, CANDIDATES if any(track.known for track in away) else 0))
        if not self.several:
            chosen = self._main(stamp_ns, self.tracks[0], found)
            pairs = [] if chosen is None else [(self.tracks[0], chosen)]
        else:
            found = [f for f in found if f.share > MIN_SHARE and self._is_plausible(f) and self._is_somebody_else(f, live)]
            pairs = self._believed(stamp_ns, away, self._watchlist.look(stamp_ns, found), bool(live))
        for track, somebody in pairs:
            if self.several and not track.known:
                self.rig.hand_on(track.number - 1, any(other.fitted for other in self.tracks))
            result = track.start(stamp_ns, somebody, delay_s, self.rig.watch.out)
            if result is not None:
                self.rig.watch.doubt(stamp_ns, track.misfits)
                return [result]
        return []

    def _main(self, stamp_ns: int, track: Track, found: list[Found]) -> Found | None:
        """Whom to follow where only one can be."""
        if not found:
            return None
        if track.known:
            reach = REACH_M + WALK_M_S * (stamp_ns - track.seen_ns) * 1e-9
            place = track.place(stamp_ns)
            near = [f for f in found if np.linalg.norm(np.nanmean(f.points, axis=0) - place) < reach]
            return near[0] if near else found[0]
        rivals = [f for f in found if f.share > MIN_SHARE and f.support > RIVAL_SHARE * found[0].support]
        watches = self._watchlist.look(stamp_ns, rivals)
        if len(rivals) < 2:
            return found[0]
        if max(watch.age_s for watch in watches) < RIVALRY_S:
            return None
        return max(watches, key=lambda watch: watch.weight).found

    def _believed(self, stamp_ns: int, away: list[Track], watches: list[Watch], busy: bool) -> list[tuple[Track, Found]]:
        """Those who may start, best first: people who were lost, by place and size, then new ones."""
        known = [track for track in away if track.known]
        cost = np.full((len(known), len(watches)), np.inf)
        for i, track in enumerate(known):
            gap_s = (stamp_ns - track.seen_ns) * 1e-9
            for j, watch in enumerate(watches):
                distance = float(np.linalg.norm(np.nanmean(watch.found.points, axis=0) - track.place(stamp_ns)))
                size, reach = watch.size_against(track.lengths), REACH_M + WALK_M_S * gap_s
                at_once = distance < AT_ONCE_M and gap_s < AT_ONCE_S
                if distance < reach and size < SIZE_GATE and (at_once or watch.age_s >= self.config.track.new_person_s):
                    cost[i, j] = (distance / reach) ** 2 + (size / SIZE_STD) ** 2
        rows, columns = linear_sum_assignment(np.minimum(cost, 1e6))
        pairs = [(i, j) for i, j in zip(rows, columns, strict=True) if np.isfinite(cost[i, j])]
        pairs.sort(key=lambda pair: cost[pair])
        out = [(known[i], watches[j].found) for i, j in pairs]
        # With nobody here and nobody missed, a single comer needs no proof, and the best of several only to be told from the others.
        new_s = self.config.track.new_person_s if busy or known else RIVALRY_S if len(watches) > 1 else 0.0
        back = {j for _, j in pairs}
        waiting = [watch for j, watch in enumerate(watches) if j not in back and watch.age_s >= new_s]
        free = [track for track in away if not track.known]
        if not free:
            longest = min((track for track in known if track not in [t for t, _ in out]), key=lambda track: track.seen_ns, default=None)
            if waiting and longest is not None and (stamp_ns - longest.seen_ns) * 1e-9 > YIELD_S:
                self._free(longest)
                free = [longest]
        # Who is the main person is one question, who is there at all another.
        waiting.sort(key=lambda w: -(w.found.support if busy else w.weight))
        return out + [(track, watch.found) for track, watch in zip(free, waiting, strict=False)]

    def _is_plausible(self, found: Found) -> bool:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.log(bone_lengths(found.points, self._bones) / self._model_lengths)
        ratio = ratio[np.isfinite(ratio)]
        if not len(ratio):
            return True
        size = float(np.median(ratio))
        return np.log(SIZES[0]) < size < np.log(SIZES[1]) and float(np.median(np.abs(ratio - size))) < PROPORTIONS

    def _is_somebody_else(self, found: Found, live: list[Track]) -> bool:
        return all(track.points is None or median_distance(found.points, track.points) > APART_M for track in live)


def _step(job: tuple[Track, int, Views, np.ndarray, Callable[[], bool], np.ndarray]) -> list[FrameResult]:
    track, *frame = job
    return track.step(*frame)


def _cameras_that_see(people: Detections) -> int:
    return sum(map(_sees, people))


def _sees(found: tuple[np.ndarray, np.ndarray] | None) -> bool:
    """Whether a camera sees anybody."""
    return found is not None and len(found[0]) > 0 and bool((found[1] > 0).any())
