"""Calibrations in YAML: OpenCV's FileStorage and sensor_msgs/CameraInfo. Layouts: docs/formats.md."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from biomech_fit.config.yaml_data import parse_yaml
from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.formats.calibration_entry import Entry, rotation_vector
from biomech_fit.formats.safe_read import read_text
from biomech_fit.formats.yaml_splice import with_numbers

_MATRIX = ("camera_matrix", "K", "k", "intrinsic_matrix", "Camera_Matrix", "matrix")
_DISTORTION = ("distortion_coefficients", "D", "d", "dist_coeffs", "Distortion_Coefficients", "distortion", "distortions")
_MODEL = ("distortion_model", "camera_model")
_WIDTH, _HEIGHT = ("image_width", "width", "image_Width"), ("image_height", "height", "image_Height")
_ROTATION = ("rotation", "rotation_matrix", "rotation_vector", "rvec", "Rot", "R")
_TRANSLATION = ("translation", "translation_vector", "tvec", "T", "t")
_MAX_MATRIX_ENTRIES = 4096
EXTRINSICS_FILE = "extrinsics.yaml"


class OpenCVLoader(yaml.SafeLoader):
    """PyYAML's safe loader plus the one tag that OpenCV writes."""


class OpenCVDumper(yaml.SafeDumper):
    """Writes numpy matrices as OpenCV does."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)  # OpenCV wants list items indented


def _load_matrix(loader: yaml.SafeLoader, node: yaml.Node) -> np.ndarray:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("an opencv-matrix must have rows, cols and data")
    values = loader.construct_mapping(node, deep=True)
    try:
        rows, cols = int(values["rows"]), int(values["cols"])
        if len(values["data"]) > _MAX_MATRIX_ENTRIES or any(isinstance(v, list) for v in values["data"]):
            raise TypeError
        data = np.array(values["data"], float)
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"an opencv-matrix needs rows, cols and data as numbers{node.start_mark}") from None
    if rows < 1 or cols < 1 or rows * cols != data.size:
        raise ValueError(f"an opencv-matrix says {rows} x {cols} but has {data.size} numbers{node.start_mark}")
    return data.reshape(rows, cols)


def _dump_matrix(dumper: yaml.SafeDumper, value: np.ndarray) -> yaml.Node:
    rows, cols = (value.shape[0], value.shape[1]) if value.ndim == 2 else (value.size, 1)
    data = dumper.represent_sequence("tag:yaml.org,2002:seq", [float(v) for v in value.reshape(-1)], flow_style=True)
    items = [(dumper.represent_data(k), dumper.represent_data(v)) for k, v in (("rows", rows), ("cols", cols), ("dt", "d"))]
    return yaml.MappingNode("tag:yaml.org,2002:opencv-matrix", [*items, (dumper.represent_data("data"), data)], flow_style=False)


OpenCVLoader.add_constructor("tag:yaml.org,2002:opencv-matrix", _load_matrix)
OpenCVDumper.add_representer(np.ndarray, _dump_matrix)


@dataclass(eq=False)
class YamlDocuments:
    """What was read: per file its text and document, and where each camera is in it (path of keys). Writing starts from this."""

    texts: dict[str, str] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    places: dict[str, tuple[str, tuple[str | int, ...]]] = field(default_factory=dict)
    extrinsics: str | None = None
    opencv: bool = False


def read_yaml_files(files: list[Path], source: str) -> tuple[list[Camera], YamlDocuments]:
    """Cameras of one file, or of all YAML files of a folder; a file named ``extrinsics.yaml`` gives their poses by camera name."""
    return _read_texts({path: read_text(path) for path in files}, source)


def _read_texts(texts: dict[Path, str], source: str) -> tuple[list[Camera], YamlDocuments]:
    raw, entries, poses = YamlDocuments(), {}, {}
    for path, text in texts.items():
        document = parse_yaml(text, path, OpenCVLoader)
        raw.opencv |= "!!opencv-matrix" in text or text.startswith("%YAML:1.0")
        if path.stem.lower() == "extrinsics":
            if not isinstance(document, dict):
                raise InputError(f"Calibration '{path}': it must be a list of camera names with rotation and translation each.")
            poses = {str(k): v for k, v in document.items() if isinstance(v, dict)}
            raw.extrinsics = path.name
            raw.texts[path.name], raw.documents[path.name] = text, document
            continue
        found = _camera_entries(document, path)
        if found:
            raw.texts[path.name], raw.documents[path.name] = text, document
        for name, keys, entry in found:
            if name in entries:
                raise Entry(source, name, {}).fail(f"the camera is given twice, in '{raw.places[name][0]}' and '{path.name}'")
            entries[name], raw.places[name] = entry, (path.name, keys)
    return [_camera(source, name, entry, poses.get(name)) for name, entry in entries.items()], raw


def _camera_entries(document: Any, path: Path) -> list[tuple[str, tuple[str | int, ...], dict[str, Any]]]:
    """(name, keys, entry) of each camera in one document."""
    if not isinstance(document, dict):
        return []
    if any(k in document for k in _MATRIX):
        header = document.get("header")
        frame = header.get("frame_id") if isinstance(header, dict) else None
        return [(str(document.get("camera_name") or document.get("name") or frame or path.stem), (), document)]
    cameras = document.get("cameras")
    if isinstance(cameras, list):
        named = [(("cameras", i), e, None) for i, e in enumerate(cameras)]
    elif isinstance(cameras, dict):
        named = [(("cameras", k), e, k) for k, e in cameras.items()]
    else:
        named = [((k,), e, k) for k, e in document.items() if isinstance(e, dict) and any(f in e for f in (*_MATRIX, *_DISTORTION))]
    found = []
    for keys, entry, key in named:
        if not isinstance(entry, dict):
            raise InputError(f"Calibration '{path}': the entry {keys[-1]!r} of 'cameras' is not a camera.")
        name = entry.get("camera_name") or entry.get("name") or key
        if not name:
            raise InputError(f"Calibration '{path}': camera number {keys[-1]} of 'cameras' has no field 'name'.")
        found.append((str(name), keys, entry))
    return found


def _camera(source: str, name: str, values: dict[str, Any], pose: dict[str, Any] | None) -> Camera:
    entry = Entry(source, name, values)
    size = entry.size(entry.need(*_WIDTH), entry.need(*_HEIGHT), "image_width, image_height")
    matrix = entry.numbers(entry.need(*_MATRIX), "camera_matrix", (3, 3))
    model, fisheye = entry.find(*_MODEL), bool(entry.find("fisheye"))
    lens = entry.distortion(entry.find(*_DISTORTION), "distortion_coefficients", None if model == "pinhole" else model, fisheye)
    where = Entry(source, name, pose) if pose is not None else entry
    names = _rotation_names(values, pose is not None)
    if where.find("quaternion_xyzw") is not None:
        rotation = where.quaternion_xyzw(where.find("quaternion_xyzw"), "quaternion_xyzw")
    elif where.find(*names) is None:
        raise entry.fail(f"the field 'rotation' is missing (neither in its entry nor in {EXTRINSICS_FILE})")
    else:
        rotation = where.rotation(where.find(*names), "rotation")
    return entry.build(size, matrix, lens, rotation, where.numbers(where.need(*_TRANSLATION), "translation", (3,)))


def texts_with_poses(cameras: list[Camera], like: YamlDocuments) -> dict[str, str] | None:
    """File name -> text as it was read with new poses in it, each written as it was (vector, matrix or quaternion).

    None where more than poses has changed, or where the text does not allow it.
    """
    loaded = {camera.name: camera for camera in _read_texts({Path(name): text for name, text in like.texts.items()}, "")[0]}
    if {camera.name for camera in cameras} != loaded.keys() or any(not _same_lens(camera, loaded[camera.name]) for camera in cameras):
        return None
    changes: dict[str, list[tuple[tuple[str | int, ...], list[float]]]] = {name: [] for name in like.texts}
    for camera in cameras:
        if _same_pose(camera, loaded[camera.name]):
            continue
        file, keys = like.places[camera.name]
        if like.extrinsics is not None and camera.name in like.documents[like.extrinsics]:
            file, keys = like.extrinsics, (camera.name,)
        entry = like.documents[file]
        for key in keys:
            entry = entry[key]
        rotation = next((name for name in ("quaternion_xyzw", *_rotation_names(entry, file == like.extrinsics)) if entry.get(name) is not None), "")
        translation = next(name for name in _TRANSLATION if entry.get(name) is not None)
        changes[file] += [((*keys, rotation), _rotation_as(entry[rotation], rotation, camera)), ((*keys, translation), camera.translation.tolist())]
    texts = {name: with_numbers(text, changes[name]) for name, text in like.texts.items()}
    written = {name: text for name, text in texts.items() if text is not None}
    if len(written) != len(texts):
        return None
    again = {camera.name: camera for camera in _read_texts({Path(name): text for name, text in written.items()}, "")[0]}
    return written if all(_same_pose(camera, again[camera.name]) for camera in cameras) else None


def _same_lens(a: Camera, b: Camera) -> bool:
    size = (a.width, a.height, a.distortion_model) == (b.width, b.height, b.distortion_model)
    return size and np.array_equal(a.matrix, b.matrix) and np.array_equal(a.distortion, b.distortion)


def _same_pose(a: Camera, b: Camera) -> bool:
    """To the rounding of a rotation that was written in another form."""
    return bool(np.allclose(a.rotation, b.rotation, rtol=0, atol=1e-12) and np.allclose(a.translation, b.translation, rtol=0, atol=1e-12))


def _rotation_names(entry: dict[str, Any], is_pose: bool) -> tuple[str, ...]:
    # In a CameraInfo message R is the rectification.
    return _ROTATION if is_pose or not ({"P", "p", "projection_matrix"} & entry.keys()) else _ROTATION[:-1]


def _rotation_as(value: Any, name: str, camera: Camera) -> list[float]:
    """The camera's rotation in the form in which `value` has one."""
    if name == "quaternion_xyzw":
        return Rotation.from_matrix(camera.rotation).as_quat().tolist()
    data = value.get("data") if isinstance(value, dict) else value
    return (camera.rotation if np.size(data) == 9 else rotation_vector(camera)).reshape(-1).tolist()


