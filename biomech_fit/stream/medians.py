"""Medians of what is seen."""

from __future__ import annotations

import numpy as np


def median_seen(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(C,) of what is seen (C, K) of values (C, K), the lower of two middle ones; infinite where nothing is."""
    ordered = np.sort(np.where(seen, values, np.inf), axis=1)
    return ordered[np.arange(len(values)), np.maximum(seen.sum(1) - 1, 0) // 2]
