"""Body models: an MJCF and the YAML beside it that names keypoints, scale groups and priors -> `BodyModel`. docs/models.md describes the YAML."""

from __future__ import annotations

import difflib
import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from biomech_fit.config.paths import config_directory
from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.formats.model_scales import scale_matrix, scale_precision
from biomech_fit.formats.osim_body import read_osim_body
from biomech_fit.formats.resources import read_yaml

DEFAULT_MODEL = "biomech_body"
ROOT_COORDINATES = ("pelvis_tx", "pelvis_ty", "pelvis_tz", "pelvis_tilt", "pelvis_list", "pelvis_rotation")
_ALLOWED_KEYS = {
    "name", "mjcf", "facing", "coordinates", "offset_std", "keypoints", "keypoint_sets", "joint_centres", "segments", "scales",
    "scale_prior", "priors", "foot_points",
}  # fmt: skip
_PRIOR_DEFAULTS = {"pose_mean": 0.0, "pose_std": math.inf, "jerk_std": 120.0, "acceleration_std": 10.0}


def body_model_names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.stem for path in (config_directory() / "models").glob("*.yaml"))


def load_body_model(path_or_name: str | Path | None, keypoint_set: KeypointSet) -> BodyModel:
    """The body model with the keypoints of `keypoint_set`.

    `path_or_name` is None (the built-in body), the name of a model that comes with the package, an MJCF (.xml; its YAML has the same
    name or is the only one beside it), a model's YAML, or an OpenSim model (.osim; a YAML beside it is
    optional). The model's neutral pose (qpos0) stands upright in the z-up world and faces +x.
    Raises InputError for a missing file, an MJCF that does not compile, unsupported joints, and any entry of the YAML that is not right.
    """
    is_osim = str(path_or_name).lower().endswith(".osim")
    if is_osim:
        mjcf_path = Path(str(path_or_name))
        model, content, yaml_path = read_osim_body(mjcf_path, keypoint_set)
    else:
        yaml_path = _yaml_of(path_or_name)
        content = read_yaml(yaml_path, "body model")
    where = f"body model {yaml_path}"
    unknown = sorted(set(map(str, content)) - _ALLOWED_KEYS)
    if unknown:
        raise InputError(f"In {where}, {unknown[0]} is not a known entry{_close(unknown[0], _ALLOWED_KEYS)}.")
    if not is_osim:
        mjcf_path = Path(path_or_name) if path_or_name is not None and str(path_or_name).lower().endswith(".xml") else _mjcf_of(content, yaml_path)
        model = _compile(mjcf_path)
    _check_joints(model, mjcf_path)
    reader = _Places(model, where)
    _face_x(model, content.get("facing", "x"), where)

    coordinates = _coordinate_names(model, _mapping(content, "coordinates", where), where)
    default_std = positive(content.get("offset_std", 0.015), f"In {where}, offset_std")
    body, position, std = _keypoints(content, keypoint_set, reader, where, default_std)
    centres = {name: reader.place(name, entry, "joint_centres") for name, entry in _mapping(content, "joint_centres", where).items()}
    segments = _segments(_mapping(content, "segments", where), centres, where)
    scales = _mapping(content, "scales", where)
    scale_names, matrix = scale_matrix(model, scales, where)
    lower, upper = _ranges(model)
    priors = _priors(_mapping(content, "priors", where), coordinates, where)
    return BodyModel(
        name=str(content.get("name", yaml_path.stem)),
        mj_model=model,
        coordinate_names=coordinates,
        scale_names=scale_names,
        scale_matrix=matrix,
        scale_precision=scale_precision(scale_names, _mapping(content, "scale_prior", where), where),
        keypoint_names=keypoint_set.names,
        keypoint_body=body,
        keypoint_position=position,
        keypoint_offset_std=std,
        keypoint_offset_default=default_std,
        joint_centre_names=tuple(centres),
        joint_centre_body=np.array([place.body for place in centres.values()], dtype=int),
        joint_centre_position=np.array([place.position for place in centres.values()]).reshape(-1, 3),
        segments=segments,
        lower=lower,
        upper=upper,
        foot_points={name: _foot(reader.place(name, entry, "foot_points")) for name, entry in _mapping(content, "foot_points", where).items()},
        **priors,
    )


@dataclass(frozen=True)
class _Place:
    body: int
    position: np.ndarray
    offset_std: float | None


