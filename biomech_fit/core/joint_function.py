"""Functions of coordinates that move a joint along or about one axis, as OpenSim models have them (numpy, vectorised over frames).

`Affine` may take several coordinates, the others take one and give their value and slope. Splines follow OpenSim's SimmSpline: an interpolating cubic
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

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value and slope."""
        return np.polyval(self.coefficients, x), np.polyval(np.polyder(np.asarray(self.coefficients, float)), x)

    def scaled(self, factor: float) -> Polynomial:
        return Polynomial(tuple(factor * c for c in self.coefficients))


@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
    """Straight lines through the points (x ascending), the outer ones continued."""

    x: np.ndarray
    y: np.ndarray

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value and slope."""
        i = np.searchsorted(self.x[1:-1], x, side="right")
        slope = (np.diff(self.y) / np.diff(self.x))[i]
        return self.y[i] + slope * (x - self.x[i]), slope

    def scaled(self, factor: float) -> PiecewiseLinear:
        return PiecewiseLinear(self.x, factor * self.y)


@dataclass(frozen=True, eq=False)
class CubicSpline:
    """OpenSim's SimmSpline through two points or more (x ascending)."""

    x: np.ndarray
    y: np.ndarray
    _begins: np.ndarray = field(init=False, repr=False)
    _powers: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Cubics of the intervals, lowest power first, and the straight lines outside them: (n + 1, 4), each about its own begin."""
        x, y = np.asarray(self.x, float), np.asarray(self.y, float)
        second, h = _second_derivatives(x, y), np.diff(x)
        slope = np.diff(y) / h - h * (2 * second[:-1] + second[1:]) / 6
        last = slope[-1] + h[-1] * (second[-2] + second[-1]) / 2
        inside = np.stack([y[:-1], slope, second[:-1] / 2, np.diff(second) / (6 * h)], 1)
        object.__setattr__(self, "_begins", np.concatenate([x[:1], x]))
        object.__setattr__(self, "_powers", np.concatenate([[[y[0], slope[0], 0, 0]], inside, [[y[-1], last, 0, 0]]]))

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value and slope."""
        i = np.searchsorted(self.x, x, side="right")
        u, (a, b, c, d) = x - self._begins[i], self._powers[i].T
        return a + u * (b + u * (c + u * d)), b + u * (2 * c + 3 * u * d)

    def scaled(self, factor: float) -> CubicSpline:
        return CubicSpline(self.x, factor * self.y)


JointFunction = Affine | Polynomial | PiecewiseLinear | CubicSpline


def value(function: JointFunction, x: np.ndarray) -> np.ndarray:
    """Values (...) for coordinates (..., n)."""
    return function.constant + x @ np.array(function.coefficients, float) if isinstance(function, Affine) else function.evaluate(x[..., 0])[0]


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
