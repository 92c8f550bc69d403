"""Published event detectors, as baselines. Both see the whole recording and have no idea of a time's uncertainty.

Zeni et al. 2008 (Gait & Posture 27:710): initial contact where the heel is furthest ahead of the sacrum, final contact where the toe is furthest behind it.
O'Connor et al. 2007 (Gait & Posture 25:469): vertical velocity of the foot's centre; final contact at its peaks, initial contact at its troughs while the heel
is in the lowest 35 % of its range. Both filter with a Butterworth low-pass of 7 Hz (fourth order, zero phase).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gait_walks import Walk
from scipy.signal import butter, filtfilt, find_peaks

from biomech_fit.core.types import EventType, GaitEvent, Side

CUTOFF_HZ = 7.0
LEAST_STRIDE_S = 0.5
LOW_SHARE = 0.35


def zeni(walk: Walk) -> list[GaitEvent]:
    """Extremes of heel and toe relative to the sacrum along the direction of walking, which is that of the feet."""
    ahead = _forward(walk)
    events = []
    for side in Side:
        heel, toe = (_filtered(walk, (points[:, side] - walk.sacrum) @ ahead) for points in (walk.heels, walk.toes))
        events += _peaks(walk, heel, EventType.INITIAL_CONTACT, side) + _peaks(walk, -toe, EventType.FINAL_CONTACT, side)
    return events


def foot_velocity(walk: Walk) -> list[GaitEvent]:
    """Peaks and troughs of the vertical velocity of the foot's centre."""
    events = []
    for side in Side:
        rise = np.gradient(_filtered(walk, 0.5 * (walk.heels[:, side, 2] + walk.toes[:, side, 2])), walk.time_s)
        heel = _filtered(walk, walk.heels[:, side, 2])
        low = heel < heel.min() + LOW_SHARE * np.ptp(heel)
        events += _peaks(walk, rise, EventType.FINAL_CONTACT, side, prominence=0.5)
        troughs = _peaks(walk, -rise, EventType.INITIAL_CONTACT, side, prominence=0.03, apart_s=0.1)
        events += [e for e in troughs if low[np.argmin(np.abs(walk.stamps_ns - e.stamp_ns))]]
    return events


METHODS: dict[str, Callable[[Walk], list[GaitEvent]]] = {"Zeni (heel, toe - sacrum)": zeni, "O'Connor (foot velocity)": foot_velocity}


def _forward(walk: Walk) -> np.ndarray:
    """(3,) horizontal unit vector from heels to toes in the mean over both feet and all instants."""
    way = np.nanmean(walk.toes - walk.heels, axis=(0, 1)) * [1.0, 1.0, 0.0]
    return way / np.linalg.norm(way)


def _filtered(walk: Walk, values: np.ndarray) -> np.ndarray:
    there = np.isfinite(values)
    values = np.interp(walk.time_s, walk.time_s[there], values[there])
    rate = 1.0 / float(np.median(np.diff(walk.time_s)))
    return filtfilt(*butter(2, CUTOFF_HZ / (rate / 2)), values)


def _peaks(walk: Walk, values: np.ndarray, kind: EventType, side: Side, prominence: float = 0.1, apart_s: float = LEAST_STRIDE_S) -> list[GaitEvent]:
    """An event at each peak, between samples by a parabola."""
    step = float(np.median(np.diff(walk.time_s)))
    at, _ = find_peaks(values, distance=max(1, round(apart_s / step)), prominence=prominence * np.ptp(values))
    events = []
    for k in at:
        bend = values[k - 1] - 2 * values[k] + values[k + 1]
        shift = 0.5 * (values[k - 1] - values[k + 1]) / bend if bend else 0.0
        time = walk.time_s[k] + float(np.clip(shift, -0.5, 0.5)) * step
        events.append(GaitEvent(round(time * 1e9), kind, side, np.full(3, np.nan), np.nan, 1.0, np.nan))
    return events
