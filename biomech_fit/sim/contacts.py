"""When each part of a foot is on the ground, and the gait events that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from biomech_fit.sim.gait_curves import stance_fraction
from biomech_fit.sim.path import Course

HEEL_OFF = 0.40
BALL_DOWN = 0.09
HEEL_CLEARANCE_M = 0.022
"""Height of the heel when it comes down in the last tenth of the stride (Winter 1991: it skims the floor by a few centimetres, then drops)."""
"""Shares of the stride (Perry & Burnfield 2010: foot flat at 8 to 12 %, heel off at 31 to 40 %)."""
RAMP = 0.03


def _step(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0.0, 1.0)
    return x**3 * (10 - 15 * x + 6 * x**2)


@dataclass(frozen=True, eq=False)
class FootPlan:
    """One foot's contacts on the course's time grid (M samples)."""

    phase: np.ndarray
    """(M,) strides; integers are initial contacts of this foot."""
    stance: np.ndarray
    """(M,) stance fraction."""
    weight: np.ndarray
    """(M, 3) 0..1: heel, ball, toe planted."""
    clearance_m: np.ndarray
    """(M, 3) height that heel, ball and toe must keep; 0 in stance."""
    initial_contact_s: np.ndarray
    final_contact_s: np.ndarray
    mid_stance_s: np.ndarray
    """(M,) the time whose heading and position of the path this sample's foothold belongs to."""


def plan_foot(course: Course, phase: np.ndarray, clearance_m: float) -> FootPlan:
    """Contacts of the foot whose own phase is `phase` (M,): heel first, then ball and toes, heel off, toe off at the stance fraction."""
    time = course.time_s
    stance = stance_fraction(course.speed)
    u = phase - np.floor(phase)
    heel = _step(u / RAMP) * (1.0 - _step((u - HEEL_OFF + RAMP) / (2 * RAMP)))
    ball = _step((u - BALL_DOWN) / RAMP) * (1.0 - _step((u - stance + 0.10) / (2 * RAMP)))
    toe = _step((u - BALL_DOWN - 0.02) / RAMP) * (1.0 - _step((u - stance + RAMP) / RAMP))
    weight = np.maximum(np.stack([heel, ball, toe], axis=1), course.standing[:, None])
    swing = np.clip((u - stance) / (1.0 - stance), 0.0, 1.0)
    toes = clearance_m * np.sin(np.pi * swing) ** 2
    heel = HEEL_CLEARANCE_M * _step((1.0 - u) / 0.10) * _step((u - stance) / 0.10)
    clearance = np.stack([heel, toes, toes], axis=1) * (1.0 - course.standing)[:, None]
    contact = _crossings(time, phase, np.zeros_like(phase))
    leave = _crossings(time, phase, stance)
    # The foothold of the whole stance (and of the swing before it) is laid out about the middle of stance.
    middle = np.floor(phase + 0.15) + 0.30
    if phase[-1] > phase[0]:
        grid, first = np.unique(phase, return_index=True)
        mid = np.interp(middle, grid, time[first])
    else:
        mid = time.copy()
    return FootPlan(phase, stance, weight, clearance, contact, leave, mid)


def _crossings(time_s: np.ndarray, phase: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Times at which phase - level passes an integer upwards."""
    value = phase - level
    whole = np.floor(value)
    at = np.nonzero(whole[1:] > whole[:-1])[0]
    share = (whole[at + 1] - value[at]) / (value[at + 1] - value[at])
    return time_s[at] + share * (time_s[at + 1] - time_s[at])
