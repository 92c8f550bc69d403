"""One pass of Gauss-Newton over a whole recording: the window solver's costs, chunk by chunk along the time axis, everything in float64.

A recording's spline is cut into chunks of equal size, so that one compiled program serves every length. Each chunk has its own reference orientation
(a person may turn round and round), owns its first control points and shares the last three with the next one:

    system:      all costs of a chunk as normal equations (chunks side by side)
    forward:     eliminate the chunk's own control points; what is left is a head for the next chunk and a share in the slow states' equations
    backward:    the chunk's step, from that of the control points behind it and of the slow states
    uncertainty: the band of the inverse, backwards in the same way (Takahashi et al. 1973), and from it every frame's readout

Normal equations of recordings that share slow states (one body, one rig) are simply added.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from biomech_fit.core import rotation, spline
from biomech_fit.core.body import BodyModel
from biomech_fit.core.frame_terms import on_control_points
from biomech_fit.core.linear import ORDER, ArrowSystem, SlowShare, assemble_chain, eliminate, substitute, with_head
from biomech_fit.core.program import program
from biomech_fit.core.result import Readout
from biomech_fit.core.window import Window
from biomech_fit.core.window_costs import SolverOptions, WindowCosts
from biomech_fit.core.window_readout import read_out


class ChunkHead(NamedTuple):
    """What earlier chunks say of a chunk's first ORDER control points, as normal equations in steps from the current estimate."""

    matrix: Array
    """(ORDER N, ORDER N)"""
    cross: Array
    """(ORDER N, M)"""
    rhs: Array
    """(ORDER N,)"""


class ChunkFactor(NamedTuple):
    """What is needed to go back through a chunk of n control points of its own."""

    inverse: Array
    """(n, N, N) inverse diagonal blocks of the Cholesky factor."""
    below: Array
    """(n, N, ORDER N) what couples them to those behind."""
    rhs: Array
    """(n, N)"""
    border: Array
    """(n, N, M)"""


class SlowTerms(NamedTuple):
    """A share in the slow states' normal equations."""

    corner: Array
    """(M, M)"""
    rhs: Array
    """(M,)"""


class Tail(NamedTuple):
    """Of ORDER control points behind a chunk: covariance (ORDER N, ORDER N) for known slow states, and minus their derivative (ORDER N, M) by these."""

    covariance: Array
    by_slow: Array


