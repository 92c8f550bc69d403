"""An OpenSim model as what `formats.model` builds a body from: its MJCF, and the YAML beside it or one made from its names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco

from biomech_fit.config.paths import config_directory
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.formats.osim import read_osim
from biomech_fit.formats.osim_to_mjcf import compiled, convert
from biomech_fit.formats.resources import read_yaml

_CENTRE_OFFSET_STD = 0.03
"""m: how far a detector's point may lie from the joint centre of the same name."""


def read_osim_body(path: Path, keypoint_set: KeypointSet) -> tuple[mujoco.MjModel, dict[str, Any], Path]:
    """The tree, the content of its YAML, and the file that stands for it in messages. Markers are the tree's sites.

    Without a YAML beside the model: keypoints are the markers of their name, else the joint centres of that name; scales, segments and
    priors are those of the built-in body for what has its names. Raises InputError for what cannot be read or tracked, and where no keypoint has a place.
    """
    model = compiled(convert(read_osim(path)), f"'{path}'")
    for beside in (path.with_suffix(".yaml"), path.with_suffix(".yml")):
        if beside.is_file():
            return model, read_yaml(beside, "body model"), beside
    return model, _by_names(model, keypoint_set, path), path


def _by_names(model: mujoco.MjModel, keypoint_set: KeypointSet, path: Path) -> dict[str, Any]:
    known = read_yaml(config_directory() / "models" / "biomech_body.yaml", "body model")
    bodies = {model.body(b).name: b for b in range(1, model.nbody)}
    sites = {model.site(s).name for s in range(model.nsite)}
    centres = {
        name: {"body": entry["body"], "position": _joint_position(model, bodies[entry["body"]])}
        for name, entry in known["joint_centres"].items()
        if entry["body"] in bodies and not any(entry["position"])
    }
    keypoints = _keypoints(keypoint_set, sites, centres)
    if not keypoints:
        raise InputError(
            f"'{path}': no marker is called like a keypoint of {keypoint_set.name} ({', '.join(keypoint_set.names[:4])}, ...); "
            f"{path.with_suffix('.yaml').name} beside it can say where they are (docs/osim.md)."
        )
    return {
        "name": path.stem,
        "keypoints": keypoints,
        "joint_centres": centres,
        "segments": {name: ends for name, ends in known["segments"].items() if set(ends) <= set(centres)},
        "scales": {name: entry | {"bodies": has} for name, entry in known["scales"].items() if (has := [b for b in entry["bodies"] if b in bodies])},
        "scale_prior": known["scale_prior"],
        "priors": _priors(model, known["priors"]),
        "foot_points": {point: {"site": marker} for point, marker in _soles(sites).items()},
    }


def _priors(model: mujoco.MjModel, known: dict[str, Any]) -> dict[str, Any]:
    """The built-in body's priors of the coordinates that are there. A mean out of the range counts the other way (Gait2392's knee is negative in flexion)."""
    joints = {model.joint(j).name: j for j in range(model.njnt)}
    priors: dict[str, Any] = {}
    for name, values in known.items():
        j = next((joints[n] for n in (name, f"{name}_r", f"{name}_l") if n in joints), None)
        if j is not None and "pose_mean" in values and model.jnt_limited[j]:
            lower, upper = model.jnt_range[j]
            values = values | {"pose_mean": values["pose_mean"] * (1 if lower <= values["pose_mean"] <= upper else -1)}
        if j is not None or name == "default" or name.startswith("pelvis_"):
            priors[name] = values
    return priors


def _joint_position(model: mujoco.MjModel, body: int) -> list[float]:
    """Where the body's last joint is in it; its origin where it has none."""
    joints = model.body_jntnum[body]
    return model.jnt_pos[model.body_jntadr[body] + joints - 1].tolist() if joints and model.body_parentid[body] else [0.0, 0.0, 0.0]


def _keypoints(keypoint_set: KeypointSet, sites: set[str], centres: dict[str, Any]) -> dict[str, Any]:
    places: dict[str, Any] = {}
    for k, name in enumerate(keypoint_set.names):
        marker = next((n for n in keypoint_set.names_of(k) if n in sites), None)
        if marker is not None:
            places[name] = {"site": marker}
        elif name in centres:
            places[name] = centres[name] | {"offset_std": _CENTRE_OFFSET_STD}
    return places


def _soles(sites: set[str]) -> dict[str, str]:
    pairs = {f"{side}{point}": f"{side}{marker}" for side in "LR" for point, marker in (("Heel", "Heel"), ("Toe", "BigToe"))}
    return {point: marker for point, marker in pairs.items() if marker in sites}
