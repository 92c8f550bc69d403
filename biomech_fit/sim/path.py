"""Where the subject walks: closed smooth paths inside a 4 x 3 m volume, the speed along them, and the phase of the gait cycle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

PATHS = ("shuttle", "circle", "eight", "straight", "treadmill", "stand")
"""shuttle = back and forth on two lanes with a turn at each end; straight = one line without an end."""
DENSE_HZ = 500.0
STOPPING_S = 1.2
DOUBLE_SUPPORT = 0.06
"""Phase after a contact at which both feet are on the ground; people stand in it."""


@dataclass(frozen=True, eq=False)
class Course:
    """The plan of a walk on a dense time grid of M samples."""

    time_s: np.ndarray
    """(M,)"""
    position: np.ndarray
    """(M, 2) m, the path under the pelvis; constant on a treadmill."""
    heading: np.ndarray
    """(M,) rad about z, unwrapped; 0 = along x."""
    speed: np.ndarray
    """(M,) m/s relative to the ground (on a treadmill: the belt)."""
    standing: np.ndarray
    """(M,) 0 = walks, 1 = stands still."""
    phase: np.ndarray
    """(M,) strides of the right leg; integers are its initial contacts."""
    belt_speed: float
    """m/s; 0 = the ground does not move."""


def smooth_noise(rng: np.random.Generator, time_s: np.ndarray, period_s: float, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Smooth random signal of unit variance: a cubic spline through independent normal values, one each `period_s`. Returns (M, *shape)."""
    start, end = float(time_s[0]), float(time_s[-1])
    count = int(np.ceil((end - start) / period_s)) + 4
    knots = start + period_s * (np.arange(count) - 1.5)
    return CubicSpline(knots, rng.standard_normal((count, *shape)))(time_s)


def _closed_path(name: str, length_m: float, width_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One round: arc length (S,), position (S, 2) and heading (S,), sampled each centimetre or so."""
    count = 4000
    if name == "circle":
        u = np.linspace(0, 2 * np.pi, count)
        r = 0.5 * min(length_m, width_m)
        xy = np.stack([r * np.sin(u), -r * np.cos(u)], axis=1)
    elif name == "eight":
        # Gerono's lemniscate.
        u = np.linspace(0, 2 * np.pi, count) + 0.5 * np.pi
        xy = np.stack([0.5 * length_m * np.cos(u), 0.5 * width_m * np.sin(2 * u)], axis=1)
    else:
        lane = min(0.9, width_m)
        radius = 0.5 * lane
        run = max(length_m - lane, 0.2)
        # From the middle of a lane: half a lane, turn, lane, turn, half a lane.
        edges = np.cumsum([0.5 * run, np.pi * radius, run, np.pi * radius, 0.5 * run])
        s = np.linspace(0.0, edges[-1], count)
        curvature = np.where(((s > edges[0]) & (s < edges[1])) | ((s > edges[2]) & (s < edges[3])), 1.0 / radius, 0.0)
        # A step in curvature would be a jerk: it is spread over about 0.3 m of path, which keeps the path closed.
        curvature = gaussian_filter1d(curvature, 0.15 / (s[1] - s[0]), mode="wrap")
        step = s[1] - s[0]
        heading = np.concatenate([[0.0], np.cumsum(0.5 * (curvature[1:] + curvature[:-1]) * step)])
        heading *= 2 * np.pi / heading[-1]
        middle = 0.5 * (heading[1:] + heading[:-1])
        xy = np.concatenate([np.zeros((1, 2)), np.cumsum(np.stack([np.cos(middle), np.sin(middle)], axis=1) * step, axis=0)])
        xy -= np.linspace(0, 1, count)[:, None] * xy[-1]
        xy -= 0.5 * (xy.max(axis=0) + xy.min(axis=0))
    step = np.linalg.norm(np.diff(xy, axis=0), axis=1)
    s = np.concatenate([[0.0], np.cumsum(step)])
    tangent = np.gradient(xy, s, axis=0, edge_order=2)
    heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    return s, xy, heading


def _stop_profile(time_s: np.ndarray, stop_at_s: float, stop_for_s: float) -> np.ndarray:
    """(M,) 1 = full speed, 0 = stopped; each change takes STOPPING_S and is smooth."""
    if stop_for_s <= 0.0:
        return np.ones_like(time_s)
    slow = _ramp((time_s - stop_at_s) / STOPPING_S)
    start = _ramp((time_s - stop_at_s - STOPPING_S - stop_for_s) / STOPPING_S)
    return 1.0 - slow * (1.0 - start)


def _ramp(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, three times continuously differentiable."""
    x = np.clip(x, 0.0, 1.0)
    return x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3)


