"""The sliding window's state, the layout of its slow states, and what happens when a frame enters and a spline interval leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from biomech_fit.core import rotation, spline
from biomech_fit.core.contact import FLOOR_STATES
from biomech_fit.core.linear import ORDER
from biomech_fit.core.point_residuals import PointObservations
from biomech_fit.core.projection import CameraArrays
from biomech_fit.core.residuals import CAMERA_STATES, Observations


@dataclass(frozen=True)
class SlowLayout:
    """Where the slow states live in their vector: body scales, keypoint offsets, cameras (rotation, centre, clock), lenses, floor."""

    n_scales: int
    n_keypoints: int
    n_cameras: int
    """Cameras whose states are estimated: all or none."""
    has_floor: bool = False
    n_lens: int = 0
    """Lens states of each camera."""

    @property
    def size(self) -> int:
        return self.floor.stop

    @property
    def scales(self) -> slice:
        return slice(0, self.n_scales)

    @property
    def offsets(self) -> slice:
        return slice(self.n_scales, self.n_scales + 3 * self.n_keypoints)

    @property
    def cameras(self) -> slice:
        return slice(self.offsets.stop, self.offsets.stop + CAMERA_STATES * self.n_cameras)

    @property
    def lenses(self) -> slice:
        return slice(self.cameras.stop, self.cameras.stop + self.n_lens * self.n_cameras)

    @property
    def rig(self) -> slice:
        """Cameras and lenses: all that people who are seen by the same cameras share."""
        return slice(self.cameras.start, self.lenses.stop)

    @property
    def floor(self) -> slice:
        return slice(self.lenses.stop, self.lenses.stop + FLOOR_STATES * self.has_floor)

    @property
    def by_camera(self) -> slice | np.ndarray:
        """All states of the first camera, then of the next: (CAMERA_STATES + n_lens) C places."""
        if not self.n_lens:
            return self.cameras
        own = self.cameras.start + np.arange(CAMERA_STATES * self.n_cameras).reshape(self.n_cameras, -1)
        lens = self.lenses.start + np.arange(self.n_lens * self.n_cameras).reshape(self.n_cameras, -1)
        return np.concatenate([own, lens], 1).ravel()


class SlowPrior(NamedTuple):
    """What is known of the slow states before anything is seen (never marginalised away, never forgotten)."""

    mean: Array
    """(M,)"""
    precision: Array
    """(M, M)"""


class Head(NamedTuple):
    """Gaussian prior on the first ORDER control points and the slow states: all that what left the window said (marginalisation).

    Cost 0.5 z^T information z - vector^T z with z = (control[:ORDER], slow) - anchor, linearised where each part left (it is not linearised again).
    """

    information: Array
    """(ORDER N + M, ORDER N + M)"""
    vector: Array
    """(ORDER N + M,)"""
    anchor: Array
    """(ORDER N + M,)"""


class Window(NamedTuple):
    """Q control points of a cubic B-spline and T frames on it, newest last. Slots not filled have valid = 0."""

    control: Array
    """(Q, N) control points of the coordinates; the root's rotation vector is relative to `reference`."""
    last_step: Array
    """(Q, N) the last Gauss-Newton step of each."""
    reference: Array
    """(3, 3) orientation that follows the person."""
    u: Array
    """(T,) time of the frames in knot spacings since the window's start; the newest lies in the last interval."""
    valid: Array
    """(T,)"""
    observed: Observations
    cameras: CameraArrays
    """The rig as loaded; data, so that one compiled solver serves every calibration."""
    up: Array
    """(3, 3) the floor's frame as rows: two horizontal axes and the vertical."""
    slow: Array
    """(M,)"""
    prior: SlowPrior
    head: Head
    """On the host in float64, as `WindowSolver.shift` makes it."""
    rounded: Head | None
    """The same as the solver's steps take it, in the window's precision; None = not made yet."""


