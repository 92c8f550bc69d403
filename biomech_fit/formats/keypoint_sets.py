"""Keypoint sets by name or from a YAML file: names in the detector's order, bones, left-right partners, other names for the same point."""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path
from typing import Any

from biomech_fit.config.paths import config_directory
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.formats.resources import read_yaml

_ALLOWED_KEYS = {"name", "names", "edges", "mirror_pairs", "aliases", "also_called"}
_LARGEST_SET = 1000

BY_COUNT = {17: "coco_17", 18: "coco_18", 25: "body_25", 26: "halpe_26", 87: "movi_87", 133: "coco_wholebody_133"}
"""The set assumed when only the number of points is known. 25 is BODY_25; BODY_25B must be named (Pose2Sim's pose_model does)."""


def keypoint_set_names() -> list[str]:
    """Names of the sets that come with the package."""
    return sorted(path.stem for path in (config_directory() / "keypoint_sets").glob("*.yaml"))


def load_keypoint_set(name_or_path: str | Path) -> KeypointSet:
    """A keypoint set by name ("halpe_26"), by a name that Pose2Sim or OpenPose gives it ("HALPE_26", "BODY_25B") or from a YAML file.

    Raises InputError for an unknown name (with the valid ones) and for a malformed file (naming the entry).
    """
    return _parse(*_find(name_or_path))


def guess_keypoint_set(count: int) -> KeypointSet:
    """The usual keypoint set with `count` points (see `BY_COUNT`). Raises InputError where there is none."""
    if count not in BY_COUNT:
        choices = ", ".join(f"{number} ({name})" for number, name in sorted(BY_COUNT.items()))
        raise InputError(f"No keypoint set with {count} points is known; name one or give its YAML (known numbers: {choices}).")
    return load_keypoint_set(BY_COUNT[count])


def infer_mirror(names: tuple[str, ...], pairs: list[tuple[str, str]] | None = None) -> tuple[int, ...]:
    """Left-right partners from the names (LHip-RHip, lasis-rasis, left_hip-right_hip, hip_l-hip_r), `pairs` added to them."""
    index = {name: k for k, name in enumerate(names)}
    mirror = list(range(len(names)))
    for name, k in index.items():
        for left, right in (("left", "right"), ("Left", "Right"), ("L", "R"), ("l", "r")):
            partner = right + name[len(left) :] if name.startswith(left) else None
            if partner not in index and name.endswith("_" + left):
                partner = name[: -len(left)] + right
            if partner in index:
                mirror[k], mirror[index[partner]] = index[partner], k
                break
    for left, right in pairs or []:
        mirror[index[left]], mirror[index[right]] = index[right], index[left]
    return tuple(mirror)


def _find(name_or_path: str | Path) -> tuple[Path, dict[str, Any]]:
    text = str(name_or_path)
    if text.lower().endswith((".yaml", ".yml")):
        return Path(text), read_yaml(Path(text), "keypoint set")
    known = _known()
    if text.lower() not in known:
        names = keypoint_set_names()
        close = difflib.get_close_matches(text.lower(), list(known), n=1)
        hint = f" Did you mean {known[close[0]].stem}?" if close else ""
        raise InputError(f'Unknown keypoint set "{text}"; choose one of {", ".join(names)} or give a YAML file.{hint}')
    path = known[text.lower()]
    return path, read_yaml(path, "keypoint set")


@lru_cache(maxsize=1)
def _known() -> dict[str, Path]:
    """Lower-case name -> file, other names included."""
    found: dict[str, Path] = {}
    for path in sorted((config_directory() / "keypoint_sets").glob("*.yaml")):
        content = read_yaml(path, "keypoint set")
        for name in [content.get("name", path.stem), *(content.get("also_called") or [])]:
            found[str(name).lower()] = path
    return found


def _parse(path: Path, content: dict[str, Any]) -> KeypointSet:
    where = f"keypoint set {path}"
    unknown = sorted(set(map(str, content)) - _ALLOWED_KEYS)
    if unknown:
        raise InputError(f"In {where}, {unknown[0]} is not a known entry; known are {', '.join(sorted(_ALLOWED_KEYS))}.")
    names = content.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"In {where}, names must be a list of keypoint names in the detector's order.")
    if len(names) > _LARGEST_SET:
        raise InputError(f"In {where}, names has {len(names)} entries; at most {_LARGEST_SET} are supported.")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"In {where}, the name {repeated[0]} appears more than once.")
    index = {name: k for k, name in enumerate(names)}
    edges = [(index[a], index[b]) for a, b in _pairs(content.get("edges"), index, "edges", where)]
    pairs = _pairs(content.get("mirror_pairs"), index, "mirror_pairs", where)
    name, mirror = str(content.get("name", path.stem)), infer_mirror(tuple(names), pairs)
    return KeypointSet(name, tuple(names), tuple(edges), mirror, _aliases(content.get("aliases"), names, where))


def _aliases(entries: Any, names: list[str], where: str) -> tuple[tuple[str, ...], ...]:
    if not entries:
        return ()
    if not isinstance(entries, dict) or not all(isinstance(other, list) for other in entries.values()):
        raise InputError(f"In {where}, aliases must map a name to a list of other names.")
    unknown = next((name for name in entries if name not in names), None)
    if unknown is not None:
        raise InputError(f"In {where}, aliases names {unknown}, which is not in names.")
    return tuple(tuple(map(str, entries.get(name, ()))) for name in names)


def _pairs(entries: Any, index: dict[str, int], key: str, where: str) -> list[tuple[str, str]]:
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise InputError(f"In {where}, {key} must be a list of pairs of names.")
    for pair in entries:
        if not isinstance(pair, list) or len(pair) != 2:
            raise InputError(f"In {where}, {key} has the entry {pair}, which is not a pair of names.")
        for name in pair:
            if not isinstance(name, str) or name not in index:
                raise InputError(f"In {where}, {key} names {name}, which is not in names.")
    return [(a, b) for a, b in entries]
