"""A camera that was pushed a little: all its keypoints lean to one side of the body, all at once.

Too little for a misfit (`camera_watch`), but what was known of the camera does not hold any more, and a pose that is known from minutes of walking
follows slowly: the body leans with it until then. Since the body follows the pushed camera, all cameras lean a little, and the one that was pushed is the one
without which a mere shift of the body explains the leans of all others.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from biomech_fit.stream.medians import median_seen

SUSPECT = 0.3
"""Below a change of every camera's lean by so many standard deviations nothing is looked at."""
LEAN, EXPLAINED = 0.7, 5.0
"""So much must a camera's lean have changed against the body that the others place, and without it the others' leans must be explained better by the second
factor (sum of squares) than without any other one. Nobody was pushed: 0.38 and 2.6 at most in 20 s of simulated walking (four or eight cameras, 30 or 60 Hz,
calibrations true or off), 0.68 and 5.0, not at once, where errors are correlated from frame to frame (0.8 at 60 Hz). A push by 0.4 degrees and 15 mm: 0.85 and
8 to 31 with four cameras, 1.2 and 18 with eight."""
NOISE = 0.1
"""Standard deviation of a lean's change, which no shift explains."""
LEAST_OTHERS = 3
"""Two cameras agree on almost any body."""
PARTS_S = (0.45, 0.3, 0.15, 0.0)
"""Compared is the last second but for its newest part with each third of that: a moment is no push."""
LEAST_BEFORE = 3
"""Frames with which it is compared."""


def leans(error_px: np.ndarray, sigma_px: np.ndarray, seen: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """(C, 2) each camera's median residual in standard deviations, of errors (C, K, 2) where `seen` (C, K); NaN for cameras that are not `judged` (C,)."""
    seen = seen & np.isfinite(error_px[..., 0])
    medians = [median_seen(error_px[..., i] / sigma_px, seen) for i in range(2)]
    return np.where(judged[:, None], np.stack(medians, 1), np.nan)


def pushed(age_s: np.ndarray, leans: np.ndarray, by_shift: Callable[[], np.ndarray]) -> int | None:
    """The camera that was pushed, if one was; leans (T, C, 2) of frames that are so old (T,). `by_shift` gives the leans' derivative (C, 2, 3) by a shift of
    the body (1/m)."""
    before = mean_lean(leans[age_s >= PARTS_S[0]], LEAST_BEFORE)
    changes = np.stack([mean_lean(leans[(age_s < old) & (age_s >= new)]) - before for old, new in pairwise(PARTS_S)])
    known = np.flatnonzero(np.isfinite(changes).all((0, 2)))
    if len(known) <= LEAST_OTHERS or np.linalg.norm(changes[:, known], axis=2).min(0).max() < SUSPECT:
        return None
    by, rest, own = by_shift(), [], []
    for c in known:
        others = known[known != c]
        matrix, right = by[others].reshape(-1, 3), changes[:, others].reshape(len(changes), -1)
        shift = np.linalg.lstsq(matrix, right.T, rcond=None)[0]
        rest.append(np.sum((right.T - matrix @ shift).mean(1) ** 2) + len(others) * NOISE**2)
        own.append(changes[:, c] - (by[c] @ shift).T)
    best = int(np.argmin(rest))
    whole = own[best].mean(0)
    along = float(np.min(own[best] @ whole)) / max(float(np.linalg.norm(whole)), 1e-9)
    return int(known[best]) if along > LEAN and np.min(np.delete(rest, best)) > EXPLAINED * rest[best] else None


def mean_lean(leans: np.ndarray, least: int = 1) -> np.ndarray:
    """(C, 2) over frames or people (T, C, 2); NaN where a camera has fewer than `least`."""
    known = np.isfinite(leans).all(2)
    count = known.sum(0)
    mean = np.where(known[..., None], leans, 0.0).sum(0) / np.maximum(count, 1)[:, None]
    return np.where((count >= least)[:, None], mean, np.nan)
