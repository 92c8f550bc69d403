"""Where a rigid set of points is, as cameras see it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from biomech_fit.core import rotation
from biomech_fit.core.camera import Camera
from biomech_fit.core.program import program
from biomech_fit.core.projection import CameraArrays, camera_arrays, lens_flags
from biomech_fit.core.residuals import Lens, Observations, make_lens, reprojection
from biomech_fit.core.robust import geman_mcclure

ITERATIONS = 8
KERNEL_PX = 16.0
CHUNK = 128
"""Frames at a time."""


def best_placement(cameras: Sequence[Camera], points: np.ndarray, xy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Each frame's points (T, K, 3) m moved as one rigid body to where they reproject best on xy (T, C, K, 2) px with weights (T, C, K).

    Robust Gauss-Newton on six numbers a frame. NaN points and points without weight take no part; frames with fewer than three are left as they are.
    """
    lens = make_lens(*lens_flags(cameras))
    usable = np.isfinite(points).all(-1)
    seen = (np.isfinite(xy).all(-1) & usable[:, None]) * np.nan_to_num(weight)
    place = program(partial(_place, lens))
    # Chunks of one size: compiled once, and memory does not grow with the recording.
    pad = -len(points) % CHUNK
    start, pixels, information = (
        np.pad(np.float32(a), ((0, pad), *((0, 0),) * (a.ndim - 1)))
        for a in (np.where(usable[..., None], points, 0.0), np.where(seen[..., None] > 0, np.nan_to_num(xy), 0.0), seen / KERNEL_PX**2)
    )
    arrays = camera_arrays(cameras)
    moved = [np.asarray(place(arrays, *(a[i : i + CHUNK] for a in (start, pixels, information)))) for i in range(0, len(start), CHUNK)]
    enough = ((seen > 0).any(1)).sum(1) >= 3
    return np.where((enough[:, None] & usable)[..., None], np.concatenate([points[:0], *moved])[: len(points)], points)


def _place(lens: Lens, cameras: CameraArrays, points: jax.Array, uv: jax.Array, information: jax.Array) -> jax.Array:
    delay = jnp.zeros(uv.shape[:2], points.dtype)
    observed = Observations(uv, information, delay, jnp.ones_like(delay[:, 0]))

    def step(_: int, p: jax.Array) -> jax.Array:
        info = reprojection(p, jnp.zeros_like(p), cameras, lens, delay[0], observed, geman_mcclure, jnp.float32(1.0))[0]
        centre = p.mean(1, keepdims=True)
        moves = jnp.concatenate([jnp.broadcast_to(jnp.eye(3), (*p.shape[:2], 3, 3)), -rotation.skew(p - centre)], -1)
        matrix = jnp.einsum("tkan,tkab,tkbm->tnm", moves, info.matrix, moves) + 1e-3 * jnp.eye(6)
        change = jnp.linalg.solve(matrix, jnp.einsum("tkan,tka->tn", moves, info.vector)[..., None])[..., 0]
        return (p - centre) @ jnp.swapaxes(rotation.exp(change[:, 3:]), 1, 2) + centre + change[:, None, :3]

    return jax.lax.fori_loop(0, ITERATIONS, step, points)
