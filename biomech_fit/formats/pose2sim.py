"""Recordings in a Pose2Sim project: OpenPose JSON per camera, a TOML calibration, Config.toml. Reading and writing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats import project_folder
from biomech_fit.formats.atomic import write_text
from biomech_fit.formats.calibration import Calibration, write_calibration
from biomech_fit.formats.detections import Tally, clean_detections
from biomech_fit.formats.frame_rate import checked_rate
from biomech_fit.formats.keypoint_sets import guess_keypoint_set, load_keypoint_set
from biomech_fit.formats.openpose import OpenPoseFrame, keypoint_count, read_frame, vote_body_25, write_frame

DEFAULT_FRAME_RATE_HZ = 60.0
_PROBE_FRAMES = 12
"""Files per camera that are looked at to learn the number of keypoints."""


class Pose2SimRecording:
    """A trial on disk, frame by frame. All cameras of one frame have the same stamp: frame number / frame rate."""

    def __init__(
        self, folder: str | Path, *, calibration: str | Path | Calibration | None = None, keypoint_set: str | Path | KeypointSet | None = None,
        frame_rate: float | None = None,
    ) -> None:  # fmt: skip
        """Look at the folder and a few of its files. `InputError` where calibration, cameras or keypoints do not fit together."""
        folder, said = _trial_of(Path(folder))
        pose = project_folder.find_pose_folder(folder)
        if pose is None:
            raise InputError(_no_recording(folder))
        self.calibration: Calibration = project_folder.locate_calibration(folder, calibration)
        self._config, notices = project_folder.read_config(folder)
        self._notices: list[str] = [*said, *self.calibration.notices, *notices]
        self._tally = Tally()
        sources = {p.name: p for p in project_folder.camera_folders(pose)}
        match = project_folder.match_cameras(list(sources), self.calibration.names, "pose folder")
        self._notices += match.notices
        by_name = {c.name: c for c in self.calibration.cameras}
        self.cameras: list[Camera] = [by_name[name] for name in match.camera_of.values()]
        self._files = {name: self._list_frames(sources[source]) for source, name in match.camera_of.items()}
        numbers = sorted(set().union(*self._files.values()))
        if not numbers:
            raise InputError(f"No file in '{pose}' has a frame number in its name.")
        self._frames = range(numbers[0], numbers[-1] + 1)
        self._note_lost_frames()
        self.frame_rate_hz: float = self._choose_frame_rate(frame_rate)
        self.keypoint_set: KeypointSet = self._choose_keypoint_set(keypoint_set)

    @property
    def notices(self) -> list[str]:
        """What a user should know, one sentence each; those about single files are complete once `packets` is through."""
        return [*self._notices, *self._tally.sentences()]

    @property
    def frame_count(self) -> int:
        return len(self._frames)

    def packets(self) -> Iterator[KeypointPacket]:
        """All packets in frame order, within a frame in the order of `cameras`. An unreadable file is a lost frame and counted in `notices`."""
        self._tally = Tally()
        for number in self._frames:
            for camera in self.cameras:
                path = self._files[camera.name].get(number)
                packet = None if path is None else self._read(camera.name, number, path)
                if packet is not None:
                    yield packet

    def _read(self, camera: str, number: int, path: Path) -> KeypointPacket | None:
        where = f"Camera '{camera}'"
        try:
            frame = read_frame(path)
        except InputError as error:
            self._tally.add(where, "files cannot be read and count as lost frames", 1, str(error).rstrip("."))
            return None
        count = len(self.keypoint_set)
        fitting = [i for i, k in enumerate(frame.keypoints) if len(k) == count]
        rejected = frame.rejected + len(frame.keypoints) - len(fitting)
        self._tally.add(where, f"people have not {count} keypoints of 3 numbers and are left out", rejected, path.name)
        people = np.array([frame.keypoints[i] for i in fitting]).reshape(-1, count, 3)
        xy, confidence = clean_detections(people[..., :2], people[..., 2], self._tally, where)
        stamp = round((number - self._frames[0]) * 1e9 / self.frame_rate_hz)
        return KeypointPacket(camera, stamp, xy, confidence, np.array([frame.person_ids[i] for i in fitting], np.int32))

    def _list_frames(self, folder: Path) -> dict[int, Path]:
        files: dict[int, Path] = {}
        for path in sorted(folder.glob("*.json")):
            digits = re.findall(r"\d+", path.stem)
            if not digits:
                self._tally_static(folder, "files have no frame number in their name and are left out", path)
            elif int(digits[-1]) in files:
                self._tally_static(folder, "files repeat a frame number and are left out", path)
            else:
                files[int(digits[-1])] = path
        return files

    def _tally_static(self, folder: Path, what: str, path: Path) -> None:
        sentence = f"Pose folder '{folder.name}': some {what} (first: {path.name})."
        if not any(n.startswith(f"Pose folder '{folder.name}': some {what}") for n in self._notices):
            self._notices.append(sentence)

    def _note_lost_frames(self) -> None:
        if len(self._frames) > 50 * max(len(f) for f in self._files.values()):
            raise InputError(
                f"The frame numbers run from {self._frames[0]} to {self._frames[-1]} with only {max(len(f) for f in self._files.values())} files per camera; "
                "the last digits of each file name must be the frame number."
            )
        for name, files in self._files.items():
            lost = len(self._frames) - len(files)
            if lost:
                self._notices.append(f"Camera '{name}': {lost} of {len(self._frames)} frames have no file and count as lost.")

    def _choose_frame_rate(self, given: float | None) -> float:
        if given is not None:
            return checked_rate(given, "The frame rate")
        value = self._config.get("project.frame_rate")
        if isinstance(value, int | float) and not isinstance(value, bool):
            return checked_rate(value, "frame_rate in Config.toml")
        why = f"Config.toml says {value!r}" if value is not None else "No Config.toml gives a frame_rate"
        self._notices.append(f"{why}: {DEFAULT_FRAME_RATE_HZ:g} Hz is assumed (--frame-rate sets another).")
        return DEFAULT_FRAME_RATE_HZ

    def _choose_keypoint_set(self, given: str | Path | KeypointSet | None) -> KeypointSet:
        probe = self._probe()
        count = keypoint_count(probe)
        if given is not None:
            chosen = given if isinstance(given, KeypointSet) else load_keypoint_set(given)
            if count not in (None, len(chosen)):
                raise InputError(f"The keypoint set '{chosen.name}' has {len(chosen)} keypoints, but the files have {count} per person.")
            return chosen
        model = self._config.get("pose.pose_model")
        if isinstance(model, str) and model:
            chosen = self._set_of_pose_model(model, count)
            if chosen is not None:
                return chosen
        if count is None:
            raise InputError("No person is in the first files of any camera, so the keypoint set is unknown; name it with --keypoint-set.")
        if count == 25:
            name, votes, total = vote_body_25(probe)
            evidence = f"{votes} of {total} people looked at say so" if total else "nobody is seen well enough to tell it from body_25b"
            self._notices.append(f"The files have 25 keypoints and no pose_model is set: taken as {name} ({evidence}; --keypoint-set sets another).")
            return load_keypoint_set(name)
        chosen = guess_keypoint_set(count)
        self._notices.append(f"The keypoint set is taken as {chosen.name} from the number of points, {count} (--keypoint-set sets another).")
        return chosen

    def _set_of_pose_model(self, model: str, count: int | None) -> KeypointSet | None:
        try:
            chosen = load_keypoint_set(project_folder.POSE_MODEL_NAMES.get(model.lower(), model))
        except InputError:
            self._notices.append(f"The pose_model '{model}' of Config.toml is not a known keypoint set; it is told from the data.")
            return None
        if count not in (None, len(chosen)):
            self._notices.append(f"The pose_model '{model}' of Config.toml has {len(chosen)} keypoints but the files have {count}; it is told from the data.")
            return None
        return chosen

    def _probe(self) -> list[OpenPoseFrame]:
        frames = []
        for files in self._files.values():
            numbers = sorted(files)
            for number in numbers[:: max(1, len(numbers) // _PROBE_FRAMES)]:
                try:
                    frames.append(read_frame(files[number]))
                except InputError:
                    continue
        if not frames:
            raise InputError(f"None of the files looked at in {', '.join(repr(n) for n in self._files)} is a readable OpenPose JSON file.")
        return frames


def write_pose2sim_recording(
    folder: str | Path, cameras: Sequence[Camera], keypoint_set: KeypointSet, packets: Iterable[KeypointPacket], frame_rate_hz: float, start_ns: int = 0
) -> int:
    """Write a Pose2Sim trial: ``pose/<camera>_json/<camera>_<frame>.json``, ``Calib.toml`` and ``Config.toml``; returns the number of files.

    The frame number is that of the nearest multiple of the frame period after `start_ns`; a packet that never came has no file. `cameras` are written
    as the calibration, so give the (perturbed) one that the user shall have.
    """
    folder = Path(folder)
    checked_rate(frame_rate_hz, "The frame rate")
    known = {c.name for c in cameras}
    write_calibration(folder / "Calib.toml", list(cameras))
    model = keypoint_set.name.upper() if keypoint_set.name.startswith(("body", "halpe")) else keypoint_set.name
    write_text(folder / "Config.toml", f"[project]\nframe_rate = {frame_rate_hz:g}\n\n[pose]\npose_model = '{model}'\n")
    for name in known:
        target = folder / "pose" / f"{name}_json"
        target.mkdir(parents=True, exist_ok=True)
        for old in target.glob(f"{name}_{'[0-9]' * 6}.json"):  # an earlier run of the same recording; other files are left alone
            old.unlink()
    written = 0
    for packet in packets:
        if packet.camera not in known:
            raise InputError(f"A packet comes from camera '{packet.camera}', which is not one of {', '.join(sorted(known))}.")
        number = max(0, round((packet.stamp_ns - start_ns) * frame_rate_hz / 1e9))
        path = folder / "pose" / f"{packet.camera}_json" / f"{packet.camera}_{number:06d}.json"
        write_frame(path, packet.xy, packet.confidence, packet.person_ids)
        written += 1
    return written


def _trial_of(folder: Path) -> tuple[Path, list[str]]:
    """The folder itself, or the only trial in a project; and what is to be said of it."""
    trials = project_folder.trials_below(folder) if folder.is_dir() and project_folder.find_pose_folder(folder) is None else []
    return (trials[0], [f"'{folder}' holds one trial, '{trials[0].relative_to(folder)}', which is taken."]) if len(trials) == 1 else (folder, [])


def _no_recording(folder: Path) -> str:
    if not folder.exists():
        return f"'{folder}' does not exist."
    trials = project_folder.trials_below(folder)
    if trials:
        names = [str(t.relative_to(folder)) for t in trials[:8]] + ["..."] * (len(trials) > 8)
        return f"'{folder}' holds {len(trials)} trials; name one: {', '.join(names)}."
    if not any(folder.iterdir()):
        return f"'{folder}' is an empty folder; a recording is a Pose2Sim folder (pose/<camera>_json/*.json and a Calib*.toml) or a rosbag2."
    return f"'{folder}' is not a recording: neither a rosbag2 nor a Pose2Sim folder with pose/<camera>_json/*.json or pose-2d/<camera>_json/*.json."
