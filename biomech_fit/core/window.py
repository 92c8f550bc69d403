"""The sliding window's state, the layout of its slow states, and what happens when a frame enters and one leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from biomech_fit.core import rotation
from biomech_fit.core.linear import ORDER
from biomech_fit.core.residuals import CAMERA_STATES, Observations


@dataclass(frozen=True)
class SlowLayout:
    """Where the slow states live in their vector: body scales, keypoint offsets, cameras (rotation, centre, clock)."""

    n_scales: int
    n_keypoints: int
    n_cameras: int
    """Cameras whose states are estimated: all or none."""

    @property
    def size(self) -> int:
        return self.n_scales + 3 * self.n_keypoints + CAMERA_STATES * self.n_cameras

    @property
    def scales(self) -> slice:
        return slice(0, self.n_scales)

    @property
    def offsets(self) -> slice:
        return slice(self.n_scales, self.n_scales + 3 * self.n_keypoints)

    @property
    def cameras(self) -> slice:
        return slice(self.n_scales + 3 * self.n_keypoints, self.size)


class SlowPrior(NamedTuple):
    """What is known of the slow states before anything is seen (never marginalised away, never forgotten)."""

    mean: Array
    """(M,)"""
    precision: Array
    """(M, M)"""
    walk: Array
    """(M,) variance of the random walk per second."""


class Head(NamedTuple):
    """Gaussian prior on the first ORDER frames and the slow states: all that the frames which left the window said (marginalisation).

    Cost 0.5 z^T information z - vector^T z with z = (x[:ORDER], slow) - anchor, linearised where each frame left (it is not linearised again).
    """

    information: Array
    """(ORDER N + M, ORDER N + M)"""
    vector: Array
    """(ORDER N + M,)"""
    anchor: Array
    """(ORDER N + M,)"""


class Window(NamedTuple):
    """T frames, newest last. Frames not yet filled have valid = 0."""

    x: Array
    """(T, N) coordinates; the root's rotation vector is relative to `reference`."""
    reference: Array
    """(3, 3) orientation that follows the person."""
    time: Array
    """(T,) s relative to the newest frame."""
    valid: Array
    """(T,)"""
    observed: Observations
    slow: Array
    """(M,)"""
    prior: SlowPrior
    head: Head


def empty_window(frames: int, x: Array, reference: Array, cameras: int, keypoints: int, prior: SlowPrior, period_s: float, slow: Array) -> Window:
    """A window without frames, standing at pose x (N,)."""
    n, m = x.shape[0], slow.shape[0]
    size = ORDER * n + m
    head = Head(jnp.zeros((size, size), x.dtype), jnp.zeros(size, x.dtype), jnp.concatenate([jnp.tile(x, ORDER), slow]))
    observed = Observations(
        jnp.zeros((frames, cameras, keypoints, 2), x.dtype), jnp.zeros((frames, cameras, keypoints), x.dtype), jnp.zeros((frames, cameras), x.dtype)
    )
    time = jnp.asarray(np.arange(1 - frames, 1) * period_s, x.dtype)
    return Window(jnp.tile(x, (frames, 1)), reference, time, jnp.zeros(frames, x.dtype), observed, slow, prior, head)


def append(window: Window, uv: Array, information: Array, delay: Array, step_s: Array, x: Array) -> Window:
    """Drop the oldest frame and take the new one at pose x (N,), step_s after the last."""

    def shift(old: Array, new: Array) -> Array:
        return jnp.concatenate([old[1:], new[None]])

    observed = Observations(*(shift(a, b) for a, b in zip(window.observed, (uv, information, delay), strict=True)))
    return window._replace(
        x=shift(window.x, x),
        time=shift(window.time - step_s, jnp.zeros((), window.time.dtype)),
        valid=shift(window.valid, jnp.ones((), window.valid.dtype)),
        observed=observed,
    )


def predict(window: Window, step_s: Array) -> Array:
    """The next pose (N,) at constant velocity; standing still while there is only one frame."""
    step = jnp.maximum(window.time[-1] - window.time[-2], 1e-4)
    moving = window.valid[-2] * jnp.minimum(step_s / step, 3.0)
    return window.x[-1] + moving * (window.x[-1] - window.x[-2])


def recentre(window: Window) -> Window:
    """Make the newest frame's root orientation the reference, so that rotation vectors in the window stay far from their singularity at pi."""
    old = window.x[:, 3:6]
    reference = window.reference @ rotation.exp(old[-1])
    relative = reference.T @ window.reference
    new = rotation.log(relative @ rotation.exp(old))
    x = window.x.at[:, 3:6].set(new)
    # The head is a function of the old coordinates' deviations: d_old = J_l(old)^-1 R_ref^T R_ref' J_l(new) d_new at each of its frames.
    n = x.shape[1]
    back = jnp.linalg.solve(rotation.left_jacobian(old[:ORDER]), relative.T @ rotation.left_jacobian(new[:ORDER]))
    information, vector, anchor = window.head
    for i in range(ORDER):
        rows = slice(i * n + 3, i * n + 6)
        information = information.at[rows].set(back[i].T @ information[rows])
        information = information.at[:, rows].set(information[:, rows] @ back[i])
        vector = vector.at[rows].set(back[i].T @ vector[rows])
        # x - anchor is carried over, not recomputed from rotations: it is small and must stay what it was to first order.
        anchor = anchor.at[rows].set(new[i] - jnp.linalg.solve(back[i], old[i] - anchor[rows]))
    head = Head(information, vector, anchor)
    return window._replace(x=x, reference=reference, head=head)
