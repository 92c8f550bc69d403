"""Trees of bodies whose joints move by functions of coordinates (OpenSim's way), and their markers (numpy, batched over frames).

A joint has a frame on its parent and one on its child; between them three translations along fixed axes, then three rotations about axes
that turn with the earlier ones. Each is a function of coordinates. Every OpenSim joint type is a case of this. Frames here are OpenSim's: x forward,
y up, z right; metres, radians.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from biomech_fit.core.joint_function import Affine, JointFunction, value


@dataclass(frozen=True)
class Coordinate:
    """A generalised coordinate; rad or m."""

    name: str
    is_angle: bool
    """Given in degrees in files that say so: rotations; not translations, and not coordinates that only drive others' functions."""
    lower: float = -np.inf
    upper: float = np.inf
    default: float = 0.0
    clamped: bool = False
    """Whether the range binds."""
    locked: bool = False
    """Stays at its default."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame in another: ``x_outer = rotation @ x + position``."""

    position: np.ndarray = field(default_factory=lambda: np.zeros(3))
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))

    def __matmul__(self, inner: Frame) -> Frame:
        return Frame(self.position + self.rotation @ inner.position, self.rotation @ inner.rotation)


@dataclass(frozen=True, eq=False)
class Motion:
    """One of a joint's six: along or about `axis` (3,), by `function` of some coordinates (indices in the linkage)."""

    axis: np.ndarray
    function: JointFunction = field(default_factory=Affine)
    coordinates: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Joint:
    name: str
    kind: str
    parent: int
    """Body number; 0 is the ground."""
    child: int
    parent_frame: Frame
    child_frame: Frame
    rotations: tuple[Motion, Motion, Motion]
    translations: tuple[Motion, Motion, Motion]
    reverse: bool = False
    """The six describe the parent's frame in the child's."""


@dataclass(frozen=True)
class Coupling:
    """A coordinate that follows others."""

    dependent: int
    independent: tuple[int, ...]
    function: JointFunction


class Poses(NamedTuple):
    """T frames of B bodies, the ground first, and P columns: P pairs of a joint and a coordinate that moves it. numpy is fastest with the frames last."""

    rotation: np.ndarray
    """(3, 3, B, T) body to ground."""
    position: np.ndarray
    """(3, B, T)"""
    twist: np.ndarray
    """(6, P, T) angular velocity, and the velocity at the ground's origin, of what the joint carries, for a unit rate of the coordinate."""


