"""OpenSim's function elements -> `core.joint_function`."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.core.joint_function import Affine, CubicSpline, JointFunction, PiecewiseLinear, Polynomial
from biomech_fit.formats.osim_xml import numbers

FUNCTIONS = (
    "Constant", "LinearFunction", "PolynomialFunction", "SimmSpline", "NaturalCubicSpline", "natCubicSpline", "PiecewiseLinearFunction", "MultiplierFunction",
)  # fmt: skip
"""Element names that are read."""


def read_function(element: Element | None, inputs: int, where: str) -> JointFunction:
    """The function of `inputs` coordinates that an element is. Raises InputError, naming `where`, for another type or a malformed one."""
    if element is None:
        raise InputError(f"{where}: it has no function.")
    kind = element.tag
    if kind == "MultiplierFunction":
        inner = element.find("function")
        inside = next((e for e in (element if inner is None else inner) if e.tag != "scale"), None)
        return read_function(inside, inputs, where).scaled(float(numbers(element, "scale", where, 1, (1.0,))[0]))
    if kind == "Constant":
        return Affine((0.0,) * inputs, float(numbers(element, "value", where, 1, (0.0,))[0]))
    if kind == "LinearFunction":
        values = numbers(element, "coefficients", where, inputs + 1)
        return Affine(tuple(values[:-1].tolist()), float(values[-1]))
    if kind not in FUNCTIONS:
        raise InputError(f"{where}: the function {kind} is not supported; those read are {', '.join(f for f in FUNCTIONS if f[0].isupper())}.")
    if inputs != 1:
        raise InputError(f"{where}: {kind} takes one coordinate, not {inputs}.")
    if kind == "PolynomialFunction":
        return Polynomial(tuple(numbers(element, "coefficients", where).tolist()))
    x, y = numbers(element, "x", where), numbers(element, "y", where)
    if len(x) != len(y) or len(x) < 2 or np.any(np.diff(x) <= 0):
        raise InputError(f"{where}: {kind} needs as many <y> as <x>, two at least, with <x> ascending.")
    return PiecewiseLinear(x, y) if kind == "PiecewiseLinearFunction" else CubicSpline(x, y)
