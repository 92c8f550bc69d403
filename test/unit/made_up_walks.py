"""Made-up walks with known contacts, as heels and toes: any order of footholds, on the toes or flat, dragging, on a belt. Nothing of the detector is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FOOT_M = 0.2
KINK = 0.35
"""Share of the mean swing speed with which a foot leaves and meets the floor. In labelled walks a toe leaves with a quarter of its greatest speed."""


@dataclass(frozen=True)
class Gait:
    """How the feet go. Sides: 0 left, 1 right; shares are of the stride."""

    stride_s: float = 1.1
    stride_m: float = 1.2
    stance: tuple[float, float] = (0.62, 0.62)
    shift: tuple[float, float] = (0.0, 0.5)
    width_m: float = 0.12
    clearance_m: float = 0.05
    landing_pitch: float = -0.3
    """rad, toes up negative; positive: the toes land first."""
    stance_pitch: float = 0.0
    leaving_pitch: float = 0.9
    turn_rad: float = 0.0
    """Change of heading per stride."""
    side_m: float = 0.0
    """Sideways per stride."""
    belt_m_s: float = 0.0
    """The belt carries the feet back with this speed."""
    rests: tuple[tuple[float, float], ...] = ()
    """(from, to) strides of a walk that stops: feet planted then stay."""


def feet(gait: Gait, time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heels and toes (T, 2, 3) m."""
    heels, toes = np.zeros((2, len(time_s), 2, 3))
    for side in (0, 1):
        heels[:, side], toes[:, side] = _foot(gait, side, _strides(gait, time_s) + gait.shift[side])
    back = -gait.belt_m_s * time_s[:, None] * np.array([1.0, 0.0, 0.0])
    return heels + back[:, None], toes + back[:, None]


def contacts(gait: Gait, first_s: float, last_s: float) -> dict[tuple[int, int], list[float]]:
    """Times by (side, type): type 0 initial, 1 final contact."""
    grid = np.arange(0.0, last_s + 1e-3, 1e-3)
    strides = _strides(gait, grid)
    out: dict[tuple[int, int], list[float]] = {}
    for side in (0, 1):
        for kind, phase in ((0, 0.0), (1, gait.stance[side])):
            crossing = np.flatnonzero(np.diff(np.floor(strides + gait.shift[side] - phase)) > 0)
            out[side, kind] = [t for t in grid[crossing + 1].tolist() if first_s < t < last_s]
    return out


def _strides(gait: Gait, time_s: np.ndarray) -> np.ndarray:
    """(T,) strides since the start; a rest holds it."""
    strides = time_s / gait.stride_s
    for begin, end in gait.rests:
        strides = np.where(strides < begin, strides, np.maximum(begin, strides - (end - begin)))
    return strides


