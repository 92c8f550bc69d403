"""What was seen of the cameras in the last second, looked at now and then."""

from __future__ import annotations

from collections import deque

import numpy as np

LENGTH_S, EVERY_S = 1.0, 0.1


class LastFrames:
    """Arrays (C, ...) of the frames of the last second."""

    def __init__(self) -> None:
        self._frames: deque[tuple[int, np.ndarray]] = deque()
        self._looked_ns = 0

    def add(self, stamp_ns: int, values: np.ndarray) -> None:
        """The newest frame; the array is kept."""
        self._frames.append((stamp_ns, values))
        while (stamp_ns - self._frames[0][0]) * 1e-9 > LENGTH_S:
            self._frames.popleft()

    def forget(self, c: int) -> None:
        """Camera c is looked at anew: NaN."""
        for _, values in self._frames:
            values[c] = np.nan

    def look(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The frames' age (T,) s and arrays (T, C, ...), or None where they have been looked at just before."""
        newest_ns = self._frames[-1][0]
        if 0 <= (newest_ns - self._looked_ns) * 1e-9 < EVERY_S:
            return None
        self._looked_ns = newest_ns
        return np.array([(newest_ns - at) * 1e-9 for at, _ in self._frames]), np.stack([values for _, values in self._frames])