class Linkage:
    """Bodies level by level of the tree, joint b - 1 carrying body b; coordinates, couplings (what they depend on first) and markers."""

    def __init__(
        self,
        body_names: tuple[str, ...],
        joints: tuple[Joint, ...],
        coordinates: tuple[Coordinate, ...],
        couplings: tuple[Coupling, ...],
        marker_names: tuple[str, ...],
        marker_body: np.ndarray,
        marker_position: np.ndarray,
    ) -> None:
        self.body_names, self.joints, self.coordinates, self.couplings = body_names, joints, coordinates, couplings
        self.marker_names, self.marker_body = marker_names, np.asarray(marker_body, int)
        self.marker_position = np.asarray(marker_position, float).reshape(-1, 3)
        self.coordinate_names = tuple(c.name for c in coordinates)
        self.default = self.complete(np.array([c.default for c in coordinates]))
        """(N,) every coordinate at its default, the dependent ones by their couplings."""
        dependent = {c.dependent for c in couplings}
        self.free = np.array([i for i, c in enumerate(coordinates) if not c.locked and i not in dependent], int)
        """Coordinates that may move: neither locked nor dependent."""
        motions = [m for joint in joints for m in (*joint.rotations, *joint.translations)]
        self._axes = np.array([m.axis for m in motions]).reshape(len(joints), 2, 3, 3)
        self._constant, self._linear = np.zeros(len(motions)), np.zeros((len(motions), len(coordinates)))
        used = sorted((s // 6, c, s) for s, motion in enumerate(motions) for c in motion.coordinates)
        pairs = sorted({(j, c) for j, c, _ in used})
        self.pair_joint, self.pair_coordinate = (np.array([p[k] for p in pairs], int) for k in (0, 1))
        self._used = np.array([s for _, _, s in used], int)
        self._pair_starts = np.array([[(j, c) for j, c, _ in used].index(pair) for pair in pairs], int)
        self._curves: list[tuple[int, int, int, JointFunction]] = []
        for s, motion in enumerate(motions):
            if isinstance(motion.function, Affine):
                self._constant[s] = motion.function.constant
                for c, slope in zip(motion.coordinates, motion.function.coefficients, strict=True):
                    self._linear[s, c] = slope
            else:
                c = motion.coordinates[0]
                self._curves.append((used.index((s // 6, c, s)), s, c, motion.function))
        self._slope = np.array([self._linear[s, c] for _, c, s in used]).reshape(-1, 1)
        self._frames = _Frames(joints)
        self._levels = _levels(joints)
        self._turns = _Turns(joints, self._used)
        self._used_joint = self._used // 6
        self._used_axes = self._axes.reshape(-1, 3)[self._used].T[..., None]
        self._used_turns = (self._used % 6 < 3).astype(float)[:, None]
        self._used_reversed = np.flatnonzero(self._frames.is_reverse[self._used_joint])
        self.carried = _carried(joints)
        """(B, B) whether body b hangs on body a, or is it: [a, b]."""

    def index(self, name: str) -> int:
        """Number of a coordinate; KeyError with the names there are."""
        if name not in self.coordinate_names:
            raise KeyError(f"no coordinate '{name}'; there are {', '.join(self.coordinate_names)}")
        return self.coordinate_names.index(name)

    def complete(self, coordinates: np.ndarray) -> np.ndarray:
        """(..., N) with the dependent coordinates put to what their couplings say."""
        values = np.array(coordinates, float)
        for coupling in self.couplings:
            values[..., coupling.dependent] = value(coupling.function, values[..., list(coupling.independent)])
        return values

    def free_slopes(self, coordinates: np.ndarray) -> np.ndarray:
        """(T, N, F) derivative of all coordinates (T, N) with respect to the free ones, couplings included; (1, N, F) where it is the same in all frames."""
        constant = all(isinstance(c.function, Affine) for c in self.couplings)
        slopes = np.zeros((1 if constant else len(coordinates), len(self.coordinates), len(self.free)))
        slopes[:, self.free, np.arange(len(self.free))] = 1.0
        for c in self.couplings:
            if isinstance(c.function, Affine):
                slopes[:, c.dependent] = sum(k * slopes[:, i] for k, i in zip(c.function.coefficients, c.independent, strict=True))
            else:
                slopes[:, c.dependent] = c.function.evaluate(coordinates[:, c.independent[0]])[1][:, None] * slopes[:, c.independent[0]]
        return slopes

    def poses(self, coordinates: np.ndarray, twists: bool = True) -> Poses:
        """Bodies and twists (none, if not wanted) for all coordinates (T, N), taken as they are (see `complete`)."""
        frames, joints, fixed = len(coordinates), len(self.joints), self._frames
        columns = np.ascontiguousarray(coordinates.T)
        values = self._linear @ columns + self._constant[:, None]
        slope = np.broadcast_to(self._slope, (len(self._used), frames)).copy() if self._curves else self._slope
        for row, s, c, curve in self._curves:
            values[s], slope[row] = curve.evaluate(columns[c])
        values = values.reshape(joints, 6, frames).swapaxes(0, 1)
        turn, before = self._turns.product(values)
        shift = (self._axes[:, 1].transpose(2, 1, 0)[..., None] * values[3:]).sum(1)
        local = np.empty((3, len(self._used), frames))  # axes of the motions, in the frame that they are given in
        local[:] = self._used_axes
        for rows, of, which in self._turns.turned:
            local[:, rows] = _turned(before[which][:, :, of], local[:, rows])
        if fixed.reverse.size:
            r, rows = fixed.reverse, self._used_reversed
            turn[:, :, r] = turn[:, :, r].swapaxes(0, 1)
            local[:, rows] = -_turned(turn[:, :, self._used_joint[rows]], local[:, rows])
            shift[:, r] = -_turned(turn[:, :, r], shift[:, r])
        at = fixed.parent_position + (shift if fixed.straight else _turned(fixed.parent_rotation, shift))
        link = np.empty((3, 4, joints, frames))
        link[:, :3] = turn if fixed.straight else _product(_product(fixed.parent_rotation, turn), fixed.child_rotation)
        link[:, 3] = at - _turned(link[:, :3], fixed.child_position)
        place = np.empty((3, 4, joints + 1, frames))
        place[:, :, 0] = np.eye(3, 4)[..., None]
        for children, parents in self._levels:
            above = place[:, :, parents]
            below = _product(above[:, :3], link[:, :, children[0] - 1 : children[-1]])
            below[:, 3] += above[:, 3]
            place[:, :, children[0] : children[-1] + 1] = below
        if not twists:
            return Poses(place[:, :3], place[:, 3], np.zeros((6, 0, frames)))
        above = place[:, :, fixed.parent]
        at[:, fixed.reverse] = fixed.parent_position[:, fixed.reverse]
        anchor = above[:, 3] + _turned(above[:, :3], at)
        parent_turn = above[:, :3] if fixed.straight else _product(above[:, :3], fixed.parent_rotation)
        axis = _turned(parent_turn[:, :, self._used_joint], local) * slope
        twist = np.empty((6, len(self._used), frames))
        np.multiply(axis, self._used_turns, out=twist[:3])
        twist[3:] = _cross(anchor[:, self._used_joint], twist[:3]) + (axis - twist[:3])
        if len(self._pair_starts) < len(self._used):
            twist = np.add.reduceat(twist, self._pair_starts, axis=1)
        return Poses(place[:, :3], place[:, 3], twist)

    def markers(self, poses: Poses) -> np.ndarray:
        """(T, M, 3) in the ground."""
        return self.marker_rows(poses, slice(None)).transpose(2, 1, 0)

    def marker_rows(self, poses: Poses, which: np.ndarray | slice) -> np.ndarray:
        """(3, M, T) of some markers."""
        body = self.marker_body[which]
        return poses.position[:, body] + _turned(poses.rotation[:, :, body], self.marker_position[which].T[..., None])


class _Frames:
    """The joints' fixed frames, stacked."""

    def __init__(self, joints: tuple[Joint, ...]) -> None:
        self.parent = np.array([j.parent for j in joints], int)
        self.parent_position = np.array([j.parent_frame.position for j in joints]).T[..., None]
        self.parent_rotation = np.array([j.parent_frame.rotation for j in joints]).transpose(1, 2, 0)[..., None]
        self.child_position = np.array([j.child_frame.position for j in joints]).T[..., None]
        self.child_rotation = np.array([j.child_frame.rotation.T for j in joints]).transpose(1, 2, 0)[..., None]
        self.is_reverse = np.array([j.reverse for j in joints], bool)
        self.reverse = np.flatnonzero(self.is_reverse)
        self.straight = all(np.array_equal(frame.rotation, np.eye(3)) for j in joints for frame in (j.parent_frame, j.child_frame))
        """No joint's frames are turned."""


class _Turns:
    """The joints' three rotations in turn; of the second and third only those that ever turn."""

    def __init__(self, joints: tuple[Joint, ...], used: np.ndarray) -> None:
        has = [[k for k, j in enumerate(joints) if w == 0 or j.rotations[w].coordinates or j.rotations[w].function != Affine()] for w in range(3)]
        self._joints = [np.array(h, int) for h in has]
        self._which, self._joint = np.repeat(range(3), [len(h) for h in has]), np.concatenate(self._joints)
        self._ends = np.cumsum([len(h) for h in has])
        axes = np.array([joints[j].rotations[w].axis for w, j in zip(self._which, self._joint, strict=True)])
        skew = np.zeros((3, 3, len(axes), 1))
        for x, y, z in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            skew[x, y, :, 0], skew[y, x, :, 0] = -axes[:, z], axes[:, z]
        self._skew, self._square, self._eye = skew, _product(skew, skew), np.eye(3)[..., None, None]
        rows = [np.flatnonzero(used % 6 == w) for w in range(3)]
        self.turned = [(rows[w], np.searchsorted(self._joints[w], used[rows[w]] // 6), w - 1) for w in (1, 2) if len(rows[w])]
        """For the second and third rotations: their rows among the motions, their places in `before`, and which of the two."""

    def product(self, values: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """(3, 3, J, T) all rotations of values (6, J, T), and those before the second and before the third, by Rodrigues' formula."""
        angle = values[self._which, self._joint]
        about = self._eye + np.sin(angle) * self._skew + (1 - np.cos(angle)) * self._square
        first, second, third = np.split(about, self._ends[:2], axis=2)
        turn = first.copy()
        before_second = turn[:, :, self._joints[1]]
        turn[:, :, self._joints[1]] = _product(before_second, second)
        before_third = turn[:, :, self._joints[2]]
        turn[:, :, self._joints[2]] = _product(before_third, third)
        return turn, (before_second, before_third)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Matrix products of (3, 3, ...) and (3, n, ...): for so small matrices several times as fast as numpy's own."""
    return (a[:, :, None] * b[None]).sum(1)


def _turned(a: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Matrices (3, 3, ...) times vectors (3, ...)."""
    return a[:, 0] * v[0] + a[:, 1] * v[1] + a[:, 2] * v[2]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross products along the first axis."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _levels(joints: tuple[Joint, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bodies of each depth of the tree, and their parents."""
    depth = [0]
    for joint in joints:
        depth.append(depth[joint.parent] + 1)
    parents = np.array([-1, *(j.parent for j in joints)])
    return [(level, parents[level]) for d in range(1, max(depth) + 1) if len(level := np.flatnonzero(np.array(depth) == d))]


def _carried(joints: tuple[Joint, ...]) -> np.ndarray:
    hangs = np.eye(len(joints) + 1, dtype=bool)
    for joint in joints:
        hangs[:, joint.child] |= hangs[:, joint.parent]
    return hangs
