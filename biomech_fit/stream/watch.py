"""People who are not tracked yet: watched for some frames before they are believed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from biomech_fit.stream.association import Found
from biomech_fit.stream.track import bone_lengths

STEP_M, SPEED_M_S = 0.3, 3.0
"""Two looks at one person: this far apart, and this much more per second."""
PATIENCE_S = 0.3
"""Who was not found for this long was nobody."""
ALIVE = 0.001
"""The keypoints of a living body, as a detector sees it, move by more than this share of its height against each other within a quarter of a second."""
MOVING = 0.05
"""The same for one who walks."""
EVEN = 1e-3
"""Confidences of a detector scatter more than this."""
LIFELESS_FACTOR = 0.25


@dataclass(eq=False)
class Watch:
    """Somebody who might be a person."""

    found: Found
    first_ns: int
    newest_ns: int
    shape: np.ndarray
    """(C, K, 2) px about their mean, at the first look."""
    change: float = 0.0
    """The most that the shape has changed since, as a share of its height."""
    lengths: list[np.ndarray] = field(default_factory=list)
    """(E,) m of every look."""

    @property
    def age_s(self) -> float:
        return (self.newest_ns - self.first_ns) * 1e-9

    @property
    def weight(self) -> float:
        """How much speaks for this being the main person."""
        confidence = self.found.views.confidence
        lifeless = self.change < ALIVE or np.ptp(confidence[confidence > 0]) < EVEN
        return self.found.support * (LIFELESS_FACTOR if lifeless else 1.0 + min(self.change / MOVING, 1.0))

    def size_against(self, lengths: np.ndarray | None) -> float:
        """Difference in size as a share: the median over the bones of the ratio's logarithm, without its sign; 0 where nothing is known."""
        if lengths is None or not len(lengths):
            return 0.0
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.log(np.nanmedian(self.lengths, axis=0) / lengths)
        ratio = ratio[np.isfinite(ratio)]
        return float(abs(np.median(ratio))) if len(ratio) else 0.0


class Watchlist:
    """Those who are being watched. `bones` (E, 2) are pairs of keypoints whose distances are a person's size."""

    def __init__(self, bones: np.ndarray):
        self._bones = bones
        self._watches: list[Watch] = []

    def clear(self) -> None:
        self._watches = []

    def look(self, stamp_ns: int, people: list[Found]) -> list[Watch]:
        """Take those who were found now; returns their watches, in the same order."""
        old = [w for w in self._watches if (stamp_ns - w.newest_ns) * 1e-9 <= PATIENCE_S]
        now: list[Watch] = []
        for found in people:
            watch = min(old, key=lambda w: median_distance(w.found.points, found.points), default=None)
            reach = STEP_M + SPEED_M_S * (stamp_ns - watch.newest_ns) * 1e-9 if watch is not None else 0.0
            if watch is None or not median_distance(watch.found.points, found.points) <= reach:
                watch = Watch(found, stamp_ns, stamp_ns, _shape(found))
            else:
                old.remove(watch)
                watch.found, watch.newest_ns = found, stamp_ns
                watch.change = max(watch.change, _change(watch.shape, _shape(found)))
            watch.lengths = [*watch.lengths[-19:], bone_lengths(found.points, self._bones)]
            now.append(watch)
        self._watches = [*now, *old]
        return now


def median_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Median distance of the points (K, 3) that both have, m; infinite where they share none."""
    distance = np.linalg.norm(a - b, axis=1)
    distance = distance[np.isfinite(distance)]
    return float(np.median(distance)) if len(distance) else np.inf


def _shape(found: Found) -> np.ndarray:
    seen = found.views.seen
    shape = np.full_like(found.views.xy, np.nan)
    shape[seen] = found.views.xy[seen] - np.nanmean(found.views.xy[seen], axis=1, keepdims=True)
    return shape


def _change(before: np.ndarray, now: np.ndarray) -> float:
    """How much a shape has changed but for its size, median over keypoints, in the camera where it changed most, as a share of its height."""
    most = 0.0
    for a, b in zip(before, now, strict=True):
        both = np.isfinite(a).all(1) & np.isfinite(b).all(1)
        if both.sum() >= 3:
            a, b = (s[both] - s[both].mean(0) for s in (a, b))
            scale = (a * b).sum() / max((a * a).sum(), 1e-9)
            most = max(most, float(np.median(np.linalg.norm(scale * a - b, axis=1)) / max(np.ptp(b[:, 1]), 1.0)))
    return most