class ChunkSolver:
    """Compiled functions for one body model, number of cameras and keypoint set. `options.knots` - 3 control points are a chunk's own.

    All must be called within `jax.enable_x64(True)`.
    """

    def __init__(self, body: BodyModel, n_cameras: int, options: SolverOptions):
        self.body, self.options = body, options
        self.costs = WindowCosts(body, n_cameras, options)
        self.layout = self.costs.layout
        self.own = options.knots - ORDER
        self.system = program(self._system)
        """(chunk, last, active (knots,), widen) -> normal equations, and the observations' robust cost.

        `last`: no chunk follows, and the last three control points are this one's, too. `active` is 0 for control points beyond the recording's end.
        """
        self.forward = program(self._forward)
        """(system, head) -> (head of the next chunk, factor, share in the slow states)"""
        self.backward = program(self._backward)
        """(factor, steps behind (ORDER N,), slow step) -> steps (n, N)"""
        self.uncertainty = program(self._uncertainty)
        """(chunk, factor, tail, slow covariance) -> (every slot's readout, the tail for the chunk before)"""
        self.rechart = program(_rechart)
        self.slow_precision = program(self.costs.slow_precision)
        """(prior, slow (M,)) -> (M, M)"""

    def empty_head(self) -> ChunkHead:
        """Nothing is known before the recording."""
        n, m = self.costs.kinematics.n_coordinates, self.layout.size
        return ChunkHead(np.zeros((ORDER * n, ORDER * n)), np.zeros((ORDER * n, m)), np.zeros(ORDER * n))

    def _system(self, chunk: Window, last: Array, active: Array, widen: Array) -> tuple[ArrowSystem, Array]:
        costs = self.costs
        lin = costs.linearise(chunk, widen)
        observed = on_control_points(chunk, lin)
        motion, information, gradient = costs.priors(chunk)
        # Terms among the last three control points alone are the next chunk's.
        theirs = costs.motion(chunk.control[-ORDER:])
        motion = motion._replace(**{name: getattr(motion, name).at[-ORDER:].add((last - 1) * getattr(theirs, name)) for name in motion._fields})
        mine = (active * jnp.where(jnp.arange(self.options.knots) < self.own, 1.0, last))[:, None]
        return observed._replace(
            diagonal=observed.diagonal + jax.vmap(jnp.diag)(motion.diagonal + mine * information),
            band=observed.band + jax.vmap(jax.vmap(jnp.diag))(motion.coupling),
            rhs=observed.rhs - motion.gradient - mine * gradient,
        ), lin.cost

    def _forward(self, system: ArrowSystem, head: ChunkHead) -> tuple[ChunkHead, ChunkFactor, SlowTerms]:
        own, n, m = self.own, system.rhs.shape[1], system.corner.shape[0]
        system = with_head(system, *head)
        chain, (y, border), (block, rest) = eliminate(system.diagonal[:own], system.band[:own], [system.rhs[:own, :, None], system.cross[:own]])
        flat = border.reshape(-1, m)
        left = assemble_chain(system.diagonal[own:], system.band[own:]) + block
        head = ChunkHead(left, system.cross[own:].reshape(ORDER * n, m) + rest[:, 1:], system.rhs[own:].reshape(-1) + rest[:, 0])
        slow = SlowTerms(system.corner - flat.T @ flat, system.corner_rhs - y.reshape(-1) @ flat)
        return head, ChunkFactor(*chain, y[:, :, 0], border), slow

    def _backward(self, factor: ChunkFactor, after: Array, slow_step: Array) -> Array:
        return substitute((factor.inverse, factor.below), factor.rhs - factor.border @ slow_step, after)

    def _uncertainty(self, chunk: Window, factor: ChunkFactor, tail: Tail, slow: Array) -> tuple[Readout, Tail]:
        n = factor.rhs.shape[1]

        def back(carry, inputs):
            covariance, by_slow = carry
            inverse, below, border = inputs
            gain = inverse.T @ below
            beside = -gain @ covariance
            here = inverse.T @ inverse - beside @ gain.T
            # Rounding's antisymmetric part would grow from step to step, being carried on with alternating sign.
            here = 0.5 * (here + here.T)
            mine = inverse.T @ border - gain @ by_slow
            row = jnp.concatenate([here, beside], 1)
            joint = jnp.block([[here, beside], [beside.T, covariance]])[: ORDER * n, : ORDER * n]
            return (joint, jnp.concatenate([mine, by_slow])[: ORDER * n]), (row, mine)

        before, (rows, by_slow) = jax.lax.scan(back, tuple(tail), (factor.inverse, factor.below, factor.border), reverse=True)
        # The last three's own rows, with zeros beyond.
        behind = jnp.pad(tail.covariance, ((0, 0), (0, ORDER * n)))
        rows = jnp.concatenate([rows, jnp.stack([behind[i * n : (i + 1) * n, i * n : (i + 1 + ORDER) * n] for i in range(ORDER)])])
        band = rows.reshape(-1, n, ORDER + 1, n).transpose(0, 2, 1, 3)
        by_slow = jnp.concatenate([by_slow, tail.by_slow.reshape(ORDER, n, -1)])
        value, _ = spline.basis(chunk.u, self.options.knots)
        flat = band.reshape(len(band), ORDER + 1, n * n)
        alone = ((value * value) @ flat[:, 0]).reshape(-1, n, n)
        for d in range(1, ORDER + 1):
            ahead = jnp.pad(value[:, d:], ((0, 0), (0, d)))
            block = ((value * ahead) @ flat[:, d]).reshape(-1, n, n)
            alone = alone + block + jnp.swapaxes(block, 1, 2)
        sensitivity = jnp.einsum("tq,qnm->tnm", value, by_slow)
        pose_slow = -sensitivity @ slow
        total = alone - pose_slow @ jnp.swapaxes(sensitivity, 1, 2)
        readout = read_out(self.costs, chunk, jnp.arange(len(chunk.u)), total, SlowShare(total - alone, pose_slow, slow))
        return readout, Tail(*before)


def _rechart(head: ChunkHead, old: Array, new: Array, old_reference: Array, new_reference: Array) -> tuple[ChunkHead, Array]:
    """A head of steps in one chart as one in another: rotation vectors (ORDER, 3) `old` and `new` stand for the same orientations relative to two references.
    Also returned: the steps' derivative, old by new, (ORDER N, ORDER N)."""
    n = head.rhs.shape[0] // ORDER
    back = jnp.linalg.solve(rotation.left_jacobian(old), old_reference.T @ new_reference @ rotation.left_jacobian(new))
    change = jnp.eye(ORDER * n)
    for i in range(ORDER):
        rows = slice(i * n + 3, i * n + 6)
        change = change.at[rows, rows].set(back[i])
    return ChunkHead(change.T @ head.matrix @ change, change.T @ head.cross, change.T @ head.rhs), change
