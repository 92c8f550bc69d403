"""A camera whose clock was set: its keypoints lie ahead of the body, or behind it, along their own motion.

The clock offset is a state of the solver, but one that is known from minutes of walking follows slowly, and the camera's pose takes the lag for its own
meanwhile. Residuals e of one second are set against the keypoints' speeds v in the image, e = b + lag v, with a constant b for a pose that is off. The
speeds are those before the frame: its own follow its errors, which would be taken for a lag.
"""

from __future__ import annotations

import numpy as np

LAG_S = 0.010
"""A lag is this large in both halves of the last second. Without any fault it is 5 ms at most in 20 s of simulated walking (four or eight cameras, 30 or
60 Hz, calibrations true or off), 7 ms where errors are correlated from frame to frame (0.8 at 60 Hz), and 4 ms in real walks through simulated cameras."""
ALONE = 1.5
"""So many times that of any other camera."""
MOVING, SURE_S = 20.0, 0.003
"""The keypoints' speeds must differ by so many standard deviations of a keypoint in a second (RMS), and each half's lag be as sure as this: somebody who stands
tells nothing of clocks. (The speeds of a standing body are noise, 10 to 14.)"""
HALF_S = 0.5
OUTLIER = 5.0
"""Residuals of so many standard deviations are left out."""


def lag_sums(error_px: np.ndarray, speed_px_s: np.ndarray, sigma_px: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(C, 7) what a frame adds to the regression: how many keypoints, sums of e (2) and v (2), of v e and of v v, in standard deviations; from errors
    (C, K, 2) and speeds (C, K, 2) just before where `seen` (C, K)."""
    e, v = error_px / sigma_px[..., None], speed_px_s / sigma_px[..., None]
    with np.errstate(invalid="ignore"):
        used = seen & (e[..., 0] ** 2 + e[..., 1] ** 2 < OUTLIER**2) & np.isfinite(v).all(-1)
    e, v = np.where(used[..., None], e, 0.0), np.where(used[..., None], v, 0.0)
    return np.concatenate([used.sum(1)[:, None], e.sum(1), v.sum(1), (v * e).sum((1, 2))[:, None], (v * v).sum((1, 2))[:, None]], 1)


def lagging(age_s: np.ndarray, sums: np.ndarray) -> int | None:
    """The camera that lags alone, from `lag_sums` (T, C, 7) of frames that are so old (T,); NaN = nothing."""
    halves = [_lag(sums[age_s < HALF_S]), _lag(sums[age_s >= HALF_S])]
    lag = np.where(halves[0] * halves[1] > 0, np.minimum(*np.abs(halves)), 0.0)
    worst = int(np.argmax(lag))
    return worst if lag[worst] > max(LAG_S, ALONE * np.max(np.delete(lag, worst), initial=0.0)) else None


def _lag(sums: np.ndarray) -> np.ndarray:
    """(C,) s of frames (T, C, 7); 0 where it is not sure."""
    total = np.nan_to_num(sums).sum(0)
    count, e, v, both, square = np.maximum(total[:, 0], 1), total[:, 1:3], total[:, 3:5], total[:, 5], total[:, 6]
    information = square - (v * v).sum(1) / count
    return np.where(information > np.maximum(SURE_S**-2, MOVING**2 * count), (both - (v * e).sum(1) / count) / np.maximum(information, 1.0), 0.0)
