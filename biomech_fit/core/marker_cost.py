"""What inverse kinematics of a `Linkage` minimises: the distances of its markers from measured ones (numpy, all frames of a block at once).

The cost of a frame is OpenSim's: ``sum_m w_m |x_m(q) - y_m|^2 / sum_m w_m + sum_c w_c (q_c - t_c)^2`` over the markers seen and the coordinates with a goal.
No marker Jacobian is formed: all markers that a joint carries act on it through sixteen sums, as a composite rigid body does (Featherstone, Rigid Body
Dynamics Algorithms, 2008, ch. 6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.core.linkage import Linkage

_MAX_TURN = 0.7
"""rad: no angle moves further in one step, so that none winds up by whole turns."""


@dataclass(frozen=True, eq=False)
class CoordinateGoal:
    """A value that a coordinate is drawn to; `target` is a number or (T,), rad or m. The markers together have weight 1 per m^2."""

    name: str
    weight: float
    target: float | np.ndarray


class NormalEquations(NamedTuple):
    cost: np.ndarray
    """(T,)"""
    matrix: np.ndarray
    """(T, F, F)"""
    gradient: np.ndarray
    """(T, F) half of it."""
    square_m2: np.ndarray
    """(T,) the markers' part of the cost."""


class MarkerCost:
    """A linkage prepared for measured markers of given names."""

    def __init__(self, linkage: Linkage, names: Sequence[str], weights: Mapping[str, float] | None = None, goals: Sequence[CoordinateGoal] = ()) -> None:
        """`names` of the measured markers; those that the linkage lacks are left out. `weights` by name, markers not in it have none; None: 1 for all.

        Raises InputError when no measured marker is left, or a goal names an unknown coordinate.
        """
        given = {n: 1.0 for n in names} if weights is None else dict(weights)
        bad = next((n for n, w in given.items() if not (np.isfinite(w) and w >= 0)), None)
        if bad is not None:
            raise InputError(f"The weight of the marker '{bad}' is {given[bad]}; it must be 0 or more.")
        self.columns = np.array([k for k, n in enumerate(names) if n in linkage.marker_names and given.get(n, 0.0) > 0], int)
        """Measured markers that are used."""
        if not len(self.columns):
            theirs, ours = (", ".join(n[:6]) for n in (names, linkage.marker_names))
            raise InputError(f"None of the measured markers ({theirs}, ...) is a marker of the model with a weight ({ours}, ...).")
        used = [names[k] for k in self.columns]
        unknown = next((g.name for g in goals if g.name not in linkage.coordinate_names), None)
        if unknown is not None:
            raise InputError(f"The model has no coordinate '{unknown}' to have a goal; it has {', '.join(linkage.coordinate_names)}.")
        self.linkage, self.goals, self.names = linkage, tuple(goals), tuple(used)
        self._weights = np.array([given[n] for n in used])
        self.markers = np.array([linkage.marker_names.index(n) for n in used], int)
        """The model's markers that they are."""
        child = np.array([linkage.joints[j].child for j in linkage.pair_joint], int)
        self._carries = linkage.carried[child][:, linkage.marker_body[self.markers]].astype(float)  # (P, M)
        below = linkage.carried[child][:, child].T  # [p, k]: the joint of pair p hangs on that of pair k, or is it
        self._below, self._above = below.astype(float), (below.T & ~below).astype(float)
        free = [linkage.coordinates[c] for c in linkage.free]
        self._lower = np.array([c.lower if c.clamped else -np.inf for c in free])
        self._upper = np.array([c.upper if c.clamped else np.inf for c in free])
        self._selection = _selection(linkage)
        self.spread_m = float(np.sqrt(linkage.markers(linkage.poses(linkage.default[None]))[0].var(0).sum()))
        """Root mean square distance of the model's markers from their centre."""
        turning = {c for joint in linkage.joints for motion in joint.rotations for c in motion.coordinates} | {
            i for c in linkage.couplings for i in c.independent
        }
        self.reach = np.where(np.isin(linkage.free, list(turning)), _MAX_TURN, np.inf)
        """(F,) the furthest that a free coordinate goes in one step."""

    def normal(self, full: np.ndarray, points: np.ndarray, weights: np.ndarray, frames: np.ndarray) -> NormalEquations:
        """Cost, Gauss-Newton matrix and gradient at all coordinates (T, N); `points` (3, M, T); `weights` (M, T) sum to 1 in each frame."""
        linkage = self.linkage
        poses = linkage.poses(full)
        x = linkage.marker_rows(poses, self.markers)
        residual = x - points
        sums = self._carries @ _composites(x, residual, weights)
        angular, linear = poses.twist[:3], poses.twist[3:]
        gradient = (angular * sums[10:13] + linear * sums[13:16]).sum(0).T
        matrix = _momentum(sums, angular, linear).transpose(2, 1, 0) @ poses.twist.transpose(2, 0, 1)
        matrix *= self._below
        matrix += np.swapaxes(matrix, 1, 2) * self._above
        slopes = linkage.free_slopes(full) if self._selection is None or self.goals else np.zeros(0)
        if self._selection is not None:
            matrix, gradient = matrix[:, self._selection[:, None], self._selection], gradient[:, self._selection]
        else:
            spread = slopes[:, linkage.pair_coordinate]
            matrix, gradient = np.swapaxes(spread, 1, 2) @ matrix @ spread, (gradient[:, None] @ spread)[:, 0]
        square = (weights * (residual * residual).sum(0)).sum(0)
        cost = square.copy()
        for goal in self.goals:
            c = linkage.index(goal.name)
            off = full[:, c] - (goal.target[frames] if np.ndim(goal.target) else goal.target)
            row = slopes[:, c]
            cost += goal.weight * off**2
            gradient = gradient + goal.weight * off[:, None] * row
            matrix = matrix + goal.weight * row[:, :, None] * row[:, None, :]
        return NormalEquations(cost, matrix, gradient, square)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper of the free coordinates (F,); infinite where not clamped."""
        return self._lower, self._upper

    @cached_property
    def whole_turns(self) -> list[int]:
        """Free coordinates (numbers among these) after a whole turn of which every marker is where it was, and that have no goal."""
        linkage, rng = self.linkage, np.random.default_rng(0)
        some = np.repeat(linkage.default[None], 1 + len(linkage.free), 0)
        some[:, linkage.free] += 0.1 * rng.standard_normal(len(linkage.free))
        some[np.arange(1, len(some)), linkage.free] += 2 * np.pi
        there = linkage.markers(linkage.poses(linkage.complete(some)))
        same = np.abs(there[1:] - there[0]).max((1, 2)) < 1e-6
        moved = some.copy()
        moved[np.arange(1, len(some)), linkage.free] += 0.3 - 2 * np.pi
        moves = np.abs(linkage.markers(linkage.poses(linkage.complete(moved)))[1:] - there[0]).max((1, 2)) > 1e-6
        goals = {goal.name for goal in self.goals}
        return [k for k, c in enumerate(linkage.free) if same[k] and moves[k] and linkage.coordinate_names[c] not in goals]

    @property
    def root_turns(self) -> list[int]:
        """Free coordinates (numbers among these) that turn the root."""
        linkage = self.linkage
        return [int(np.flatnonzero(linkage.free == c)[0]) for m in linkage.joints[0].rotations for c in m.coordinates if c in linkage.free]

    def turned_starts(self, start: np.ndarray) -> np.ndarray:
        """(S, F) a pose (F,), and the same with the root turned round about one of its axes."""
        starts = np.repeat(start[None], 1 + len(self.root_turns), 0)
        starts[np.arange(1, len(starts)), self.root_turns] += np.pi
        return np.clip(starts, self._lower, self._upper)

    def root_starts(self) -> np.ndarray:
        """(S, F) default poses with the root turned by quarter turns about each of its axes and each pair of them."""
        linkage = self.linkage
        default = linkage.default[linkage.free]
        turning = self.root_turns
        quarters = np.array(np.meshgrid(*[[0, 1, 2, 3]] * len(turning))).reshape(len(turning), -1).T if turning else np.zeros((1, 0))
        starts = np.repeat(default[None], len(quarters), 0)
        starts[:, turning] += quarters * np.pi / 2
        return np.clip(starts, self._lower, self._upper)


def _composites(x: np.ndarray, residual: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(16, M, T) what each marker adds to its joints' sums: w, w x (3), w x x^T (6: xx yy zz xy xz yz), w x cross r (3), w r (3)."""
    (a, b, c), (r, s, t) = x, residual
    rows = (np.ones_like(a), a, b, c, a * a, b * b, c * c, a * b, a * c, b * c, b * t - c * s, c * r - a * t, a * s - b * r, r, s, t)
    return np.stack(rows) * weights


def _momentum(sums: np.ndarray, angular: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """(6, P, T) moment and force that the markers' sums answer each twist with: the composite's inertia times the twist."""
    w, x, y, z, xx, yy, zz, xy, xz, yz = sums[:10]
    (p, q, r), (u, v, s) = angular, linear
    rows = (
        (yy + zz) * p - xy * q - xz * r + y * s - z * v,
        (xx + zz) * q - xy * p - yz * r + z * u - x * s,
        (xx + yy) * r - xz * p - yz * q + x * v - y * u,
        w * u + q * z - r * y,
        w * v + r * x - p * z,
        w * s + p * y - q * x,
    )
    return np.stack(rows)


def _selection(linkage: Linkage) -> np.ndarray | None:
    """(F,) the pair of each free coordinate, where every one moves exactly one joint and drives no other coordinate; else None."""
    driving = {i for c in linkage.couplings for i in c.independent}
    found = [np.flatnonzero(linkage.pair_coordinate == c) for c in linkage.free]
    if any(len(f) != 1 for f in found) or driving & set(linkage.free.tolist()):
        return None
    return np.array([f[0] for f in found], int)
