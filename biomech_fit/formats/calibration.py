"""Calibration files of a camera rig: detection of the format by content, reading, writing in the format it came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.formats import calibration_toml, calibration_yaml
from biomech_fit.formats.atomic import write_files, write_text
from biomech_fit.formats.safe_read import parse_toml, read_text

FORMATS = ("pose2sim", "opencv", "camera_info")
"""Names for `write_calibration`: Pose2Sim/Anipose/caliscope TOML, OpenCV FileStorage YAML, sensor_msgs/CameraInfo YAML + extrinsics.yaml."""

_MAX_FILES = 200
_MAX_RIG_RADIUS_M = 200.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Cameras of a rig and what is needed to write them back as they came."""

    cameras: list[Camera]
    """In the file's order; names are unique."""
    format: str
    """One of `FORMATS`."""
    raw: Any = None
    """TOML: the text; YAML: `calibration_yaml.YamlDocuments`."""
    path: Path | None = None
    notices: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.cameras]


def read_calibration(path: str | Path) -> Calibration:
    """Read a calibration file, or a folder of YAML files (or with one TOML calibration).

    Raises:
        InputError: no such file, unknown format, or an entry that is missing or malformed (names the camera and the field).
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    text = read_text(path)
    if _looks_like_yaml(path, text):
        return _read_yaml([path], path)
    cameras = calibration_toml.read_cameras(parse_toml(text, path), str(path))
    if not cameras:
        raise InputError(f"'{path}' holds no camera: expected tables such as [cam_01] with size, matrix, distortions, rotation and translation.")
    return _checked(cameras, "pose2sim", text, path)


def write_calibration(path: str | Path, cameras: list[Camera], like: Calibration | str = "pose2sim") -> None:
    """Write cameras to `path`, in a named format or like a calibration that was read.

    What was read keeps its layout, comments and unknown entries; YAML loses comments where more than the poses has changed. `path` is a file for
    "pose2sim"; a file (all cameras in it) or a folder (one file each) for "opencv"; a folder for "camera_info", unless it was read from one file.
    """
    path = Path(path)
    name, raw = (like.format, like.raw) if isinstance(like, Calibration) else (like, None)
    if name not in FORMATS:
        raise InputError(f"Calibration format '{name}' is unknown; valid are {', '.join(FORMATS)}.")
    if name == "pose2sim":
        write_text(path, calibration_toml.cameras_to_toml(cameras, raw))
        return
    is_file = path.suffix.lower() in (".yaml", ".yml", ".xml")
    texts = calibration_yaml.texts_with_poses(cameras, raw) if raw is not None else None
    if raw is not None and is_file and len(raw.documents) > 1:
        raise InputError(f"The calibration was read from {len(raw.documents)} files; '{path.name}' must be the name of a folder for them.")
    if texts is not None:
        if is_file:
            texts = {path.name: next(iter(texts.values()))}
    elif name == "camera_info":
        texts = calibration_yaml.camera_info_documents(cameras, raw)
        if is_file and len(texts) > 1:
            raise InputError(f"A camera_info calibration is a folder with one file per camera and extrinsics.yaml; '{path.name}' is a file name.")
        texts = {path.name: next(iter(texts.values()))} if is_file else texts
    else:
        texts = calibration_yaml.opencv_documents(cameras, raw, path.name if is_file else None)
    write_files(path.parent if is_file else path, texts)


def _looks_like_yaml(path: Path, text: str) -> bool:
    if text.lstrip().startswith(("%YAML", "---")):
        return True
    if path.suffix.lower() == ".toml":
        return False
    if path.suffix.lower() in (".yaml", ".yml"):
        return True
    first = next((line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    return not (first.startswith("[") or "=" in first)


def _read_yaml(files: list[Path], path: Path) -> Calibration:
    cameras, raw = calibration_yaml.read_yaml_files(files, str(path))
    if not cameras:
        raise InputError(
            f"'{path}' holds no camera: expected YAML entries with image_width, image_height, camera_matrix, distortion_coefficients, rotation and translation."
        )
    return _checked(cameras, "opencv" if raw.opencv else "camera_info", raw, path)


def _read_folder(path: Path) -> Calibration:
    tomls = find_toml_calibrations(path)
    if len(tomls) > 1:
        raise InputError(f"'{path}' holds {len(tomls)} calibrations ({', '.join(t.name for t in tomls)}); name the one to use.")
    if tomls:
        return read_calibration(tomls[0])
    files = sorted(f for f in path.iterdir() if f.suffix.lower() in (".yaml", ".yml") and f.is_file())
    if not files:
        raise InputError(f"'{path}' holds no calibration: expected a Calib*.toml, or a YAML file per camera.")
    if len(files) > _MAX_FILES:
        raise InputError(f"'{path}' holds {len(files)} YAML files; at most {_MAX_FILES} are read as a calibration.")
    return _read_yaml(files, path)


def find_toml_calibrations(*folders: Path) -> list[Path]:
    """``Calib*.toml`` and caliscope's ``camera_array*.toml`` in the folders, in their order; folders that are not there are passed over.

    Files with a small c count only where there is no other: ``calibration.toml`` is also what a fit writes as its result.
    """
    found = []
    for folder in folders:
        if folder.is_dir():
            named = (f for f in folder.iterdir() if f.suffix.lower() == ".toml" and f.name.lower().startswith(("calib", "camera_array")) and f.is_file())
            found += sorted(named)
    return [f for f in found if f.name.startswith(("Calib", "camera_array"))] or found


def _checked(cameras: list[Camera], format_name: str, raw: Any, path: Path) -> Calibration:
    centres = np.array([c.centre for c in cameras])
    radius = float(np.linalg.norm(centres - np.median(centres, axis=0), axis=1).max())
    if radius > _MAX_RIG_RADIUS_M:
        raise InputError(f"Calibration '{path}': the cameras are {radius:.0f} m apart; translations must be in metres (are these millimetres?).")
    notices = []
    for camera in cameras:
        m = camera.matrix
        if not (0 < m[0, 2] < camera.width and 0 < m[1, 2] < camera.height):
            size = f"{camera.width} x {camera.height}"
            notices.append(f"Camera '{camera.name}': the principal point ({m[0, 2]:.0f}, {m[1, 2]:.0f}) lies outside its {size} image.")
    for i, camera in enumerate(cameras):
        for other in cameras[:i]:
            if np.allclose(camera.centre, other.centre, atol=1e-6) and np.allclose(camera.rotation, other.rotation, atol=1e-6):
                notices.append(f"Cameras '{other.name}' and '{camera.name}' have the same pose.")
    return Calibration(cameras, format_name, raw, path, notices)