class _Places:
    """Reads entries like {body: tibia_r, position: [0, 0, 0]} or {site: knee_r}."""

    def __init__(self, model: mujoco.MjModel, where: str) -> None:
        self.model, self.where = model, where
        self.bodies = {model.body(b).name: b for b in range(1, model.nbody) if model.body(b).name}
        self.sites = {model.site(s).name: s for s in range(model.nsite) if model.site(s).name}

    def place(self, name: str, entry: Any, section: str) -> _Place:
        label = f"In {self.where}, {section}: {name}"
        if isinstance(entry, str):
            entry = {"site": entry}
        if not isinstance(entry, dict) or not set(entry) <= {"body", "site", "position", "offset_std"} or ("body" in entry) == ("site" in entry):
            raise InputError(f"{label} must be {{body: NAME, position: [x, y, z]}} or {{site: NAME}}, with offset_std if wanted.")
        std = entry.get("offset_std")
        if std is not None:
            std = positive(std, f"{label}.offset_std")
        if "site" in entry:
            site = self.sites.get(str(entry["site"]))
            if site is None:
                raise InputError(f"{label} names the site {entry['site']}, which the MJCF lacks{_close(str(entry['site']), self.sites)}.")
            body, position = int(self.model.site_bodyid[site]), self.model.site_pos[site].copy()
            if "position" in entry:
                raise InputError(f"{label} gives both a site and a position; give one of them.")
        else:
            body = self.bodies.get(str(entry["body"]), 0)
            if body == 0:
                raise InputError(f"{label} names the body {entry['body']}, which the MJCF lacks{_close(str(entry['body']), self.bodies)}.")
            position = vector(entry.get("position", [0, 0, 0]), f"{label}.position")
        return _Place(body, position, std)


