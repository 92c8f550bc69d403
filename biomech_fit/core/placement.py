"""Where a rigid set of points is, as cameras see it."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from biomech_fit.core import rotation
from biomech_fit.core.camera import Camera
from biomech_fit.core.projection import camera_arrays, lens_flags
from biomech_fit.core.residuals import Observations, make_lens, reprojection
from biomech_fit.core.robust import geman_mcclure

ITERATIONS = 8
KERNEL_PX = 16.0


def best_placement(cameras: Sequence[Camera], points: np.ndarray, xy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Each frame's points (T, K, 3) m moved as one rigid body to where they reproject best on xy (T, C, K, 2) px with weights (T, C, K).

    Robust Gauss-Newton on six numbers a frame. NaN points and points without weight take no part; frames with fewer than three are left as they are.
    """
    arrays, lens = camera_arrays(cameras), make_lens(*lens_flags(cameras))
    usable = np.isfinite(points).all(-1)
    seen = (np.isfinite(xy).all(-1) & usable[:, None]) * np.nan_to_num(weight)
    start = np.float32(np.where(usable[..., None], points, 0.0))
    observed = Observations(np.float32(np.where(seen[..., None] > 0, np.nan_to_num(xy), 0.0)), np.float32(seen / KERNEL_PX**2), np.zeros(seen.shape[:2], np.float32))

    @jax.jit
    def place(p: jax.Array) -> jax.Array:
        for _ in range(ITERATIONS):
            info, *_ = reprojection(p, jnp.zeros_like(p), arrays, lens, jnp.zeros(len(cameras)), observed, geman_mcclure, jnp.float32(1.0))
            centre = p.mean(1, keepdims=True)
            moves = jnp.concatenate([jnp.broadcast_to(jnp.eye(3), (*p.shape[:2], 3, 3)), -rotation.skew(p - centre)], -1)
            matrix = jnp.einsum("tkan,tkab,tkbm->tnm", moves, info.matrix, moves) + 1e-3 * jnp.eye(6)
            step = jnp.linalg.solve(matrix, jnp.einsum("tkan,tka->tn", moves, info.vector)[..., None])[..., 0]
            p = (p - centre) @ jnp.swapaxes(rotation.exp(step[:, 3:]), 1, 2) + centre + step[:, None, :3]
        return p

    moved = np.asarray(place(start), float)
    enough = ((seen > 0).any(1)).sum(1) >= 3
    return np.where((enough[:, None] & usable)[..., None], moved, points)
