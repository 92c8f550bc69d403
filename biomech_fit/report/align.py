"""Rigid alignment of two sets of points, and what it does to cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Rigid:
    """x -> rotation @ x + translation; (3, 3) and (3,) m."""

    rotation: np.ndarray
    translation: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) points moved."""
        return points @ self.rotation.T + self.translation

    def camera(self, rotation: np.ndarray, translation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The camera x_cam = rotation @ x + translation after its world was moved by this."""
        turned = rotation @ self.rotation.T
        return turned, translation - turned @ self.translation


IDENTITY = Rigid(np.eye(3), np.zeros(3))


def rigid_alignment(source: np.ndarray, target: np.ndarray) -> Rigid:
    """The rotation and translation that bring `source` nearest to `target` in the least-squares sense (Kabsch 1976; Umeyama 1991 without scale).

    Args:
        source, target: (..., 3) m; points with NaN in either are left out. Fewer than three points give no rotation.
    """
    a, b = source.reshape(-1, 3), target.reshape(-1, 3)
    good = np.isfinite(a).all(1) & np.isfinite(b).all(1)
    if not good.any():
        return IDENTITY
    a, b = a[good], b[good]
    centre_a, centre_b = a.mean(0), b.mean(0)
    if len(a) < 3:
        return Rigid(np.eye(3), centre_b - centre_a)
    u, _, vt = np.linalg.svd((a - centre_a).T @ (b - centre_b))
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T @ sign @ u.T
    return Rigid(rotation, centre_b - rotation @ centre_a)
