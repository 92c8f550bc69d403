"""One calibrated camera (numpy, float64, OpenCV's models). `core.projection` has all cameras at once in JAX."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from biomech_fit.core.errors import InputError

DISTORTION_MODELS = {"none": (0,), "plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
"""ROS/OpenCV distortion model names and the numbers of coefficients each takes."""

MIN_DEPTH_M = 0.01
"""Points closer to the camera plane than this are treated as not visible."""

_MAX_TAN_SQUARED = 100.0
"""Distortion polynomials are not trusted beyond 84 degrees off the axis."""

_UNDISTORT_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-12)
_UNDISTORT_TOLERANCE_PX = 0.5


@dataclass(frozen=True, eq=False)
class Camera:
    """A calibrated camera: ``x_cam = rotation @ x_world + translation``; optical frame, z forward; metres and pixels."""

    name: str
    width: int
    height: int
    matrix: np.ndarray
    """(3, 3) float64, pixels; skew is zero."""
    distortion_model: str
    distortion: np.ndarray
    """(0 | 4 | 5 | 8,) float64, OpenCV order."""
    rotation: np.ndarray
    """(3, 3) float64, world to camera."""
    translation: np.ndarray
    """(3,) float64, metres."""

    @property
    def is_fisheye(self) -> bool:
        return self.distortion_model == "equidistant"

    @property
    def has_distortion(self) -> bool:
        """Whether projecting differs from a plain pinhole."""
        return self.is_fisheye or bool(np.any(self.distortion))

    @cached_property
    def projection_matrix(self) -> np.ndarray:
        """(3, 4) ``[R | t]``: world (m) to normalised, undistorted image coordinates (what `undistort` returns)."""
        return np.column_stack([self.rotation, self.translation]).astype(float)

    @property
    def centre(self) -> np.ndarray:
        """(3,) m, the optical centre in the world."""
        return -np.asarray(self.rotation, float).T @ np.asarray(self.translation, float)

    @cached_property
    def max_tan_squared(self) -> float:
        """Largest squared tangent of the angle off the axis that the lens model maps one to one; inf without distortion."""
        return fold_over_tan_squared(self.distortion_model, self.distortion)

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 3) in metres to pixels (N, 2) in the distorted image, by OpenCV.

        NaN where the point is behind the camera, beyond the fold-over radius of the lens model, or itself NaN.
        """
        points = np.asarray(points, float).reshape(-1, 3)
        in_camera = points @ self.projection_matrix[:, :3].T + self.projection_matrix[:, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            tan_squared = (in_camera[:, 0] ** 2 + in_camera[:, 1] ** 2) / in_camera[:, 2] ** 2
            visible = (in_camera[:, 2] > MIN_DEPTH_M) & (tan_squared < self.max_tan_squared)
        pixels = np.full((len(points), 2), np.nan)
        if visible.any():
            pixels[visible] = self._project_camera_frame(in_camera[visible])
        return pixels

    def undistort(self, xy: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) to normalised pinhole coordinates (N, 2), ``x/z, y/z`` of the viewing ray.

        NaN for NaN input and for pixels that the lens model does not reach.
        """
        xy = np.asarray(xy, float).reshape(-1, 2)
        matrix = np.asarray(self.matrix, float)
        normalised = (xy - matrix[:2, 2]) / matrix[[0, 1], [0, 1]]
        finite = np.isfinite(xy).all(axis=1)
        if not self.has_distortion:
            normalised[~finite] = np.nan
            return normalised
        result = np.full(xy.shape, np.nan)
        if not finite.any():
            return result
        pixels = np.ascontiguousarray(xy[finite])[:, None]
        if self.is_fisheye:
            rays = cv2.fisheye.undistortPoints(pixels, matrix, np.asarray(self.distortion, float))
        else:
            rays = cv2.undistortPoints(pixels, matrix, np.asarray(self.distortion, float), criteria=_UNDISTORT_CRITERIA)
        rays = np.asarray(rays, float).reshape(-1, 2)
        good: np.ndarray = (rays**2).sum(axis=1) < self.max_tan_squared  # False for NaN
        # OpenCV's fixed-point iteration does not say when it failed: project back and look.
        if good.any():
            back = self._project_camera_frame(np.column_stack([rays[good], np.ones(int(good.sum()))]))
            good[good] = np.linalg.norm(back - xy[finite][good], axis=1) < _UNDISTORT_TOLERANCE_PX
        rays[~good] = np.nan
        result[finite] = rays
        return result

    def _project_camera_frame(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) points in the camera's frame, in front of it, to (N, 2) pixels."""
        points, zero = np.ascontiguousarray(points)[:, None], np.zeros(3)
        matrix, distortion = np.asarray(self.matrix, float), np.asarray(self.distortion, float)
        if self.is_fisheye:
            pixels, _ = cv2.fisheye.projectPoints(points, zero, zero, matrix, distortion)
        else:
            pixels, _ = cv2.projectPoints(points, zero, zero, matrix, distortion if len(distortion) else np.zeros(4))
        return np.asarray(pixels, float).reshape(-1, 2)


def fold_over_tan_squared(model: str, distortion: np.ndarray) -> float:
    """Squared tangent of the off-axis angle up to which the radial part of a lens model grows monotonically.

    Beyond it a point outside the field of view would be mapped back into the image. The bound is the first positive root of the derivative of
    the distorted radius (for the rational model also of its denominator); at most tan^2 of 84 degrees, inf without distortion.
    """
    k = np.zeros(8)
    k[: len(distortion)] = distortion
    if not k.any() and model != "equidistant":
        return np.inf
    if model == "equidistant":  # theta_d = theta (1 + k1 theta^2 + ... + k4 theta^8); in s = theta^2 the derivative is 1 + 3 k1 s + 5 k2 s^2 + ...
        root = _first_positive_root([1.0, 3 * k[0], 5 * k[1], 7 * k[2], 9 * k[3]])
        theta = min(np.sqrt(root), np.arctan(np.sqrt(_MAX_TAN_SQUARED)))
        return float(np.tan(theta) ** 2)
    # r_d = r N(s) / D(s), s = r^2: its derivative has the sign of (N + 2 s N') D - 2 s N D'.
    numerator = np.polynomial.Polynomial([1.0, k[0], k[1], k[4]])
    denominator = np.polynomial.Polynomial([1.0, k[5], k[6], k[7]])
    s = np.polynomial.Polynomial([0.0, 1.0])
    slope = (numerator + 2 * s * numerator.deriv()) * denominator - 2 * s * numerator * denominator.deriv()
    return float(min(_first_positive_root(slope.coef), _first_positive_root(denominator.coef), _MAX_TAN_SQUARED))


def _first_positive_root(coefficients: list[float] | np.ndarray) -> float:
    """Smallest positive real root of a polynomial given lowest order first; inf if there is none."""
    roots = np.polynomial.polynomial.polyroots(np.trim_zeros(np.asarray(coefficients, float), "b"))
    real = roots.real[(np.abs(roots.imag) < 1e-9 * np.maximum(1.0, np.abs(roots.real))) & (roots.real > 0)]
    return float(real.min()) if real.size else np.inf


_LEAST_FOCAL_PX, _MOST_FOCAL_PX = 1.0, 1e6


def check_camera(camera: Camera) -> None:
    """Raise `InputError` naming the camera and the field if an entry cannot be right."""
    problem = _problem(camera)
    if problem:
        raise InputError(f"Camera '{camera.name}': {problem}.")


def _problem(camera: Camera) -> str | None:
    if not (camera.width > 0 and camera.height > 0):
        return f"size must be two positive numbers of pixels, not {camera.width} x {camera.height}"
    for field, shape in (("matrix", (3, 3)), ("rotation", (3, 3)), ("translation", (3,))):
        value = getattr(camera, field)
        if np.shape(value) != shape:
            return f"{field} must have the shape {shape}, not {np.shape(value)}"
        if not np.isfinite(value).all():
            return f"{field} has a value that is not finite"
    m = camera.matrix
    if not all(_LEAST_FOCAL_PX <= focal <= _MOST_FOCAL_PX for focal in (m[0, 0], m[1, 1])):
        return f"the focal lengths in matrix must be between {_LEAST_FOCAL_PX:g} and {_MOST_FOCAL_PX:g} px, not {m[0, 0]:g} and {m[1, 1]:g}"
    if abs(m[0, 1]) > 1e-6 * m[0, 0]:
        return f"matrix has a skew of {m[0, 1]:g} px; only zero skew is supported"
    if max(abs(m[1, 0]), abs(m[2, 0]), abs(m[2, 1]), abs(m[2, 2] - 1)) > 1e-9:
        return "matrix must have the form [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
    if camera.distortion_model not in DISTORTION_MODELS:
        return f"distortion model '{camera.distortion_model}' is unknown; valid are {', '.join(DISTORTION_MODELS)}"
    lengths = DISTORTION_MODELS[camera.distortion_model]
    if np.ndim(camera.distortion) != 1 or len(camera.distortion) not in lengths:
        return f"distortion model '{camera.distortion_model}' takes {' or '.join(map(str, lengths))} coefficients, not {np.size(camera.distortion)}"
    if not np.isfinite(camera.distortion).all():
        return "distortion has a value that is not finite"
    if np.abs(camera.rotation @ camera.rotation.T - np.eye(3)).max() > 1e-4 or np.linalg.det(camera.rotation) < 0:
        return "rotation is not a rotation matrix (orthonormal, determinant +1)"
    return None
