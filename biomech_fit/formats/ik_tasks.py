"""OpenSim's task sets of inverse kinematics: weights of markers and values that coordinates are drawn to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from biomech_fit.core.errors import InputError
from biomech_fit.core.linkage import Linkage
from biomech_fit.core.marker_cost import CoordinateGoal
from biomech_fit.formats.osim_xml import flag, numbers, text
from biomech_fit.formats.safe_read import parse_xml, read_text


@dataclass(frozen=True)
class IkTasks:
    marker_weights: dict[str, float]
    """Of markers whose task applies; others have none."""
    goals: tuple[CoordinateGoal, ...]


def read_ik_tasks(path: str | Path, linkage: Linkage) -> IkTasks:
    """Tasks of an IKTaskSet, in a file of its own or inside a setup file. Those with <apply> false are left out.

    Raises InputError for a file without a task set, a coordinate that the model lacks, and values from a file.
    """
    root = parse_xml(read_text(path), path)
    tasks = root if root.tag == "IKTaskSet" else next(root.iter("IKTaskSet"), None)
    if tasks is None:
        raise InputError(f"'{path}' has no <IKTaskSet>.")
    weights: dict[str, float] = {}
    goals: list[CoordinateGoal] = []
    for kind in ("IKMarkerTask", "IKCoordinateTask"):
        for task in tasks.iter(kind):
            name = task.get("name", "")
            where = f"'{path}', {kind} {name}"
            weight = float(numbers(task, "weight", where, 1, (1.0,))[0])
            if not flag(task, "apply", True) or weight == 0:
                continue
            if weight < 0:
                raise InputError(f"{where}: the weight is {weight:g}; it must be 0 or more.")
            if kind == "IKMarkerTask":
                weights[name] = weight
                continue
            if name not in linkage.coordinate_names:
                raise InputError(f"{where}: the model has no such coordinate; it has {', '.join(linkage.coordinate_names)}.")
            said = text(task, "value_type", "default_value")
            if said not in ("default_value", "manual_value"):
                raise InputError(f"{where}: the value type '{said}' is not supported; those read are default_value and manual_value.")
            default = linkage.default[linkage.index(name)]
            goals.append(CoordinateGoal(name, weight, float(numbers(task, "value", where, 1, (0.0,))[0]) if said == "manual_value" else float(default)))
    return IkTasks(weights, tuple(goals))
