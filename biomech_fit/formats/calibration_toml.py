"""Calibrations in TOML: Pose2Sim, Anipose and caliscope. One table per camera; other tables (``[metadata]``) are kept."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import tomlkit

from biomech_fit.core.camera import Camera
from biomech_fit.formats.calibration_entry import Entry, rotation_vector

_CAMERA_FIELDS = {"matrix", "distortions", "rotation", "translation", "size"}


def camera_keys(document: dict[str, Any], source: str) -> tuple[Any, dict[str, str]]:
    """The table that holds the cameras' tables (the document, or ``[cameras]`` as caliscope has it) and, by camera name, their keys in it.

    The name is the field `name`, else the key; caliscope's bare numbers become ``cam_<number>``. Cameras marked ``ignore = true`` are left out.
    """
    nested = document.get("cameras")
    parent = nested if isinstance(nested, dict) and any(_is_camera(t) for t in nested.values()) else document
    keys: dict[str, str] = {}
    for key in parent:
        table = parent[key]
        if _is_camera(table) and table.get("ignore") is not True:
            name = str(table.get("name") or (f"cam_{key}" if re.fullmatch(r"\d+", key) else key))
            if name in keys:
                raise Entry(source, name, {}).fail(f"the name is used twice, in the tables '{keys[name]}' and '{key}'")
            keys[name] = str(key)
    return parent, keys


def _is_camera(table: Any) -> bool:
    return isinstance(table, dict) and len(_CAMERA_FIELDS & table.keys()) >= 2


def read_cameras(document: dict[str, Any], source: str) -> list[Camera]:
    """Cameras of a parsed document. `InputError` names the camera and the field."""
    cameras = []
    parent, keys = camera_keys(document, source)
    for name, key in keys.items():
        table = parent[key]
        entry = Entry(source, name, table)
        size = entry.numbers(entry.need("size"), "size", (2,))
        fisheye = table.get("fisheye", False)
        if not isinstance(fisheye, bool):
            raise entry.fail("the field 'fisheye' must be true or false")
        cameras.append(
            entry.build(
                entry.size(size[0], size[1], "size"),
                entry.numbers(entry.need("matrix"), "matrix", (3, 3)),
                entry.distortion(entry.need("distortions"), "distortions", None, fisheye),
                entry.rotation(entry.need("rotation"), "rotation"),
                entry.numbers(entry.need("translation"), "translation", (3,)),
            )
        )
    return cameras


def cameras_to_toml(cameras: list[Camera], like_text: str | None = None) -> str:
    """TOML text. With `like_text` the document keeps its order, comments and unknown entries; cameras that are not given are taken out."""
    document = tomlkit.parse(like_text) if like_text else tomlkit.document()
    parent, keys = camera_keys(document, "TOML")
    given = {c.name for c in cameras}
    for key in [key for name, key in keys.items() if name not in given]:
        del parent[key]
    for camera in cameras:
        if camera.name not in keys:
            table: Any = tomlkit.table()
            table["name"] = camera.name
            parent[camera.name] = table
        table = parent[keys.get(camera.name, camera.name)]
        _set(table, "size", [float(camera.width), float(camera.height)])
        _set(table, "matrix", camera.matrix.tolist())
        _set(table, "distortions", _distortions(camera).tolist())
        as_matrix = np.size(np.array(table.get("rotation", []), dtype=object)) == 9
        _set(table, "rotation", camera.rotation.tolist() if as_matrix else rotation_vector(camera).tolist())
        _set(table, "translation", np.asarray(camera.translation).tolist())
        if camera.is_fisheye or "fisheye" in table or like_text is None:
            _set(table, "fisheye", camera.is_fisheye)
    if like_text is None:
        document["metadata"] = {"adjusted": False, "error": 0.0}
    return tomlkit.dumps(document)


def _distortions(camera: Camera) -> np.ndarray:
    """Four numbers at least, because readers of this format index them."""
    numbers = np.asarray(camera.distortion, float)
    return numbers if numbers.size else np.zeros(4)


def _set(table: Any, field: str, value: Any) -> None:
    # An entry that already says so keeps its spelling; 1e-12 is the rounding of a rotation that went through its matrix.
    if field in table:
        old, new = np.array(table[field], dtype=object), np.array(value, dtype=object)
        if old.shape == new.shape and np.allclose(old.astype(float), new.astype(float), rtol=0, atol=1e-12):
            return
    table[field] = value