def opencv_documents(cameras: list[Camera], like: YamlDocuments | None, one_file: str | None) -> dict[str, str]:
    """File name -> text in OpenCV's layout: `one_file` with all cameras, or else one file per camera."""
    if like is not None and like.opencv:
        documents = copy.deepcopy(like.documents)
        poses = documents.get(like.extrinsics or "", {})
        for camera in cameras:
            file, keys = like.places.get(camera.name, (_file_name(camera), ()))
            entry = documents.setdefault(file, {"name": camera.name})
            for key in keys:
                entry = entry[key]
            _fill_opencv(entry, camera, with_pose=camera.name not in poses)
            if camera.name in poses:
                _fill_pose(poses[camera.name], camera, True)
        if one_file and len(documents) == 1:
            documents = {one_file: next(iter(documents.values()))}
    elif one_file:
        documents = {one_file: {"cameras": [_fill_opencv({"name": c.name}, c) for c in cameras]}}
    else:
        documents = {_file_name(c): _fill_opencv({"name": c.name}, c) for c in cameras}
    return {name: "%YAML:1.0\n---\n" + _dump(document) for name, document in documents.items()}


def camera_info_documents(cameras: list[Camera], like: YamlDocuments | None) -> dict[str, str]:
    """File name -> text: one camera_calibration file per camera and ``extrinsics.yaml``, or the poses beside the intrinsics where they were read there."""
    documents = copy.deepcopy(like.documents) if like is not None and not like.opencv else {}
    apart = like is None or like.opencv or like.extrinsics is not None
    poses = documents.setdefault((like.extrinsics if like is not None else None) or EXTRINSICS_FILE, {}) if apart else {}
    for camera in cameras:
        file, keys = like.places.get(camera.name, (_file_name(camera), ())) if like is not None else (_file_name(camera), ())
        entry = documents.setdefault(file, {})
        for key in keys:
            entry = entry[key]
        _fill_camera_info(entry, camera)
        _fill_pose(poses.setdefault(camera.name, {}) if apart else entry, camera, apart)
    return {name: _dump(document) for name, document in documents.items()}


