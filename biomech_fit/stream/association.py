"""Which detection in each camera is which person: cleaning, following the people who are tracked, finding people in what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from biomech_fit.core.camera import Camera
from biomech_fit.core.triangulation import triangulate_robust, triangulate_weighted
from biomech_fit.core.types import KeypointPacket

MIN_SHARED = 4
"""Keypoints that two views of one person must share."""
MAX_PX = 1e5
"""Coordinates beyond this are no pixels of any camera (and their squares no float32)."""
PAIR_GATE_PX = 60.0
"""Two views whose triangulated points reproject worse than this (median) are of different people; calibrations that are off by 20 px still pass."""
SUPPORT_PX = 20.0
"""A keypoint this far from where another view puts it supports a hypothesis half."""

Detections = Sequence[tuple[np.ndarray, np.ndarray] | None]
"""Per camera the detected people: (P, K, 2) px, NaN = missing, and confidences (P, K), 0 = missing; None where the camera sent nothing."""


@dataclass(frozen=True, eq=False)
class Views:
    """The keypoints taken for one person from C cameras."""

    xy: np.ndarray
    """(C, K, 2) px; NaN = missing."""
    confidence: np.ndarray
    """(C, K); 0 = missing."""
    taken: np.ndarray
    """(C,) index of the detection in each camera's list; -1 = none."""

    @property
    def seen(self) -> np.ndarray:
        """(C,) cameras that contribute."""
        return np.any(self.confidence > 0, axis=1)

    @classmethod
    def empty(cls, cameras: int, keypoints: int) -> Views:
        return cls(np.full((cameras, keypoints, 2), np.nan), np.zeros((cameras, keypoints)), np.full(cameras, -1))

    @classmethod
    def of(cls, people: Detections, taken: np.ndarray, keypoints: int) -> Views:
        """The detections `taken` (C,); -1 = none."""
        if not (taken >= 0).any():
            return cls.empty(len(people), keypoints)
        there = [found for found in people if found is not None]
        first = np.cumsum([0, *(0 if found is None else len(found[0]) for found in people[:-1])])
        rows, is_taken = np.where(taken >= 0, first + taken, 0), (taken >= 0)[:, None]
        xy, confidence = (np.concatenate([found[i] for found in there])[rows] for i in range(2))
        return cls(np.where(is_taken[..., None], xy, np.nan), np.where(is_taken, confidence, 0.0), taken)


@dataclass(frozen=True, eq=False)
class Found:
    """Detections that agree across cameras: somebody."""

    views: Views
    points: np.ndarray
    """(K, 3) m; NaN where fewer than two cameras see a keypoint."""
    support: float
    """Confidence-weighted number of keypoints that agree, over all cameras."""
    share: float
    """Of the cameras that should see this person, those that do."""


def cleaned(packets: Sequence[KeypointPacket | None], used: np.ndarray, min_confidence: float) -> Detections:
    """The cameras' packets on the used keypoints; what is not finite, far outside any image or under `min_confidence` counts as missing."""
    there = [packet for packet in packets if packet is not None]
    if not there:
        return [None] * len(packets)
    # All cameras at once: an array operation on a handful of keypoints costs as much as on all of them.
    xy, confidence = (np.concatenate([getattr(packet, name) for packet in there], dtype=float) for name in ("xy", "confidence"))
    if not used.all():
        xy, confidence = xy[:, used], confidence[:, used]
    with np.errstate(invalid="ignore"):
        good = (np.abs(xy) < MAX_PX).all(-1) & (confidence >= max(min_confidence, 1e-6)) & (confidence < np.inf)
    xy, confidence = np.where(good[..., None], xy, np.nan), np.where(good, np.minimum(confidence, 1.0), 0.0)
    out: list[tuple[np.ndarray, np.ndarray] | None] = []
    first = 0
    for packet in packets:
        own = slice(first, first if packet is None else first + len(packet.xy))
        out.append(None if packet is None else (xy[own], confidence[own]))
        first = own.stop
    return out


def follow(people: Detections, predicted: np.ndarray, gate_px: float) -> list[Views]:
    """In each camera, assign the detections to M tracked people so that the distances to their predicted pixels (M, C, K, 2) are smallest in sum.

    A distance is the median over keypoints, so that a wrong limb does not count; nobody gets a detection beyond the gate (Kuhn 1955, Munkres 1957).
    """
    tracked, cameras, k = predicted.shape[:3]
    taken = np.full((tracked, cameras), -1)
    counts = [0 if found is None else len(found[0]) for found in people]
    of = np.repeat(np.arange(cameras), counts)
    if not len(of):
        return [Views.of(people, row, k) for row in taken]
    xy, confidence = (np.concatenate([found[i] for found in people if found is not None]) for i in range(2))
    cost = np.minimum(_medians(predicted[:, of], xy, confidence), gate_px)
    if tracked == 1 and max(counts) == 1:
        # The usual case, in every frame: nothing is to be assigned.
        taken[0, of] = np.where(cost[0] < gate_px, 0, -1)
        return [Views.of(people, taken[0], k)]
    for c, (first, last) in enumerate(pairwise([0, *np.cumsum(counts)])):
        if first == last:
            continue
        own = cost[:, first:last]
        rows, columns = linear_sum_assignment(own)
        good = own[rows, columns] < gate_px
        taken[rows[good], c] = columns[good]
    return [Views.of(people, row, k) for row in taken]


