"""Medians of what is seen."""

from __future__ import annotations

import numpy as np


def misses(error_px: np.ndarray, confidence: np.ndarray, limit_px: float) -> bool:
    """Whether the median error (C, K), NaN where the camera cannot see the point, of what is seen is above a limit, or nothing seen can be there at all."""
    errors = error_px[(confidence > 0) & np.isfinite(error_px)]
    return not len(errors) or bool(np.median(errors) > limit_px)


def median_seen(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(C,) of what is seen (C, K) of values (C, K), the lower of two middle ones; infinite where nothing is."""
    ordered = np.sort(np.where(seen, values, np.inf), axis=1)
    return ordered[np.arange(len(values)), np.maximum(seen.sum(1) - 1, 0) // 2]
