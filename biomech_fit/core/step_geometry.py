"""Lengths of a step from three places of heels, on a floor or on a treadmill's belt."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from biomech_fit.core.stance import Stance, median
from biomech_fit.core.types import Side

SHORTEST_LINE_M = 0.1
"""Two places of a heel that are closer give no line of progression; the feet's own direction is taken then."""
SLOWEST_BELT_M_S = 0.1
"""Below this the feet's speed in stance is not taken for a treadmill's. Over ground it is under 0.03 m/s in the median."""
SLOW_BELT_M_S, SLOW_BELT_STANCES = 0.3, 4
"""A belt slower than this is believed after so many stances."""
ALIKE = 0.15
"""Median difference of the velocities of a foot's stances from their median, as a share of it."""
BELT_STANCES = 10
"""Of each foot, from which the belt's velocity is taken."""
_STILL = np.zeros(2)


@dataclass(frozen=True)
class Foothold:
    """One foot's place on the floor."""

    side: Side
    stamp_ns: int
    """Initial contact."""
    contact: np.ndarray
    """(2,) m in the horizontal plane: the heel at the contact."""
    stance: Stance | None
    """What was seen of it until the foot left; None = nothing."""

    def place(self, velocity: np.ndarray, stamp_ns: int) -> np.ndarray:
        """(2,) m: where the heel stood, carried along with the floor's velocity (2,) to another instant."""
        at_contact = self.contact if self.stance is None else self.stance.place(velocity)
        return at_contact + (stamp_ns - self.stamp_ns) * 1e-9 * velocity

    def std(self, velocity: np.ndarray, axis: np.ndarray) -> float:
        """m along a unit vector (2,)."""
        return np.nan if self.stance is None else self.stance.scatter(velocity, axis)

    def direction(self) -> np.ndarray | None:
        return None if self.stance is None else self.stance.direction()


class Belt:
    """How the floor moves under each foot: still, or as a treadmill's belts do (two, at their own speeds, on a split-belt treadmill)."""

    def __init__(self) -> None:
        self._seen: dict[Side, deque[tuple[int, np.ndarray]]] = {side: deque(maxlen=BELT_STANCES) for side in Side}

    def learn(self, foothold: Foothold) -> None:
        """Takes the foot's velocity while it was flat, once for each stance (the newer one counts: it has seen more of it)."""
        velocity = None if foothold.stance is None else foothold.stance.floor_velocity()
        if velocity is None:
            return
        seen = self._seen[foothold.side]
        if seen and seen[-1][0] == foothold.stamp_ns:
            seen.pop()
        seen.append((foothold.stamp_ns, velocity))

    def velocity(self, side: Side) -> np.ndarray:
        """(2,) m/s: the median over the last stances of this foot (of the other one, where only that has been seen); 0 where there is no belt."""
        seen = [np.array([v for _, v in of_foot]) for of_foot in self._seen.values() if of_foot]
        if not _is_belt(seen):
            return _STILL
        mine = [v for _, v in self._seen[side]]
        return median(np.array(mine) if mine else seen[0])


def _is_belt(seen: list[np.ndarray]) -> bool:
    """Whether the feet of stances, (n, 2) m/s for each foot, moved with a belt: fast enough and each stance like the others of its foot. A foot that slips or
    rolls does not do it alike; slow belts need more stances."""
    if not seen:
        return False
    middles = [median(v) for v in seen]
    speed = min(float(np.linalg.norm(m)) for m in middles)
    if speed < SLOWEST_BELT_M_S or (speed < SLOW_BELT_M_S and sum(map(len, seen)) < SLOW_BELT_STANCES) or middles[0] @ middles[-1] < 0:
        return False
    shares = [np.linalg.norm(v - m, axis=1) / np.linalg.norm(m) for v, m in zip(seen, middles, strict=True)]
    return float(median(np.concatenate(shares))) <= ALIKE


def step_lengths(here: Foothold, there: Foothold, before: Foothold | None, belt: Belt) -> dict[str, float]:
    """Lengths of `StepParameters` by their names, with standard deviations.

    Args:
        here: of the foot that made the step.
        there: of the other foot before.
        before: of the foot that made the step, a stride earlier.
    """
    mine, others = belt.velocity(here.side), belt.velocity(there.side)
    now_ns = here.stamp_ns
    c, b = here.place(mine, now_ns), there.place(others, now_ns)
    out = dict.fromkeys(
        ("step_length_m", "stride_length_m", "step_width_m", "step_length_std_m", "stride_length_std_m", "step_width_std_m", "turn_rad"), np.nan
    )
    out["belt_speed_m_s"] = float(np.linalg.norm(mine))
    facing = _facing(here, there, before)
    along = facing
    if before is not None:
        a = before.place(mine, now_ns)
        stride = float(np.linalg.norm(c - a))
        out["stride_length_m"] = stride
        if stride >= SHORTEST_LINE_M:
            along = (c - a) / stride
        line = along if along is not None else _unit(c - b)
        out["stride_length_std_m"] = _root(here.std(mine, line), before.std(mine, line))
        out["turn_rad"] = _turn(before.direction(), here.direction())
    if along is None:
        out["step_length_m"] = float(np.linalg.norm(c - b))
        line = _unit(c - b)
        out["step_length_std_m"] = _root(here.std(mine, line), there.std(others, line))
        return out
    # Without a line, who walks backwards cannot be told from who does not: the first step counts by its size.
    out["step_length_m"] = float(along @ (c - b)) if before is not None else abs(float(along @ (c - b)))
    out["step_length_std_m"] = _root(here.std(mine, along), there.std(others, along))
    if before is None:
        return out
    # To the right of the line, or of the person who walks backwards along it.
    right = np.array([along[1], -along[0]]) * (-1.0 if facing is not None and facing @ along < 0 else 1.0)
    outwards = right if there.side == Side.RIGHT else -right
    out["step_width_m"] = float(outwards @ (b - a))
    share = float(np.clip(along @ (b - a) / stride, 0.0, 1.0)) if stride >= SHORTEST_LINE_M else 0.5
    out["step_width_std_m"] = _root(there.std(others, right), (1 - share) * before.std(mine, right), share * here.std(mine, right))
    return out


def _facing(*footholds: Foothold | None) -> np.ndarray | None:
    """(2,) unit vector: the mean direction of the feet."""
    seen = [d for f in footholds if f is not None and (d := f.direction()) is not None]
    return _unit(np.sum(seen, axis=0)) if seen else None


def _turn(before: np.ndarray | None, after: np.ndarray | None) -> float:
    """rad, counter-clockwise seen from above."""
    if before is None or after is None:
        return np.nan
    return float(np.arctan2(before[0] * after[1] - before[1] * after[0], before @ after))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _root(*values: float) -> float:
    return float(np.sqrt(np.sum(np.square(values))))
