"""Trees of bodies whose joints move by functions of coordinates (OpenSim's way), and their markers (numpy, batched over frames).

A joint has a frame on its parent and one on its child; between them three translations along fixed axes, then three rotations about axes
that turn with the earlier ones. Each is a function of coordinates. Every OpenSim joint type is a case of this. Frames here are OpenSim's: x forward, y up, z right; metres, radians.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from biomech_fit.core.joint_function import Affine, JointFunction


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
    """T frames of B bodies, the ground first, and P columns: P pairs of a joint and a coordinate that moves it."""

    rotation: np.ndarray
    """(T, B, 3, 3) body to ground."""
    position: np.ndarray
    """(T, B, 3)"""
    twist: np.ndarray
    """(T, 6, P) angular velocity and the velocity at the ground's origin, of what the joint carries, for a unit rate of the coordinate."""


class Linkage:
    """Bodies in an order in which parents come first, joint b - 1 carrying body b, coordinates, couplings (what they depend on first) and markers."""

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
        self._axes = np.array([m.axis for m in motions]).reshape(len(joints), 6, 3)
        pairs = sorted({(j, c) for j, joint in enumerate(joints) for m in (*joint.rotations, *joint.translations) for c in m.coordinates})
        self.pair_joint, self.pair_coordinate = (np.array([p[k] for p in pairs], int) for k in (0, 1))
        self._constant, self._linear = np.zeros(len(motions)), np.zeros((len(motions), len(coordinates)))
        self._slots = np.zeros((len(motions), len(pairs)))
        self._curves: list[tuple[int, int, int, JointFunction]] = []
        for s, motion in enumerate(motions):
            if isinstance(motion.function, Affine):
                self._constant[s] = motion.function.constant
                for c, slope in zip(motion.coordinates, motion.function.coefficients, strict=True):
                    self._linear[s, c] = slope
                    self._slots[s, pairs.index((s // 6, c))] = slope
            else:
                self._curves.append((s, motion.coordinates[0], pairs.index((s // 6, motion.coordinates[0])), motion.function))
        self._frames = _Frames(joints)
        self._levels = _levels(joints)
        self._turning = _turning(self._axes[:, :3])
        self.carried = _carried(joints)
        """(B, B) whether body b hangs on body a, or is it."""

    def index(self, name: str) -> int:
        """Number of a coordinate; KeyError with the names there are."""
        if name not in self.coordinate_names:
            raise KeyError(f"no coordinate '{name}'; there are {', '.join(self.coordinate_names)}")
        return self.coordinate_names.index(name)

    def complete(self, coordinates: np.ndarray) -> np.ndarray:
        """(..., N) with the dependent coordinates put to what their couplings say."""
        values = np.array(coordinates, float)
        for coupling in self.couplings:
            values[..., coupling.dependent] = _evaluate(coupling.function, values[..., list(coupling.independent)])
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
                slopes[:, c.dependent] = c.function.slope(coordinates[:, c.independent[0]])[:, None] * slopes[:, c.independent[0]]
        return slopes

    def poses(self, coordinates: np.ndarray) -> Poses:
        """Bodies and twists for all coordinates (T, N), taken as they are (see `complete`)."""
        frames, joints = len(coordinates), len(self.joints)
        values = coordinates @ self._linear.T + self._constant
        for s, c, _, curve in self._curves:
            values[:, s] = curve.value(coordinates[:, c])
        values = values.reshape(frames, joints, 6)
        angle = values[:, :, :3, None, None]
        first, second, third = np.moveaxis(np.eye(3) + np.sin(angle) * self._turning[0] + (1 - np.cos(angle)) * self._turning[1], 2, 0)
        both = first @ second
        turn = both @ third
        shift = np.einsum("tjk,jkx->tjx", values[:, :, 3:], self._axes[:, 3:])
        local = np.empty((frames, joints, 6, 3))  # axes of the six in the frame that they are given in
        local[:, :, 0], local[:, :, 3:] = self._axes[:, 0], self._axes[:, 3:]
        local[:, :, 1] = np.einsum("tjxy,jy->tjx", first, self._axes[:, 1])
        local[:, :, 2] = np.einsum("tjxy,jy->tjx", both, self._axes[:, 2])
        fixed = self._frames
        if fixed.reverse.size:
            r = fixed.reverse
            turn[:, r] = np.swapaxes(turn[:, r], -1, -2)
            local[:, r] = -np.einsum("tjxy,tjky->tjkx", turn[:, r], local[:, r])
            shift[:, r] = -np.einsum("tjxy,tjy->tjx", turn[:, r], shift[:, r])
        link_turn = fixed.parent_rotation @ turn @ fixed.child_rotation
        link = fixed.parent_position + np.einsum("jxy,tjy->tjx", fixed.parent_rotation, shift) - np.einsum("tjxy,jy->tjx", link_turn, fixed.child_position)
        rotation, position = np.empty((frames, joints + 1, 3, 3)), np.zeros((frames, joints + 1, 3))
        rotation[:, 0] = np.eye(3)
        for children, parents in self._levels:
            above = rotation[:, parents]
            rotation[:, children] = above @ link_turn[:, children - 1]
            position[:, children] = position[:, parents] + (above @ link[:, children - 1, :, None])[..., 0]
        parent_turn = rotation[:, fixed.parent] @ fixed.parent_rotation
        axes = local @ np.swapaxes(parent_turn, -1, -2)
        origin = position[:, fixed.parent] + (rotation[:, fixed.parent] @ fixed.parent_position[:, :, None])[..., 0]
        anchor = origin + np.where(fixed.is_reverse[:, None], 0.0, (parent_turn @ shift[..., None])[..., 0])
        slots = np.zeros((frames, joints, 6, 6))
        slots[:, :, :3, :3] = axes[:, :, :3]
        slots[:, :, :3, 3:] = _cross(anchor[:, :, None, :], axes[:, :, :3])
        slots[:, :, 3:, 3:] = axes[:, :, 3:]
        slots = slots.reshape(frames, 6 * joints, 6).swapaxes(1, 2)
        twist = slots @ self._slots
        for s, c, pair, curve in self._curves:
            twist[:, :, pair] += curve.slope(coordinates[:, c])[:, None] * slots[:, :, s]
        return Poses(rotation, position, twist)

    def markers(self, poses: Poses) -> np.ndarray:
        """(T, M, 3) in the ground."""
        b = self.marker_body
        return poses.position[:, b] + (poses.rotation[:, b] @ self.marker_position[:, :, None])[..., 0]


class _Frames:
    """The joints' fixed frames, stacked."""

    def __init__(self, joints: tuple[Joint, ...]) -> None:
        self.parent = np.array([j.parent for j in joints], int)
        self.parent_position = np.array([j.parent_frame.position for j in joints])
        self.parent_rotation = np.array([j.parent_frame.rotation for j in joints])
        self.child_position = np.array([j.child_frame.position for j in joints])
        self.child_rotation = np.array([j.child_frame.rotation.T for j in joints])
        self.is_reverse = np.array([j.reverse for j in joints], bool)
        self.reverse = np.flatnonzero(self.is_reverse)


def _evaluate(function: JointFunction, x: np.ndarray) -> np.ndarray:
    """Value for coordinates (..., n)."""
    return function.constant + x @ np.array(function.coefficients, float) if isinstance(function, Affine) else function.value(x[..., 0])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product along the last axis; several times as fast as numpy's for small arrays."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


def _turning(axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rodrigues' matrices K and K @ K of unit axes (..., 3)."""
    skew = np.zeros((*axes.shape, 3))
    for x, y, z in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        skew[..., x, y], skew[..., y, x] = -axes[..., z], axes[..., z]
    return skew, skew @ skew


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
