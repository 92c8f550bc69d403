"""Which detected person in each camera is the tracked one, and who to start with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.core.triangulation import triangulate_robust, triangulate_weighted
from biomech_fit.core.types import KeypointPacket

MIN_SHARED = 4
"""Keypoints that two views of one person must share."""
MAX_PX = 1e5
"""Coordinates beyond this are no pixels of any camera (and their squares no float32)."""
PAIR_GATE_PX = 60.0
"""Two views whose triangulated points reproject worse than this (median) are of different people; calibrations that are off by 20 px still pass."""


@dataclass(frozen=True, eq=False)
class Views:
    """The keypoints taken for one person from C cameras."""

    xy: np.ndarray
    """(C, K, 2) px; NaN = missing."""
    confidence: np.ndarray
    """(C, K); 0 = missing."""

    @property
    def seen(self) -> np.ndarray:
        """(C,) cameras that contribute."""
        return np.any(self.confidence > 0, axis=1)

    @classmethod
    def empty(cls, cameras: int, keypoints: int) -> Views:
        return cls(np.full((cameras, keypoints, 2), np.nan), np.zeros((cameras, keypoints)))


def cleaned(packet: KeypointPacket, used: np.ndarray, min_confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """A packet's people (P, K, 2), (P, K) on the used keypoints; what is not finite, far outside any image or under `min_confidence` counts as missing."""
    xy, confidence = np.asarray(packet.xy, float)[:, used], np.asarray(packet.confidence, float)[:, used]
    good = (np.abs(np.nan_to_num(xy, nan=np.inf)) < MAX_PX).all(-1) & np.isfinite(confidence)
    good &= np.where(good, confidence, -1.0) >= max(min_confidence, 1e-6)
    return np.where(good[..., None], xy, np.nan), np.where(good, np.minimum(confidence, 1.0), 0.0)


def follow(people: Sequence[tuple[np.ndarray, np.ndarray] | None], predicted: np.ndarray, gate_px: float) -> Views:
    """In each camera the person nearest (median over keypoints) to the predicted pixels (C, K, 2), none beyond the gate."""
    cameras, k = predicted.shape[:2]
    views = Views.empty(cameras, k)
    for c, found in enumerate(people):
        if found is None or not len(found[0]):
            continue
        xy, confidence = found
        distance = np.linalg.norm(xy - predicted[c], axis=-1)
        # The missing sort to the end, so the median of the seen is at half their number: np.nanmedian costs ten times as much.
        distance[confidence <= 0] = np.inf
        distance.sort(axis=1)
        seen = (confidence > 0).sum(1)
        score = np.where(seen >= min(3, k), distance[np.arange(len(xy)), np.maximum(seen - 1, 0) // 2], np.inf)
        best = int(np.argmin(score))
        if score[best] < gate_px:
            views.xy[c], views.confidence[c] = xy[best], confidence[best]
    return views


def find_person(cameras: Sequence[Camera], people: Sequence[tuple[np.ndarray, np.ndarray] | None]) -> tuple[Views, np.ndarray] | None:
    """The person whom most cameras agree on: views and triangulated points (K, 3), NaN where fewer than two cameras see a keypoint.

    Every pair of detections in two cameras is a hypothesis, scored by the reprojection of its triangulated keypoints; the other cameras join the
    hypotheses with the detection that fits best. None if no two cameras agree.
    """
    entries = [(c, p) for c, found in enumerate(people) if found is not None for p in range(len(found[0]))]
    best: tuple[float, Views] | None = None
    k = next((found[0].shape[1] for found in people if found is not None and len(found[0])), 0)
    for i, (c, p) in enumerate(entries):
        for d, q in entries[i + 1 :]:
            if d == c:
                continue
            hypothesis = _grow(cameras, people, (c, p), (d, q), k)
            if hypothesis is not None and (best is None or hypothesis[0] > best[0]):
                best = hypothesis
    if best is None:
        return None
    views = best[1]
    points, _ = triangulate_robust(cameras, views.xy, views.confidence)
    return views, points


def _grow(cameras, people, first: tuple[int, int], second: tuple[int, int], k: int) -> tuple[float, Views] | None:
    """Score and views of the hypothesis that two detections are one person."""
    views = Views.empty(len(cameras), k)
    for c, p in (first, second):
        views.xy[c], views.confidence[c] = people[c][0][p], people[c][1][p]
    pair = [first[0], second[0]]
    rig = [cameras[c] for c in pair]
    points, error = triangulate_weighted(rig, views.xy[pair], views.confidence[pair])
    both = np.isfinite(points).all(1) & np.isfinite(error).all(0)
    if both.sum() < MIN_SHARED or np.median(error[:, both]) > PAIR_GATE_PX / 2:
        return None
    score = _support(views.confidence[pair][:, both], error[:, both])
    for c, found in enumerate(people):
        if c in pair or found is None or not len(found[0]):
            continue
        pixels = np.full((k, 2), np.nan)
        pixels[both] = cameras[c].project(points[both])
        distance = np.linalg.norm(found[0] - pixels, axis=-1)
        shared = np.isfinite(distance)
        for p in np.flatnonzero(shared.sum(1) >= MIN_SHARED):
            if np.median(distance[p, shared[p]]) < PAIR_GATE_PX:
                gain = _support(found[1][p, shared[p]], distance[p, shared[p]])
                if gain > _support(views.confidence[c], np.linalg.norm(views.xy[c] - pixels, axis=-1)):
                    views.xy[c], views.confidence[c] = found[0][p], found[1][p]
        score += _support(views.confidence[c], np.linalg.norm(views.xy[c] - pixels, axis=-1))
    return score, views


def _support(confidence: np.ndarray, error_px: np.ndarray) -> float:
    """Confidence-weighted number of keypoints that agree."""
    return float(np.nansum(confidence / (1 + (error_px / 20.0) ** 2)))
