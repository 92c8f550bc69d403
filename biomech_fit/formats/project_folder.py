"""Finding the parts of a Pose2Sim project: calibration, Config.toml, pose folders; and which pose folder belongs to which camera."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biomech_fit.core.errors import InputError
from biomech_fit.formats.calibration import Calibration, find_toml_calibrations, read_calibration
from biomech_fit.formats.safe_read import parse_toml, read_text

POSE_FOLDERS = ("pose-sync", "pose", "pose-2d")
"""In order of preference; pose-sync is what Pose2Sim's synchronisation writes."""
_LEVELS_UP = 3
"""Trial, participant, session."""
POSE_MODEL_NAMES = {"body_with_feet": "halpe_26", "body": "coco_17", "whole_body": "coco_wholebody_133", "coco_133": "coco_wholebody_133"}
"""Names of pose models in newer Pose2Sim versions that are not names of keypoint sets."""


def levels(folder: Path) -> list[Path]:
    """The folder and its parents as far as a Pose2Sim project goes."""
    folder = folder.resolve()
    return [folder, *folder.parents[:_LEVELS_UP]]


def locate_calibration(folder: Path, given: str | Path | Calibration | None) -> Calibration:
    """The calibration that was given, else the one in the folder, a calibration folder beside it or the same of its parents; the nearest level counts.

    Raises `InputError` if there is none, or if one level has two (names both).
    """
    if isinstance(given, Calibration):
        return given
    if given is not None:
        return read_calibration(given)
    for level in levels(folder):
        found = _calibrations(level)
        if len(found) > 1:
            raise InputError(f"There are {len(found)} calibrations: {' and '.join(repr(str(f)) for f in found)}; choose one with --calibration.")
        if found:
            return read_calibration(found[0])
    raise InputError(f"No calibration (Calib*.toml) was found in '{folder}', its parents or a calibration folder beside it; give one with --calibration.")


def settings_files(recording: Path) -> list[Path]:
    """Files outside a recording that it is read with: every Config.toml and calibration up the project."""
    folder = recording if recording.is_dir() else recording.parent
    found: list[Path] = []
    for level in levels(folder):
        found += [level / "Config.toml", *_calibrations(level)]
    return [path for path in found if path.is_file()]


def _calibrations(level: Path) -> list[Path]:
    return find_toml_calibrations(level, *sorted(p for p in _folders(level) if p.name.lower().startswith("calib")))


def find_pose_folder(folder: Path) -> Path | None:
    """The folder that holds one folder of JSON files per camera; None if `folder` is not a recording of this kind."""
    for name in POSE_FOLDERS:
        if camera_folders(folder / name):
            return folder / name
    return folder if camera_folders(folder) else None


def camera_folders(pose: Path) -> list[Path]:
    """Sub-folders with JSON files, in natural order (cam2 before cam10)."""
    found = [p for p in _folders(pose) if any(f.suffix.lower() == ".json" for f in p.iterdir())]
    return sorted(found, key=lambda p: natural_key(p.name))


def trials_below(folder: Path) -> list[Path]:
    """Trial folders one or two levels below a session folder."""
    below = [p for p in _folders(folder) if p.name not in POSE_FOLDERS]
    return [p for p in sorted([*below, *(q for b in below for q in _folders(b))]) if any(camera_folders(p / name) for name in POSE_FOLDERS)]


def read_config(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Settings of all ``Config.toml`` up the project, flat as ``section.key``, the nearest one winning; and notices about unreadable ones."""
    settings: dict[str, Any] = {}
    notices = []
    for level in reversed(levels(folder)):
        path = level / "Config.toml"
        if path.is_file():
            try:
                document = parse_toml(read_text(path), path)
            except InputError as error:
                notices.append(f"{error} It is left out.")
                continue
            for section, values in document.items():
                if isinstance(values, dict):
                    settings.update({f"{section}.{key}": value for key, value in values.items()})
    return settings, notices


@dataclass(frozen=True)
class CameraMatch:
    """Calibration camera name per source (folder or topic name), in the calibration's order, and what to tell the user."""

    camera_of: dict[str, str]
    notices: tuple[str, ...]


def match_cameras(sources: list[str], cameras: list[str], what: str) -> CameraMatch:
    """Which calibrated camera each source is.

    By name without punctuation and zero padding (cam01_json is cam_01); else by the one number in each name; else, when no name fits and there are as
    many of both, in sorted order. Raises `InputError` with both lists when a source has no camera.
    """
    notices: list[str] = []
    camera_of = _unique_match(sources, cameras, plain_name)
    if len(camera_of) < len(sources) and not camera_of:
        camera_of = _unique_match(sources, cameras, _only_number)
        if len(camera_of) < len(sources):
            camera_of = {}
        if not camera_of and len(sources) == len(cameras):
            camera_of = dict(zip(sorted(sources, key=natural_key), sorted(cameras, key=natural_key), strict=True))
        if camera_of:
            pairs = ", ".join(f"{s} is {c}" for s, c in camera_of.items())
            notices.append(f"The {what} names differ from the calibration's; taken in order: {pairs}.")
    if len(camera_of) < len(sources):
        absent = [s for s in sources if s not in camera_of]
        raise InputError(
            f"The calibration has no camera for the {what}{'s' if len(absent) > 1 else ''} {', '.join(absent)}: "
            f"keypoints come from {', '.join(sources)}; the calibration has {', '.join(cameras)}."
        )
    silent = [c for c in cameras if c not in camera_of.values()]
    if silent:
        notices.append(f"Calibrated, but without keypoints: {', '.join(silent)}.")
    order = {c: i for i, c in enumerate(cameras)}
    return CameraMatch(dict(sorted(camera_of.items(), key=lambda item: order[item[1]])), tuple(notices))


def plain_name(name: str) -> str:
    """Lower case, without the endings that pose folders have, punctuation and zero padding."""
    name = re.sub(r"[_-]?(json|keypoints|pose)$", "", name.lower())
    return re.sub(r"[\W_]", "", re.sub(r"(?<!\d)0+(?=\d)", "", name))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts cam2 before cam10."""
    return [(1, int(p), "") if p.isdigit() else (0, 0, p.lower()) for p in re.split(r"(\d+)", name) if p]


def _only_number(name: str) -> str:
    numbers = re.findall(r"\d+", name)
    return str(int(numbers[0])) if len(numbers) == 1 else f"?{name}"


def _unique_match(sources: list[str], cameras: list[str], key: Any) -> dict[str, str]:
    found = {}
    for source in sources:
        candidates = [c for c in cameras if key(c) == key(source)]
        rivals = [s for s in sources if key(s) == key(source)]
        if len(candidates) == 1 and len(rivals) == 1:
            found[source] = candidates[0]
    return found


def _folders(folder: Path) -> list[Path]:
    try:
        return [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except OSError:
        return []
