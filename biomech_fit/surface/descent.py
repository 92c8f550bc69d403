"""Damped steps of poses that share a body, or have one each: normal equations with an arrow's shape, solved by eliminating the poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from biomech_fit.core.body import BodyModel


@dataclass
class State:
    """T poses and bodies; `scales` has one row where the body is shared."""

    x: np.ndarray
    """(T, N), rotation vector of the root zero."""
    reference: np.ndarray
    """(T, 3, 3)"""
    scales: np.ndarray
    """(T, S)"""


def newton_step(
    body: BodyModel, state: State, matrix: np.ndarray, rhs: np.ndarray, damping: np.ndarray, shared: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Changes of poses (T, N) and scales (T or 1, S); coordinates at their range's end that want beyond it stay."""
    n = state.x.shape[1]
    hxx, hxs, hss = matrix[:, :n, :n].copy(), matrix[:, :n, n:].copy(), matrix[:, n:, n:].copy()
    gx, gs = rhs[:, :n].copy(), rhs[:, n:].copy()
    blocked = ((state.x <= body.lower + 1e-9) & (gx < 0)) | ((state.x >= body.upper - 1e-9) & (gx > 0))
    hxx[blocked[:, :, None] | blocked[:, None, :]] = 0.0
    hxs[blocked], gx[blocked] = 0.0, 0.0
    d = np.broadcast_to(damping, len(hxx))
    diagonal = np.einsum("tnn->tn", hxx)
    diagonal += d[:, None] * diagonal + 1e-3
    diagonal[blocked] = 1.0
    if shared:
        hss, gs = hss.sum(0, keepdims=True), gs.sum(0, keepdims=True)
    hss += body.scale_precision
    gs -= state.scales @ body.scale_precision
    corner = np.einsum("tss->ts", hss)
    corner += np.asarray(damping)[:, None] * corner
    solved = np.linalg.solve(hxx, np.concatenate([hxs, gx[..., None]], -1))
    by_scale, free = solved[..., :-1], solved[..., -1]
    less, less_rhs = np.swapaxes(hxs, 1, 2) @ by_scale, np.einsum("tns,tn->ts", hxs, free)
    if shared:
        less, less_rhs = less.sum(0, keepdims=True), less_rhs.sum(0, keepdims=True)
    change_s = np.linalg.solve(hss - less, (gs - less_rhs)[..., None])[..., 0]
    change_x = free - np.einsum("tns,ts->tn", by_scale, np.broadcast_to(change_s, (len(free), change_s.shape[1])))
    largest = np.abs(change_x[:, 3:]).max(1, keepdims=True)
    return change_x * np.minimum(1.0, 0.8 / np.maximum(largest, 1e-9)), np.clip(change_s, -0.15, 0.15)


def moved(body: BodyModel, state: State, change_x: np.ndarray, change_s: np.ndarray) -> State:
    """The state after a step, within the ranges of motion."""
    x = state.x + change_x
    x[:, 3:6] = 0.0
    x[:, 6:] = np.clip(x[:, 6:], body.lower[6:], body.upper[6:])
    return State(x, state.reference @ Rotation.from_rotvec(change_x[:, 3:6]).as_matrix(), np.clip(state.scales + change_s, -0.6, 1.0))