def _foot(gait: Gait, side: int, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heel and toe (T, 3) of one foot; whole numbers are initial contacts."""
    stance = gait.stance[side]
    cycle, u = np.floor(phase), phase % 1.0
    swing = np.clip((u - stance) / (1 - stance), 0, 1)
    smooth = 10 * swing**3 - 15 * swing**4 + 6 * swing**5
    forward = KINK * swing + (1 - KINK) * smooth
    place, heading = _foothold(gait, side, cycle)
    there, then = _foothold(gait, side, cycle + 1)
    toe = place + forward[:, None] * (there - place)
    toe[:, 2] = 0.02 + gait.clearance_m * np.sin(np.pi * swing) ** 2
    angle = heading + forward * (then - heading)
    down, off = np.clip(u / (0.15 * stance), 0, 1), np.clip((u - 0.55 * stance) / (0.45 * stance), 0, 1)
    pitch = gait.landing_pitch + (gait.stance_pitch - gait.landing_pitch) * _ease(down)
    pitch = pitch + (gait.leaving_pitch - gait.stance_pitch) * _ease(off)
    pitch = np.where(swing > 0, gait.leaving_pitch + (gait.landing_pitch - gait.leaving_pitch) * _ease(np.clip(swing / 0.7, 0, 1)), pitch)
    way = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], 1)
    # Rigid foot: where the toes point up it turns about the heel, else about the toe.
    about_heel = np.minimum(pitch, 0.0)
    toe = toe + FOOT_M * (np.cos(about_heel) - 1)[:, None] * way - FOOT_M * np.sin(about_heel)[:, None] * [0, 0, 1]
    return toe - FOOT_M * np.cos(pitch)[:, None] * way + FOOT_M * np.sin(pitch)[:, None] * [0, 0, 1], toe


def _foothold(gait: Gait, side: int, cycle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Toes' place (T, 3) and heading (T,) of stance number `cycle`."""
    number = cycle - gait.shift[side]
    heading = gait.turn_rad * number
    if gait.turn_rad:
        radius = gait.stride_m / gait.turn_rad
        middle = np.stack([radius * np.sin(heading), radius * (1 - np.cos(heading))], 1)
    else:
        middle = np.stack([gait.stride_m * number, gait.side_m * number], 1)
    across = np.stack([-np.sin(heading), np.cos(heading)], 1)
    ahead = np.stack([np.cos(heading), np.sin(heading)], 1)
    return np.column_stack([middle + (0.5 - side) * gait.width_m * across + FOOT_M * ahead, np.zeros(len(cycle))]), heading


def _ease(x: np.ndarray) -> np.ndarray:
    return x * x * (3 - 2 * x)


GAITS: dict[str, Gait] = {
    "usual": Gait(),
    "slow": Gait(stride_s=2.0, stride_m=0.6, stance=(0.7, 0.7)),
    "short steps": Gait(stride_s=0.9, stride_m=0.3, stance=(0.68, 0.68), clearance_m=0.02, leaving_pitch=0.4, landing_pitch=-0.1),
    "flat-footed": Gait(landing_pitch=0.0, leaving_pitch=0.15, clearance_m=0.03, stride_m=0.8),
    "on the toes": Gait(landing_pitch=0.5, stance_pitch=0.35, leaving_pitch=0.8),
    "toes first": Gait(landing_pitch=0.25, stance_pitch=0.0, leaving_pitch=0.6, stride_m=0.7),
    "dragging": Gait(stride_s=1.4, stride_m=0.5, clearance_m=0.0, landing_pitch=0.0, leaving_pitch=0.3, stance=(0.7, 0.7)),
    "hemiparetic": Gait(stride_s=1.5, stride_m=0.7, stance=(0.58, 0.76), shift=(0.0, 0.42), landing_pitch=0.05, leaving_pitch=0.4),
    "step to": Gait(stride_s=1.6, stride_m=0.4, stance=(0.7, 0.75), shift=(0.0, 0.4)),
    "backwards": Gait(stride_m=-0.7, landing_pitch=0.3, leaving_pitch=0.2),
    "sideways": Gait(stride_m=0.0, side_m=0.4, landing_pitch=0.0, leaving_pitch=0.3, width_m=0.3),
    "on the spot": Gait(stride_m=0.0, clearance_m=0.12, landing_pitch=0.2, leaving_pitch=0.3),
    "tight turn": Gait(stride_m=0.4, turn_rad=1.2, stride_s=1.2, landing_pitch=0.0, leaving_pitch=0.4),
    "stop and go": Gait(rests=((3.06, 6.06), (8.06, 10.0))),
    "treadmill": Gait(belt_m_s=1.2 / 1.1),
    "slow treadmill": Gait(stride_s=1.6, stride_m=0.6, stance=(0.68, 0.68), belt_m_s=0.6 / 1.6, leaving_pitch=0.6),
    "flat-footed on a treadmill": Gait(landing_pitch=0.0, leaving_pitch=0.15, clearance_m=0.03, stride_m=0.8, belt_m_s=0.8 / 1.1),
}