def positive(value: Any, label: str) -> float:
    """A finite number above zero, or InputError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise InputError(f"{label} is {value!r}; it must be a number above 0.")
    return float(value)


def vector(value: Any, label: str) -> np.ndarray:
    """Three finite numbers, or InputError."""
    good = isinstance(value, (list, tuple)) and len(value) == 3 and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value)
    if not good or not np.all(np.isfinite(value)):
        raise InputError(f"{label} is {value!r}; it must be three numbers (m).")
    return np.array(value, dtype=float)


def _close(name: str, choices: Any) -> str:
    choices = list(map(str, choices))
    near = difflib.get_close_matches(name, choices, n=5, cutoff=0.5) or sorted(choices)
    more = ", ..." if len(near) > 12 else ""
    return f"; the closest names are {', '.join(near[:12])}{more}" if near else "; it has none"


def _mapping(content: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = content.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"In {where}, {key} must be a mapping of names to values.")
    return {str(name): entry for name, entry in value.items()}


def _yaml_of(path_or_name: str | Path | None) -> Path:
    text = DEFAULT_MODEL if path_or_name is None else str(path_or_name)
    path = Path(text)
    if text.lower().endswith((".yaml", ".yml")):
        return path
    if text.lower().endswith(".xml"):
        if not path.is_file():
            raise InputError(f"The body model file {path} does not exist.")
        for candidate in (path.with_suffix(".yaml"), path.with_suffix(".yml")):
            if candidate.is_file():
                return candidate
        raise InputError(f"The model {path} needs a YAML beside it, {path.with_suffix('.yaml').name}, that places the keypoints (see docs/models.md).")
    built_in = config_directory() / "models" / f"{text}.yaml"
    if not built_in.is_file():
        raise InputError(f'Unknown body model "{text}"; choose one of {", ".join(body_model_names())} or give an MJCF (.xml), a model\'s .yaml or an .osim.')
    return built_in


def _mjcf_of(content: dict[str, Any], yaml_path: Path) -> Path:
    entry = str(content.get("mjcf", yaml_path.with_suffix(".xml").name))
    if not entry.startswith("package://"):
        return yaml_path.parent / entry
    package, _, inside = entry.removeprefix("package://").partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"The body model {yaml_path} takes its MJCF from the Python package {package}, which is not installed (pip install {package}).")
    return Path(next(iter(spec.submodule_search_locations))) / inside


def _compile(path: Path) -> mujoco.MjModel:
    if not path.is_file():
        raise InputError(f"The MJCF {path} does not exist.")
    try:
        return mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise InputError(f"MuJoCo cannot compile {path}: {' '.join(str(error).split())}") from None


def _check_joints(model: mujoco.MjModel, path: Path) -> None:
    for j in range(model.njnt):
        kind, body = model.jnt_type[j], int(model.jnt_bodyid[j])
        name = model.joint(j).name or f"number {j}"
        if kind == mujoco.mjtJoint.mjJNT_BALL:
            raise InputError(f"The joint {name} of {path} is a ball joint; replace it by three hinges.")
        if kind == mujoco.mjtJoint.mjJNT_FREE and (j != 0 or model.body_parentid[body] != 0):
            raise InputError(f"The joint {name} of {path} is a free joint that is not the root; only the root body may have one.")
    if model.njnt == 0:
        raise InputError(f"The model {path} has no joints.")


def _face_x(model: mujoco.MjModel, facing: Any, where: str) -> None:
    """Turn the neutral root about z so that the person, who faces `facing` in the MJCF, faces +x."""
    turns = {"x": 0.0, "y": -90.0, "-x": 180.0, "-y": 90.0}
    if str(facing) not in turns:
        raise InputError(f"In {where}, facing is {facing!r}; choose the world axis that the person faces in the MJCF: {', '.join(turns)}.")
    if model.jnt_type[0] != mujoco.mjtJoint.mjJNT_FREE:
        return
    half = math.radians(turns[str(facing)]) / 2
    turn, turned = np.array([math.cos(half), 0.0, 0.0, math.sin(half)]), np.zeros(4)
    mujoco.mju_mulQuat(turned, turn, model.qpos0[3:7])
    model.qpos0[3:7] = turned


def _coordinate_names(model: mujoco.MjModel, renames: dict[str, Any], where: str) -> tuple[str, ...]:
    joints = {model.joint(j).name or f"joint_{j}": j for j in range(model.njnt)}
    for name in renames:
        if name not in joints:
            raise InputError(f"In {where}, coordinates renames the joint {name}, which the MJCF lacks{_close(name, joints)}.")
    names: list[str] = []
    for name, j in joints.items():
        names += ROOT_COORDINATES if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE else (str(renames.get(name, name)),)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"In {where}, two coordinates are called {repeated[0]}.")
    return tuple(names)


def _keypoints(
    content: dict[str, Any], keypoint_set: KeypointSet, reader: _Places, where: str, default_std: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    general = _mapping(content, "keypoints", where)
    special = _mapping(_mapping(content, "keypoint_sets", where), keypoint_set.name, where)
    body = np.full(len(keypoint_set), -1, dtype=int)
    position, std = np.zeros((len(keypoint_set), 3)), np.full(len(keypoint_set), default_std)
    for k in range(len(keypoint_set)):
        for candidate in keypoint_set.names_of(k):
            entry = special.get(candidate, general.get(candidate))
            if entry is not None:
                place = reader.place(candidate, entry, "keypoints")
                body[k], position[k], std[k] = place.body, place.position, place.offset_std or default_std
                break
    if not np.any(body >= 0):
        raise InputError(f"In {where}, none of the keypoints of {keypoint_set.name} has a place; keypoints has {', '.join(list(general)[:8]) or 'no entry'}.")
    return body, position, std


def _segments(entries: dict[str, Any], centres: dict[str, _Place], where: str) -> dict[str, tuple[str, str]]:
    for name, pair in entries.items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise InputError(f"In {where}, segments: {name} must be a pair of joint centres.")
        for end in pair:
            if end not in centres:
                raise InputError(f"In {where}, segments: {name} names {end}, which is not among joint_centres{_close(str(end), centres)}.")
    return {name: (pair[0], pair[1]) for name, pair in entries.items()}


def _ranges(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = np.full(model.nv, -np.inf), np.full(model.nv, np.inf)
    for j in range(model.njnt):
        if model.jnt_limited[j] and model.jnt_type[j] != mujoco.mjtJoint.mjJNT_FREE:
            lower[model.jnt_dofadr[j]], upper[model.jnt_dofadr[j]] = model.jnt_range[j]
    return lower, upper


def _priors(entries: dict[str, Any], coordinates: tuple[str, ...], where: str) -> dict[str, np.ndarray]:
    known = {"default", *coordinates, *(name[:-2] for name in coordinates if name.endswith(("_r", "_l")))}
    for name, values in entries.items():
        if name not in known:
            raise InputError(f"In {where}, priors names the coordinate {name}, which the model lacks{_close(name, coordinates)}.")
        if not isinstance(values, dict) or not set(values) <= set(_PRIOR_DEFAULTS):
            raise InputError(f"In {where}, priors: {name} must be a mapping with some of {', '.join(_PRIOR_DEFAULTS)}.")
        for key, value in values.items():
            if key == "pose_mean":
                if not isinstance(value, (int, float)) or not math.isfinite(value):
                    raise InputError(f"In {where}, priors: {name}.{key} is {value!r}; it must be a number.")
            elif not (key == "pose_std" and value == math.inf):
                positive(value, f"In {where}, priors: {name}.{key}")
    table: dict[str, list[float]] = {key: [] for key in _PRIOR_DEFAULTS}
    for name in coordinates:
        side_free = name[:-2] if name.endswith(("_r", "_l")) else name
        values = _PRIOR_DEFAULTS | entries.get("default", {}) | entries.get(side_free, {}) | entries.get(name, {})
        if name in ROOT_COORDINATES:
            values = values | {"pose_mean": 0.0, "pose_std": math.inf}
        for key in table:
            table[key].append(float(values[key]))
    return {key: np.array(column) for key, column in table.items()}


def _foot(place: _Place) -> tuple[int, np.ndarray]:
    return place.body, place.position