def empty_window(
    knots: int,
    frames: int,
    x: np.ndarray,
    reference: np.ndarray,
    cameras: CameraArrays,
    keypoints: int,
    prior: SlowPrior,
    slow: np.ndarray,
    has_points: bool = False,
) -> Window:
    """A window without frames, standing at pose x (N,). In numpy, and the head in float64 as `WindowSolver.shift` makes it: a start must not compile.

    `has_points`: 3D points are observed, too.
    """
    n, m = len(x), len(slow)
    size = ORDER * n + m
    head = Head(np.zeros((size, size)), np.zeros(size), np.concatenate([np.tile(x, ORDER), slow]).astype(float))
    count = len(cameras.focal)
    shapes = (frames, count, keypoints, 2), (frames, count, keypoints), (frames, count), (frames,)
    points = PointObservations(np.zeros((frames, keypoints, 3), np.float32), np.zeros((frames, keypoints), np.float32)) if has_points else None
    observed = Observations(*(np.zeros(shape, np.float32) for shape in shapes), points)
    prior = SlowPrior(*(np.float32(a) for a in prior))
    control = np.tile(np.float32(x), (knots, 1))
    none = np.zeros(frames, np.float32)
    own = CameraArrays(*(np.array(a) for a in cameras))
    up = np.eye(3, dtype=np.float32)
    return Window(control, np.zeros_like(control), np.float32(reference), none, none.copy(), observed, own, up, np.float32(slow), prior, head, None)


def append(window: Window, new: Observations, u: Array) -> Window:
    """Take a new frame at u, its observations without their leading axis, and drop the oldest slot."""

    def push(old: Array, new: Array) -> Array:
        return jnp.concatenate([old[1:], new[None]])

    observed = jax.tree.map(push, window.observed, new)
    return window._replace(u=push(window.u, u), valid=push(window.valid, jnp.ones((), window.valid.dtype)), observed=observed)


def extend(window: Window, head: Head) -> Window:
    """Drop the first control point, whose information is now in `head`, and add one at the end that continues at constant velocity."""
    control = window.control
    control = jnp.concatenate([control[1:], 2 * control[-1:] - control[-2:-1]])
    last_step = jnp.concatenate([window.last_step[1:], jnp.zeros_like(control[:1])])
    u = window.u - 1
    return window._replace(control=control, last_step=last_step, u=u, valid=jnp.where(u >= 0, window.valid, 0.0), head=head)


def recentre(window: Window) -> Window:
    """Make the newest control point's orientation the reference, so that rotation vectors in the window stay far from their singularity at pi."""
    old = window.control[:, 3:6]
    reference = window.reference @ rotation.exp(old[-1])
    relative = reference.T @ window.reference
    new = rotation.connected(rotation.log(relative @ rotation.exp(old)))
    control = window.control.at[:, 3:6].set(new)
    # The head is a function of the old coordinates' deviations: d_old = J_l(old)^-1 R_ref^T R_ref' J_l(new) d_new at each of its control points.
    n = control.shape[1]
    back = jnp.linalg.solve(rotation.left_jacobian(old[:ORDER]), relative.T @ rotation.left_jacobian(new[:ORDER]))
    information, vector, anchor = window.head
    for i in range(ORDER):
        rows = slice(i * n + 3, i * n + 6)
        information = information.at[rows].set(back[i].T @ information[rows])
        information = information.at[:, rows].set(information[:, rows] @ back[i])
        vector = vector.at[rows].set(back[i].T @ vector[rows])
        # control - anchor is carried over, not recomputed from rotations: it is small and must stay what it was to first order.
        anchor = anchor.at[rows].set(new[i] - jnp.linalg.solve(back[i], old[i] - anchor[rows]))
    return window._replace(control=control, reference=reference, head=Head(information, vector, anchor))


def poses_at(window: Window) -> tuple[Array, Array]:
    """Coordinates (T, N) of the frames and their derivative by u."""
    value, slope = spline.basis(window.u, window.control.shape[0])
    return value @ window.control, slope @ window.control
