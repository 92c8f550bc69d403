"""A trial of 3D points, as .trc and .c3d files hold it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Points3D:
    """T samples of K named points in a z-up world, metres; NaN = missing."""

    names: tuple[str, ...]
    time_s: np.ndarray
    """(T,)"""
    points: np.ndarray
    """(T, K, 3) m."""
    rate_hz: float
    announced: int = 0
    """Samples that the file's header speaks of; 0 = it says nothing."""

    def __getitem__(self, name: str) -> np.ndarray:
        """(T, 3) of one point; KeyError with the valid names."""
        if name not in self.names:
            raise KeyError(f"no point '{name}'; there are {', '.join(self.names)}")
        return self.points[:, self.names.index(name)]


def sample_rate(time_s: np.ndarray) -> float:
    """Rate (Hz) from the median step; 0 for fewer than two samples, or times that do not increase. Rounded where the times are those of a whole rate."""
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    if not step > 0:
        return 0.0
    rate = 1.0 / step
    return float(round(rate)) if abs(rate - round(rate)) < 2e-4 * rate else rate
