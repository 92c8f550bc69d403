"""Where each foot stood, as prints on the floor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from biomech_fit.core.stance import Stance, horizontal_plane
from biomech_fit.core.step_geometry import Belt, Foothold
from biomech_fit.core.types import EventType, GaitEvent, Side

LONGEST_STANCE_S = 3.0
"""Of a longer stance this much counts."""

OUTLINE = np.array([
    (-0.06, 0.00), (-0.03, 0.10), (0.06, 0.14), (0.20, 0.13), (0.40, 0.10), (0.55, 0.12), (0.70, 0.19), (0.85, 0.20), (0.98, 0.17), (1.06, 0.10),
    (1.07, 0.02), (1.00, -0.08), (0.90, -0.15), (0.78, -0.20), (0.62, -0.21), (0.40, -0.17), (0.20, -0.14), (0.06, -0.13), (-0.03, -0.09),
])  # fmt: skip
"""(n, 2) outline of a right sole: along the line from heel to toe, and to the left of it, in lengths of that line."""


@dataclass(frozen=True, eq=False)
class Footprint:
    """One stance in the horizontal plane, at its initial contact."""

    side: Side
    stamp_ns: int
    heel: np.ndarray
    """(2,) m"""
    toe: np.ndarray
    """(2,) m"""


def sole(side: Side, heel: np.ndarray, toe: np.ndarray) -> np.ndarray:
    """(n, 2) m: the outline of a foot between two points of the plane."""
    along = toe - heel
    left = np.array([-along[1], along[0]]) * (1.0 if side == Side.RIGHT else -1.0)
    return heel + OUTLINE[:, :1] * along + OUTLINE[:, 1:] * left


def footprints(
    events: Iterable[GaitEvent], stamps_ns: np.ndarray, heels: np.ndarray, toes: np.ndarray, up: Sequence[float] = (0.0, 0.0, 1.0), moving: bool = True
) -> tuple[list[Footprint], np.ndarray]:
    """Every initial contact's print, in order of time, and the velocity (2,) m/s of a treadmill's belt (0 over ground).

    Args:
        events: of both feet.
        stamps_ns: (T,) increasing.
        heels: (T, 2, 3) m, world: left, right; NaN = missing.
        toes: (T, 2, 3) m.
        up: the world's vertical direction.
        moving: the floor may be a treadmill's belt.
    """
    plane = horizontal_plane(up)
    events = sorted(events, key=lambda e: e.stamp_ns)
    belt = Belt()
    holds = []
    for n, contact in enumerate(events):
        if contact.type != EventType.INITIAL_CONTACT:
            continue
        side = Side(contact.side)
        limit = contact.stamp_ns + round(LONGEST_STANCE_S * 1e9)
        end = next((e.stamp_ns for e in events[n + 1 :] if e.side == side and e.stamp_ns > contact.stamp_ns), limit)
        first, last = np.searchsorted(stamps_ns, [contact.stamp_ns, min(end, limit) + 1])
        mine = np.arange(first, last)[np.isfinite(heels[first:last, side]).all(1)]
        heel, toe = heels[mine, side] @ plane.T, toes[mine, side] @ plane.T
        stance = Stance((stamps_ns[mine] - contact.stamp_ns) * 1e-9, heel, toe - heel)
        hold = Foothold(side, contact.stamp_ns, plane @ contact.position, stance if len(mine) else None)
        if moving:
            belt.learn(hold)
        holds.append(hold)
    velocities = [belt.velocity(side) for side in Side]
    prints = []
    for hold in holds:
        heel = hold.place(velocities[hold.side], hold.stamp_ns)
        pointing = None if hold.stance is None else hold.stance.pointing()
        if pointing is not None:
            prints.append(Footprint(hold.side, hold.stamp_ns, heel, heel + pointing))
    return prints, np.mean(velocities, axis=0)
