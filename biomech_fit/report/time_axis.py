"""What pictures over time share: the stretch that is shown, its ticks, and the width of a 95 % band."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

LONGEST_S = 15.0
"""Of a longer recording pictures of curves show so much."""
BAND_95 = 1.96
"""Standard deviations on each side within which a Gaussian lies with a probability of 95 %."""


def time_window(time: np.ndarray) -> tuple[float, float]:
    """The whole time, or the middle of a long recording: squeezed curves tell nothing."""
    if time[-1] - time[0] <= LONGEST_S:
        return float(time[0]), float(max(time[-1], time[0] + 1e-3))
    middle = 0.5 * (time[0] + time[-1])
    return float(middle - 0.5 * LONGEST_S), float(middle + 0.5 * LONGEST_S)


def time_ticks() -> MaxNLocator:
    return MaxNLocator(10, steps=[1, 2, 5, 10])


def time_label(time: np.ndarray) -> str:
    """Name of the axis, and how much of the recording it shows where that is not all."""
    start, end = time_window(time)
    whole = time[-1] - time[0]
    return "time (s)" if whole <= LONGEST_S else f"time (s); {end - start:.0f} s of {whole:.0f} s"
