"""A motion as a network from time to pose (Cotton 2024, arXiv 2402.17192): positional encoding, a perceptron, joint ranges by construction.

    t -> [t, sin(2^k pi t / T), cos(2^k pi t / T)] -> perceptron -> place, quaternion, tanh to each joint's range

The encoding is joined again after each of the first three layers. T has a second of slack, so that the motion does not end where the encoding does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from biomech_fit.core.body import BodyModel

SLACK_S = 1.0
FASTEST_RAD_S = 40.0
"""The encoding goes up to at least this (6.4 Hz)."""
JOINED = 3
"""Layers after which the encoding is joined again."""
ROOT = 7
"""Outputs of a free root: place and quaternion."""

Parameters = list[tuple[Array, Array]]
"""Weights and biases of each layer."""


class Moment(NamedTuple):
    """The network's motion at T moments, in the coordinates of the solver."""

    x: Array
    """(T, N); the root's rotation vector is 0."""
    rate: Array
    """(T, N) per second, by differentiating the network."""
    reference: Array
    """(T, 3, 3) the root's orientation at each moment."""


def octaves(duration_s: float) -> int:
    """How many frequencies the encoding of so long a motion has: ceil(log2(80 T / (2 pi)) + 1)."""
    return max(1, int(np.ceil(np.log2(2 * FASTEST_RAD_S * max(duration_s, 0.1) / (2 * np.pi)) + 1)))


class Extent(NamedTuple):
    """What one motion's network is told beforehand."""

    span_s: Array
    """Duration of the longest motion with `SLACK_S`: all have the same frequencies."""
    centre: Array
    """(3,) m about which the root moves."""


class ImplicitMotion:
    """Motions of a body; one program for all that have as many frequencies.

    Args:
        body: whose ranges the joints keep to.
        widths: of the hidden layers.
        frequencies: `octaves` of the longest motion.
    """

    def __init__(self, body: BodyModel, widths: Sequence[int], frequencies: int):
        self.free_root, self.widths, self._octaves = body.has_free_root, tuple(widths), frequencies
        rows = slice(6 if self.free_root else 0, None)
        lower, upper = np.asarray(body.lower, float)[rows], np.asarray(body.upper, float)[rows]
        limited = np.isfinite(lower) & np.isfinite(upper)
        self._limited = limited
        self._middle = np.float32(np.where(limited, 0.5 * (np.where(limited, lower, 0) + np.where(limited, upper, 0)), 0.0))
        self._half = np.float32(np.where(limited, 0.5 * (np.where(limited, upper, 0) - np.where(limited, lower, 0)), 1.0))
        self._outputs = len(lower) + (ROOT if self.free_root else 0)

    def initial(self, key: Array) -> Parameters:
        """Random weights (He et al. 2015), small in the last layer: the motion begins near the middle of all ranges."""
        encoded = 1 + 2 * self._octaves
        sizes, inputs = [], encoded
        for i, width in enumerate(self.widths):
            sizes.append((inputs, width))
            inputs = width + (encoded if i < JOINED else 0)
        sizes.append((inputs, self._outputs))
        gains = [2.0] * len(self.widths) + [0.01]
        keys = jax.random.split(key, len(sizes))
        return [
            (jnp.sqrt(gain / size[0]) * jax.random.normal(own, size, jnp.float32), jnp.zeros(size[1], jnp.float32))
            for size, gain, own in zip(sizes, gains, keys, strict=True)
        ]

    def outputs(self, parameters: Parameters, extent: Extent, time_s: Array) -> tuple[Array, Array, Array]:
        """Root's place (T, 3) m and unit quaternion (T, 4) wxyz, and the other coordinates (T, N - 6), or (T, N) without a free root, at times (T,)."""
        phase = np.pi / extent.span_s * time_s[:, None] * 2.0 ** np.arange(self._octaves, dtype=np.float32)
        encoded = jnp.concatenate([time_s[:, None] / extent.span_s, jnp.sin(phase), jnp.cos(phase)], -1)
        hidden = encoded
        for i, (weight, bias) in enumerate(parameters[:-1]):
            hidden = jax.nn.relu(hidden @ weight + bias)
            if i < JOINED:
                hidden = jnp.concatenate([hidden, encoded], -1)
        raw = hidden @ parameters[-1][0] + parameters[-1][1]
        joints = raw[:, ROOT:] if self.free_root else raw
        joints = self._middle + self._half * jnp.where(self._limited, jnp.tanh(joints), joints)
        if not self.free_root:
            return jnp.zeros((len(time_s), 3)), jnp.tile(jnp.array([1.0, 0, 0, 0]), (len(time_s), 1)), joints
        turn = raw[:, 3:ROOT] + jnp.array([1.0, 0.0, 0.0, 0.0])
        return extent.centre + raw[:, :3], turn / jnp.linalg.norm(turn, axis=-1, keepdims=True), joints

    def at(self, parameters: Parameters, extent: Extent, time_s: Array) -> Moment:
        """The motion at times (T,); its derivative by the parameters is that of steps from each moment's own orientation."""
        (place, quat, joints), (speed, quat_rate, joint_rate) = jax.jvp(lambda t: self.outputs(parameters, extent, t), (time_s,), (jnp.ones_like(time_s),))
        if not self.free_root:
            return Moment(joints, joint_rate, jnp.tile(jnp.eye(3), (len(time_s), 1, 1)))
        own = jax.lax.stop_gradient(quat)
        return Moment(
            jnp.concatenate([place, _turn_from(own, quat), joints], 1),
            jnp.concatenate([speed, _turn_from(quat, quat_rate), joint_rate], 1),
            _matrix(own),
        )


def _turn_from(quat: Array, other: Array) -> Array:
    """(T, 3) twice the vector part of conj(quat) other: the small turn between both, or of a quaternion's rate the angular velocity, in the body's axes."""
    w, v, a, b = quat[:, :1], quat[:, 1:], other[:, :1], other[:, 1:]
    return 2 * (w * b - a * v - jnp.cross(v, b))


def _matrix(quat: Array) -> Array:
    """(T, 3, 3) of unit quaternions wxyz."""
    w, x, y, z = quat.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)
