"""Functions of coordinates that move a joint along or about one axis, as OpenSim models have them (numpy, vectorised over frames).

Each has a value, a slope and `scaled`. `Affine` may take several coordinates, the others take one. Splines follow OpenSim's SimmSpline: an interpolating cubic
whose third derivative in the first (last) interval is that of the cubic through the first (last) four points (Forsythe, Malcolm and Moler, Computer Methods for
Mathematical Computations, 1977, ch. 4), continued straight outside its points.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Affine:
    """``constant + sum(coefficients * coordinates)``."""

    coefficients: tuple[float, ...] = ()
    constant: float = 0.0

    def scaled(self, factor: float) -> Affine:
        return Affine(tuple(factor * c for c in self.coefficients), factor * self.constant)


@dataclass(frozen=True)
class Polynomial:
    """Coefficients from the highest power to the lowest."""

    coefficients: tuple[float, ...]

    def value(self, x: np.ndarray) -> np.ndarray:
        return np.polyval(self.coefficients, x)

    def slope(self, x: np.ndarray) -> np.ndarray:
        return np.polyval(np.polyder(np.asarray(self.coefficients, float)), x)

    def scaled(self, factor: float) -> Polynomial:
        return Polynomial(tuple(factor * c for c in self.coefficients))


@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
    """Straight lines through the points (x ascending), the outer ones continued."""

    x: np.ndarray
    y: np.ndarray

    def value(self, x: np.ndarray) -> np.ndarray:
        i = _interval(self.x, x)
        return self.y[i] + self._slopes[i] * (x - self.x[i])

    def slope(self, x: np.ndarray) -> np.ndarray:
        return self._slopes[_interval(self.x, x)]

    def scaled(self, factor: float) -> PiecewiseLinear:
        return PiecewiseLinear(self.x, factor * self.y)

    @property
    def _slopes(self) -> np.ndarray:
        return np.diff(self.y) / np.diff(self.x)


@dataclass(frozen=True, eq=False)
class CubicSpline:
    """OpenSim's SimmSpline through two points or more (x ascending)."""

    x: np.ndarray
    y: np.ndarray
    second: np.ndarray = field(init=False, repr=False)
    """Second derivatives at the points."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "second", _second_derivatives(np.asarray(self.x, float), np.asarray(self.y, float)))

    def value(self, x: np.ndarray) -> np.ndarray:
        inside = np.clip(x, self.x[0], self.x[-1])
        i, h, u, straight = self._parts(inside)
        bend = self.second[i] / 2 + u / 6 * (self.second[i + 1] - self.second[i]) / h
        return self.y[i] + u * (straight + u * bend) + self.slope(inside) * (x - inside)

    def slope(self, x: np.ndarray) -> np.ndarray:
        i, h, u, straight = self._parts(np.clip(x, self.x[0], self.x[-1]))
        return straight + u * (self.second[i] + u / 2 * (self.second[i + 1] - self.second[i]) / h)

    def scaled(self, factor: float) -> CubicSpline:
        return CubicSpline(self.x, factor * self.y)

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Interval, its length, the place in it and the slope at its begin."""
        i = _interval(self.x, x)
        h = self.x[i + 1] - self.x[i]
        return i, h, x - self.x[i], (self.y[i + 1] - self.y[i]) / h - h * (2 * self.second[i] + self.second[i + 1]) / 6


JointFunction = Affine | Polynomial | PiecewiseLinear | CubicSpline


def _interval(knots: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)


def _second_derivatives(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) second derivatives of the interpolating cubic spline with four-point ends; fewer than four points have a constant one."""
    n = len(x)
    if n < 3:
        return np.zeros(n)
    h, straight = np.diff(x), np.diff(y) / np.diff(x)
    system, right = np.zeros((n, n)), np.zeros(n)
    for i in range(1, n - 1):
        system[i, i - 1 : i + 2] = h[i - 1] / 6, (h[i - 1] + h[i]) / 3, h[i] / 6
        right[i] = straight[i] - straight[i - 1]
    system[0, :2], system[-1, -2:] = (-1, 1), (-1, 1)
    if n > 3:
        right[0], right[-1] = 6 * h[0] * _third_difference(x[:4], y[:4]), 6 * h[-1] * _third_difference(x[-4:], y[-4:])
    return np.linalg.solve(system, right)


def _third_difference(x: np.ndarray, y: np.ndarray) -> float:
    """Newton's divided difference of four points: the leading coefficient of the cubic through them."""
    for k in (1, 2, 3):
        y = np.diff(y) / (x[k:] - x[:-k])
    return float(y[0])