def _file_name(camera: Camera) -> str:
    return re.sub(r"[^\w.-]+", "_", camera.name).lstrip(".") + ".yaml"


def _fill_opencv(entry: dict[str, Any], camera: Camera, with_pose: bool = True) -> dict[str, Any]:
    def put(names: tuple[str, ...], value: Any) -> None:
        entry[next((n for n in names if n in entry), names[0])] = value

    put(_WIDTH, camera.width)
    put(_HEIGHT, camera.height)
    put(_MATRIX, np.asarray(camera.matrix, float))
    put(_MODEL, camera.distortion_model)
    put(_DISTORTION, np.asarray(camera.distortion if len(camera.distortion) else np.zeros(4), float).reshape(1, -1))
    if with_pose:
        entry.pop("quaternion_xyzw", None)  # it would win over the matrix
        put(_ROTATION, np.asarray(camera.rotation, float))
        put(_TRANSLATION, np.asarray(camera.translation, float).reshape(3, 1))
    return entry


def _fill_camera_info(entry: dict[str, Any], camera: Camera) -> None:
    m, d = np.asarray(camera.matrix, float), [float(v) for v in camera.distortion]
    model = "plumb_bob" if camera.distortion_model == "none" else camera.distortion_model  # the message knows no 'none'
    d = d or [0.0] * 5
    k, r, p = m.reshape(-1).tolist(), np.eye(3).reshape(-1).tolist(), np.column_stack([m, np.zeros(3)]).reshape(-1).tolist()
    if "k" in entry or "K" in entry:  # the message's own fields
        case = str.upper if "K" in entry else str.lower
        entry.update({"height": camera.height, "width": camera.width, "distortion_model": model, case("d"): d, case("k"): k})
        return
    entry.setdefault("camera_name", camera.name)
    entry.update(image_width=camera.width, image_height=camera.height, camera_matrix={"rows": 3, "cols": 3, "data": k})
    entry.update(distortion_model=model, distortion_coefficients={"rows": 1, "cols": len(d), "data": d})
    entry.setdefault("rectification_matrix", {"rows": 3, "cols": 3, "data": r})
    entry.setdefault("projection_matrix", {"rows": 3, "cols": 4, "data": p})


def _fill_pose(pose: dict[str, Any], camera: Camera, is_pose: bool) -> None:
    for name in ("quaternion_xyzw", *_rotation_names(pose, is_pose), *_TRANSLATION):
        pose.pop(name, None)
    pose["rotation"] = [float(v) for v in rotation_vector(camera)]
    pose["translation"] = [float(v) for v in camera.translation]


def _dump(document: Any) -> str:
    return yaml.dump(document, Dumper=OpenCVDumper, sort_keys=False, default_flow_style=None, width=150)
