"""Scale parameters of a body model: which bodies and axes each stretches, and their joint prior."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np

from biomech_fit.core.errors import InputError

_PRIOR_DEFAULTS = {"overall_std": 0.08, "group_std": 0.05, "left_right_std": 0.02}


def scale_matrix(model: mujoco.MjModel, entries: dict[str, Any], where: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the S scale parameters and the (nbody, 3, S) matrix of `BodyModel`.

    An entry is a list of bodies or {bodies: [...], axes: xyz, weight: 1}; a body's axes may be shared by several parameters, which add up.
    Raises InputError for an unknown body or axis.
    """
    bodies = {model.body(b).name: b for b in range(1, model.nbody)}
    matrix = np.zeros((model.nbody, 3, len(entries)))
    for column, (name, entry) in enumerate(entries.items()):
        entry = {"bodies": entry} if isinstance(entry, list) else entry
        if not isinstance(entry, dict) or not set(entry) <= {"bodies", "axes", "weight"} or not isinstance(entry.get("bodies"), list) or not entry["bodies"]:
            raise InputError(f"In {where}, scales: {name} must be {{bodies: [NAME, ...]}}, with axes (some of xyz) and weight if wanted.")
        axes, weight = str(entry.get("axes", "xyz")), entry.get("weight", 1.0)
        if not axes or not set(axes) <= set("xyz"):
            raise InputError(f"In {where}, scales: {name}.axes is {axes!r}; it must be some of the letters x, y, z.")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight == 0:
            raise InputError(f"In {where}, scales: {name}.weight is {weight!r}; it must be a number other than 0.")
        for body in entry["bodies"]:
            if body not in bodies:
                raise InputError(f"In {where}, scales: {name} names the body {body}, which the MJCF lacks; it has {', '.join(bodies)}.")
            for axis in set(axes):
                matrix[bodies[body], "xyz".index(axis), column] += weight
    return tuple(entries), matrix


def scale_precision(names: tuple[str, ...], entries: dict[str, Any], where: str) -> np.ndarray:
    """(S, S) inverse covariance of the scale parameters.

    Each parameter is overall size + its own deviation; the deviations of a pair (thigh_r, thigh_l) differ by `left_right_std` only:
    cov = overall^2 11' + group^2 I, with group^2 - left_right^2 / 2 off the diagonal within a pair.
    """
    unknown = sorted(set(entries) - set(_PRIOR_DEFAULTS))
    if unknown:
        raise InputError(f"In {where}, scale_prior has {unknown[0]}; known are {', '.join(_PRIOR_DEFAULTS)}.")
    values = _PRIOR_DEFAULTS | entries
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
            raise InputError(f"In {where}, scale_prior: {key} is {value!r}; it must be a number above 0.")
    if values["left_right_std"] >= 2 * values["group_std"]:
        raise InputError(f"In {where}, scale_prior: left_right_std must be below twice group_std.")
    group, difference = values["group_std"] ** 2, values["left_right_std"] ** 2
    covariance = np.full((len(names), len(names)), values["overall_std"] ** 2) + group * np.eye(len(names))
    for a, name in enumerate(names):
        partner = name[:-2] + "_l"
        if name.endswith("_r") and partner in names:
            b = names.index(partner)
            covariance[a, b] += group - difference / 2
            covariance[b, a] += group - difference / 2
    return np.linalg.inv(covariance) if len(names) else np.zeros((0, 0))