def _medians(predicted: np.ndarray, xy: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(M, P) median distance of the seen keypoints of detections (P, K, 2), (P, K) from each one's M predictions (M, P, K, 2); infinite with fewer than
    three."""
    off = xy - predicted
    square = off[..., 0] ** 2 + off[..., 1] ** 2
    # The missing sort to the end, so the median of the seen is at half their number: np.nanmedian costs ten times as much.
    square = np.where((confidence > 0) & ~np.isnan(square), square, np.inf)
    square.sort(axis=-1)
    seen = (confidence > 0).sum(1)
    middle = square[:, np.arange(len(xy)), np.maximum(seen - 1, 0) // 2]
    return np.sqrt(np.where(seen >= min(3, xy.shape[1]), middle, np.inf))


def unclaimed(people: Detections, claims: Sequence[Views]) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """The detections that nobody has taken, as `people` with the others' confidence at 0 (indices stay)."""
    left: list[tuple[np.ndarray, np.ndarray] | None] = []
    for c, found in enumerate(people):
        used = [views.taken[c] for views in claims if views.taken[c] >= 0]
        if found is None or not used:
            left.append(found)
            continue
        confidence = found[1].copy()
        confidence[used] = 0.0
        left.append((np.where(confidence[..., None] > 0, found[0], np.nan), confidence))
    return left


def find_people(cameras: Sequence[Camera], people: Detections, most: int = 1) -> list[Found]:
    """At most `most` people whom two or more cameras agree on, the best supported one first. Each detection belongs to one of them.

    Every pair of detections in two cameras is a hypothesis, scored by the reprojection of its triangulated keypoints; the other cameras support it
    with the detection that fits best. The best hypothesis takes its detections, and so on.
    """
    k = next((found[0].shape[1] for found in people if found is not None and len(found[0])), 0)
    points, support = _hypotheses(cameras, people, k)
    out: list[Found] = []
    while len(out) < most and len(points):
        score = support.max(2).sum(1)
        best = int(np.argmax(score))
        taken = np.where(support[best].max(1) > 0, support[best].argmax(1), -1)
        if (taken >= 0).sum() < 2 or score[best] <= 0:
            break
        views = Views.of(people, taken, k)
        placed, _ = triangulate_robust(cameras, views.xy, views.confidence)
        out.append(Found(views, placed, float(score[best]), _share(cameras, people, placed, views.seen)))
        for c in np.flatnonzero(taken >= 0):
            support[:, c, taken[c]] = 0.0
        # A hypothesis lives on only while two cameras that agree are left to it.
        keep = (support.max(2) > 0).sum(1) >= 2
        points, support = points[keep], support[keep]
    return out


def _hypotheses(cameras: Sequence[Camera], people: Detections, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (H, K, 3), NaN = not shared, of all pairs of detections that agree, and the support (H, C, P) of every detection for them."""
    counts = [0 if found is None else len(found[0]) for found in people]
    points: list[np.ndarray] = []
    for c in range(len(cameras)):
        for d in range(c + 1, len(cameras)):
            if counts[c] and counts[d]:
                points.append(_pairs(cameras[c], cameras[d], people[c], people[d]))  # type: ignore[arg-type]
    placed = np.concatenate(points) if points else np.zeros((0, k, 3))
    support = np.zeros((len(placed), len(cameras), max(counts, default=0)))
    if not len(placed):
        return placed, support
    there = np.isfinite(placed).all(-1)
    for c, found in enumerate(people):
        if found is None or not counts[c]:
            continue
        pixels = np.full((*placed.shape[:2], 2), np.nan)
        pixels[there] = cameras[c].project(placed[there])
        distance = np.linalg.norm(found[0][None] - pixels[:, None], axis=-1)
        shared = np.isfinite(distance)
        agreed = np.nansum(found[1] / (1 + (distance / SUPPORT_PX) ** 2), axis=-1)
        enough = shared.sum(-1) >= MIN_SHARED
        support[:, c, : counts[c]] = np.where(enough & (_nanmedian(distance) < PAIR_GATE_PX), agreed, 0.0)
    return placed, support


def _pairs(first: Camera, second: Camera, a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(H, K, 3) m: the triangulated keypoints of the pairs of two cameras' detections that agree."""
    i, j = (index.ravel() for index in np.meshgrid(np.arange(len(a[0])), np.arange(len(b[0])), indexing="ij"))
    xy, confidence = np.stack([a[0][i], b[0][j]], 1), np.stack([a[1][i], b[1][j]], 1)
    points, error = triangulate_weighted([first, second], xy, confidence)
    both = np.isfinite(points).all(-1) & np.isfinite(error).all(1)
    error = np.where(both, error.mean(1), np.nan)
    good = (both.sum(1) >= MIN_SHARED) & (_nanmedian(error) <= PAIR_GATE_PX / 2)
    return np.where(both[..., None], points, np.nan)[good]


def _share(cameras: Sequence[Camera], people: Detections, points: np.ndarray, seen: np.ndarray) -> float:
    """Of the cameras that said something and have half the points in their image, those that see the person."""
    there = points[np.isfinite(points).all(1)]
    expected = np.zeros(len(cameras), bool)
    for c, camera in enumerate(cameras):
        if people[c] is not None and len(there):
            pixels = camera.project(there)
            with np.errstate(invalid="ignore"):
                inside = np.all((pixels >= 0) & (pixels < [camera.width, camera.height]), axis=1)
            expected[c] = inside.mean() >= 0.5
    return float(seen.sum() / max((expected | seen).sum(), 1))


def _nanmedian(values: np.ndarray) -> np.ndarray:
    """Median along the last axis of what is finite (the lower of two middle ones); infinite where nothing is."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.inf), axis=-1)
    count = np.isfinite(values).sum(-1)
    middle = np.take_along_axis(ordered, np.maximum(count - 1, 0)[..., None] // 2, -1)
    return middle[..., 0]
