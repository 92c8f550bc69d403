"""What leaves the window becomes a Gaussian prior on what stays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from biomech_fit.core.frame_terms import on_control_points
from biomech_fit.core.linear import ORDER, assemble_chain
from biomech_fit.core.window import Head, Window
from biomech_fit.core.window_costs import WindowCosts


def marginalise(costs: WindowCosts, window: Window) -> Head:
    """Everything that touches the first control point, reduced to a prior on the next ones and the slow states (Schur complement)."""
    options = costs.options
    n, m, few = window.control.shape[1], costs.layout.size, ORDER + 1
    start = jnp.argmax(window.valid > 0)
    take = options.leaving_frames
    u, valid = (jax.lax.dynamic_slice_in_dim(a, start, take) for a in (window.u, window.valid))
    observed = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, take), window.observed)
    leaving = window._replace(control=window.control[:few], u=jnp.minimum(u, 1.0), valid=valid * (u < 1), observed=observed)
    lin = costs.linearise(leaving, jnp.float32(1.0))
    spread = on_control_points(leaving, lin)
    motion, diagonal, gradient = costs.priors(leaving)
    rest = costs.motion(leaving.control[1:])
    band = spread.band + jax.vmap(jax.vmap(jnp.diag))(motion.coupling.at[1:].add(-rest.coupling))
    full = spread.diagonal + jax.vmap(jnp.diag)(motion.diagonal.at[1:].add(-rest.diagonal))
    full = full.at[0].add(jnp.diag(diagonal[0]))
    rhs = (spread.rhs - motion.gradient.at[1:].add(-rest.gradient)).at[0].add(-gradient[0])
    split = ORDER * n
    deviation = jnp.concatenate([window.control[:ORDER].reshape(-1), window.slow]) - window.head.anchor
    head, head_vector = window.head.information, window.head.vector - window.head.information @ deviation
    chain = assemble_chain(full, band).at[:split, :split].add(head[:split, :split])
    cross = spread.cross.reshape(few * n, m).at[:split].add(head[:split, split:])
    vector = rhs.reshape(-1).at[:split].add(head_vector[:split])
    factor = jnp.linalg.cholesky(chain[:n, :n])
    root = jax.scipy.linalg.solve_triangular(factor, jnp.concatenate([chain[:n, n:], cross[:n], vector[:n, None]], 1), lower=True)
    update = root[:, :-1].T @ root
    coupled = cross[n:] - update[:split, split:-1]
    points, slow = chain[n:, n:] - update[:split, :split], lin.corner + head[split:, split:] - update[split:, split:-1]
    information = jnp.block([[0.5 * (points + points.T), coupled], [coupled.T, 0.5 * (slow + slow.T)]])
    vector = jnp.concatenate([vector[n:], lin.corner_rhs + head_vector[split:]]) - update[:, -1]
    # Uniform forgetting: it keeps the null space of what was learned, which fading single states would not.
    keep = jnp.float32(np.exp(-options.spacing_s / options.memory_s))
    anchor = jnp.concatenate([window.control[1:few].reshape(-1), window.slow])
    return Head(keep * information, keep * vector, anchor)


def without_states(head: Head, states: np.ndarray, own: np.ndarray, mean: np.ndarray) -> Head:
    """The head with some slow states marginalised out, whose own prior has information `own` and this mean; nothing is known of them then, from 0 on."""
    rest = np.setdiff1d(np.arange(len(head.vector)), states)
    information, vector, anchor = (np.array(a, float) for a in head)
    block = information[np.ix_(states, states)] + np.diag(own)
    gain = np.linalg.solve(block, information[np.ix_(states, rest)]).T
    information[np.ix_(rest, rest)] -= gain @ information[np.ix_(states, rest)]
    vector[rest] -= gain @ (vector[states] + own * (mean - anchor[states]))
    information[states], information[:, states], vector[states], anchor[states] = 0.0, 0.0, 0.0, 0.0
    return Head(information, vector, anchor)
