"""What a pipeline of the benchmark gives back for one recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from biomech_fit.core.camera import Camera


@dataclass(frozen=True, eq=False)
class Output:
    """What a pipeline says about one recording; T frames, NaN where it says nothing."""

    points: np.ndarray
    """(T, K, 3) m"""
    angles: np.ndarray
    """(T, 6) degrees, `walks.FLEXIONS`"""
    ms_per_frame: float
    """Wall time of the whole recording over its frames."""
    cpu_ms_per_frame: float
    """The same in time on a core, which other programs on the machine disturb less."""
    cameras: list[Camera] | None = None
    """As known at the end; None for a pipeline that leaves them as they are."""
    point_std: np.ndarray | None = None
    angle_std: np.ndarray | None = None