def plan_course(
    rng: np.random.Generator,
    *,
    path: str,
    start_s: float,
    end_s: float,
    speed_m_s: float,
    cadence_steps_min: float,
    cadence_variability: float,
    path_length_m: float,
    path_width_m: float,
    stop_at_s: float = 0.0,
    stop_for_s: float = 0.0,
    standing_s: float = 0.0,
) -> Course:
    """Plans a walk from `start_s` to `end_s`.

    Speed falls in turns (to v / (1 + 0.35 m x curvature)); cadence and step length share a change of speed about equally
    (walk ratio constant: Sekiya & Nagasaki 1998). Phase drifts from stride to stride by `cadence_variability` (coefficient of variation).
    The person stands on both feet until `standing_s`, except on a treadmill.
    """
    time = np.arange(start_s, end_s + 1.5 / DENSE_HZ, 1.0 / DENSE_HZ)
    # Draw the noise before anything depends on the path, so that one seed gives one person on all of them.
    drift = 1.0 + cadence_variability * smooth_noise(rng, time, 0.6)
    first_phase = rng.uniform()
    still = np.zeros_like(time)
    stride_rate = cadence_steps_min / 120.0
    if path == "stand":
        return Course(time, np.zeros((len(time), 2)), still, still, np.ones_like(time), np.full_like(time, DOUBLE_SUPPORT), 0.0)
    if path == "treadmill":
        speed = np.full_like(time, speed_m_s)
        phase = first_phase + _integral(stride_rate * drift)
        return Course(time, np.zeros((len(time), 2)), still, speed, still, phase, speed_m_s)

    begin = np.ones_like(time)
    if standing_s > 0.0:
        begin, first_phase = _ramp((time - standing_s) / STOPPING_S), DOUBLE_SUPPORT

    def walk(stop_at: float) -> tuple[np.ndarray, ...]:
        gait = begin * _stop_profile(time, stop_at, stop_for_s)
        if path == "straight":
            distance = _integral(speed_m_s * gait)
            distance -= 0.5 * distance[-1]
            xy, heading, speed = np.stack([distance, np.zeros_like(distance)], axis=1), still, speed_m_s * gait
        else:
            s, points, tangent = _closed_path(path, path_length_m, path_width_m)
            curvature = np.abs(np.gradient(tangent, s))
            pace = speed_m_s / (1.0 + 0.35 * gaussian_filter1d(curvature, 0.2 / s[1], mode="wrap"))
            clock = np.concatenate([[0.0], np.cumsum(np.diff(s) * 0.5 * (1 / pace[1:] + 1 / pace[:-1]))])
            lap, t = np.divmod(_integral(gait), clock[-1])
            along = CubicSpline(clock, s)
            where = along(t)
            closed = points.copy()
            closed[-1] = closed[0]
            xy = CubicSpline(s, closed, bc_type="periodic")(where)
            turn = tangent[-1] - tangent[0]
            turn = 2 * np.pi * np.round(turn / (2 * np.pi))
            heading = CubicSpline(s, tangent)(where) + lap * turn
            heading = gaussian_filter1d(heading, 0.08 * DENSE_HZ, mode="nearest")
            speed = np.interp(where, s, pace) * gait
        rate = stride_rate * np.sqrt(np.maximum(speed, 0.0) / speed_m_s) * drift
        return xy, heading, speed, first_phase + _integral(rate), gait

    stop_at = stop_at_s
    if stop_for_s > 0.0:
        # Shift the stop by a part of a step, so that it comes in double support.
        def frozen(at: float) -> float:
            phase = walk(at)[3]
            return float(np.interp(at + STOPPING_S, time, phase))

        for _ in range(4):
            miss = (DOUBLE_SUPPORT - frozen(stop_at)) % 0.5
            if miss > 0.45:
                miss -= 0.5
            stop_at += miss / stride_rate
    xy, heading, speed, phase, gait = walk(stop_at)
    return Course(time, xy, heading, speed, _ramp(1.0 - 2.5 * gait), phase, 0.0)


def _integral(rate: np.ndarray) -> np.ndarray:
    """(M,) trapezoidal integral on the dense grid from 0."""
    return np.concatenate([[0.0], np.cumsum(0.5 * (rate[1:] + rate[:-1]))]) / DENSE_HZ
