"""Where a foot stands: its heel over the time on the floor, the floor's own speed (a treadmill's belt), and which way the foot points."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import hypot, isfinite

import numpy as np

FLAT_FROM_S, FLAT_TO_S = 0.1, 0.3
"""After initial contact: the foot is down and the heel has not yet risen, so the heel moves with what it stands on
(Perry & Burnfield 2010: foot flat from 8 to 12 % of the stride, heel off at 31 to 40 %)."""
FEWEST = 4
"""Samples of which a speed or a scatter is taken."""
MAD_TO_STD = 1.4826


def median(values: np.ndarray) -> np.ndarray:
    """The median over the first axis of values without NaN: `np.median` takes twenty times as long for so few."""
    ordered = np.sort(values, axis=0)
    return 0.5 * (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2])


def horizontal_plane(up: Sequence[float]) -> np.ndarray:
    """(2, 3) unit vectors across the vertical, the second to the left of the first; x and y where z is up."""
    up = np.asarray(up, float) / np.linalg.norm(up)
    first = np.eye(3)[0 if abs(up[0]) < 0.9 else 1]
    first = first - first @ up * up
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(up, first)])


class FootTrack:
    """The last seconds of one foot over the floor's plane.

    Args:
        plane: (2, 3) unit vectors that span the horizontal plane.
        memory_s: how long samples are kept.
    """

    def __init__(self, plane: np.ndarray, memory_s: float) -> None:
        self._plane, self._memory_ns = plane, round(memory_s * 1e9)
        self._samples: deque[tuple[int, Sequence[float]]] = deque()

    def add(self, stamp_ns: int, heel: Sequence[float], toe: Sequence[float]) -> None:
        """Takes a sample, (3,) m each; one without a heel is left out."""
        if isfinite(sum(heel)):
            self._samples.append((stamp_ns, (*heel, *toe)))
        while self._samples and self._samples[0][0] < stamp_ns - self._memory_ns:
            self._samples.popleft()

    def stance(self, start_ns: int, end_ns: int | None) -> Stance:
        """What was seen of the foot between two instants (None = until now)."""
        mine = [s for s in self._samples if s[0] >= start_ns and (end_ns is None or s[0] <= end_ns)]
        time_s = np.array([(s[0] - start_ns) * 1e-9 for s in mine])
        points = np.array([s[1] for s in mine]).reshape(-1, 6)
        return Stance(time_s, points[:, :3] @ self._plane.T, (points[:, 3:] - points[:, :3]) @ self._plane.T)


class Stance:
    """One foot on the floor, n samples in the horizontal plane: times since the contact (s), heels (n, 2) m, heel to toe (n, 2) m."""

    def __init__(self, time_s: np.ndarray, heels: np.ndarray, pointing: np.ndarray) -> None:
        self._time_s, self._heels = time_s, heels
        self._pointing = pointing[np.isfinite(pointing).all(1)]

    def __len__(self) -> int:
        return len(self._time_s)

    def floor_velocity(self) -> np.ndarray | None:
        """(2,) m/s of the heel while the foot is flat: a straight line through its places; None where too little was seen."""
        flat = (self._time_s >= FLAT_FROM_S) & (self._time_s <= FLAT_TO_S)
        if flat.sum() < FEWEST:
            return None
        time = self._time_s[flat] - self._time_s[flat].mean()
        return time @ self._heels[flat] / (time @ time)

    def direction(self) -> np.ndarray | None:
        """(2,) unit vector from heel to toe; None where no toe was seen."""
        pointing = self.pointing()
        length = 0.0 if pointing is None else float(np.linalg.norm(pointing))
        return pointing / length if pointing is not None and length > 0 else None

    def pointing(self) -> np.ndarray | None:
        """(2,) m from heel to toe in the median; None where no toe was seen."""
        return median(self._pointing) if len(self._pointing) else None

    def place(self, velocity: np.ndarray) -> np.ndarray:
        """(2,) m: the median place of the heel over the stance on a floor of this velocity (2,), as it was at the contact.

        The median is the geometric one, which does not depend on the choice of axes and along a line is the usual one.
        """
        return _geometric_median(self._heels - self._time_s[:, None] * velocity)

    def scatter(self, velocity: np.ndarray, axis: np.ndarray) -> float:
        """m: robust standard deviation of the heel's places along a unit vector (2,); NaN of too few."""
        if len(self) < FEWEST:
            return np.nan
        along = (self._heels - self._time_s[:, None] * velocity) @ axis
        return float(MAD_TO_STD * median(np.abs(along - median(along))))


def _geometric_median(points: np.ndarray) -> np.ndarray:
    """(2,) point of the least summed distance to (n, 2) points (Weiszfeld's iteration from the median of each axis)."""
    centre = median(points)
    for _ in range(30):
        away = points - centre
        weight = 1.0 / np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-6)
        moved = weight @ points / weight.sum()
        if hypot(*(moved - centre).tolist()) < 1e-6:
            return moved
        centre = moved
    return centre
