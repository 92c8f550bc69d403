"""Recordings as rosbag2 (.mcap or .db3) with Keypoints2D topics, read and written without ROS."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import Reader

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats import project_folder
from biomech_fit.formats.bag_types import CAMERA_INFO, KEYPOINTS_2D, typestore, typestore_of
from biomech_fit.formats.bag_writer import write_bag_recording
from biomech_fit.formats.calibration import Calibration
from biomech_fit.formats.detections import Tally, clean_detections
from biomech_fit.formats.frame_rate import checked_rate
from biomech_fit.formats.keypoint_sets import guess_keypoint_set, load_keypoint_set
from biomech_fit.formats.mcap_salvage import salvage_mcap

__all__ = ["BagRecording", "is_bag", "write_bag_recording"]

_SUFFIXES = (".mcap", ".db3")
_PROBE_MESSAGES = 60
"""Messages per topic that are looked at when a bag is opened."""
_SAME_CLOCK_S = 10.0
"""Stamps and arrival times farther apart than this come from different clocks (simulated time, cameras' own clocks)."""
_NO_CLOCK_NS = 3_600_000_000_000
"""Arrival times below this count from the recording's beginning."""


def is_bag(path: str | Path) -> bool:
    """Whether `path` looks like a rosbag2: a storage file, or a folder with metadata.yaml or storage files."""
    path = Path(path)
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or bool(_storage_files(path))
    return path.suffix.lower() in _SUFFIXES


class BagRecording:
    """A rosbag2 in the order in which its messages were received. Stamps are those of the headers (exposure)."""

    def __init__(
        self, path: str | Path, *, calibration: str | Path | Calibration | None = None, keypoint_set: str | Path | KeypointSet | None = None,
        frame_rate: float | None = None,
    ) -> None:  # fmt: skip
        """Read the bag's index and its first messages. `InputError` where it is damaged, has no keypoints, or does not fit the calibration."""
        self._path = Path(path)
        self._notices: list[str] = []
        self._tally = Tally()
        messages = list(self._messages(_PROBE_MESSAGES))
        if not messages:
            damaged = any("truncated or damaged" in notice for notice in self._notices)
            what = "is truncated or damaged, and its readable part has" if damaged else "has"
            raise InputError(f"The bag '{self._path}' {what} no message of the type {KEYPOINTS_2D}.")
        names = self._cameras_by_topic(messages)
        self.calibration: Calibration = project_folder.locate_calibration(self._path if self._path.is_dir() else self._path.parent, calibration)
        self._notices += self.calibration.notices
        match = project_folder.match_cameras(list(dict.fromkeys(names.values())), self.calibration.names, "camera")
        self._notices += match.notices
        self._camera_of = {topic: match.camera_of[name] for topic, name in names.items()}
        by_name = {c.name: c for c in self.calibration.cameras}
        self.cameras: list[Camera] = [by_name[name] for name in match.camera_of.values()]
        self._use_arrival = self._clocks_agree(messages)
        self.keypoint_set: KeypointSet = self._choose_keypoint_set(keypoint_set, messages)
        self.frame_rate_hz: float = checked_rate(frame_rate, "The frame rate") if frame_rate is not None else self._measured_rate(messages)
        self._check_sizes(messages)
        self._compare_camera_info()
        if all(self._packet(topic, arrival, message, Tally()) is None for topic, arrival, message in messages):
            raise InputError(f"The bag '{self._path}': {self._length_problem(messages[0][2])}.")

    @property
    def notices(self) -> list[str]:
        return list(dict.fromkeys([*self._notices, *self._tally.sentences()]))

    @property
    def frame_count(self) -> int:
        return self._frame_count

    def packets(self) -> Iterator[KeypointPacket]:
        """All packets in the order of their arrival; messages that make no sense are left out and counted in `notices`."""
        self._tally = Tally()
        for topic, arrival, message in self._messages(None):
            if topic not in self._camera_of:
                self._tally.add(f"Topic '{topic}'", "messages come from a camera that was not there at the start and are left out")
                continue
            packet = self._packet(topic, arrival, message, self._tally)
            if packet is not None:
                yield packet

    def _packet(self, topic: str, arrival: int, message: Any, tally: Tally) -> KeypointPacket | None:
        camera, count = self._camera_of[topic], len(self.keypoint_set)
        where = f"Camera '{camera}'"
        people = len(message.person_ids) or message.confidence.size // count
        if message.confidence.size != people * count or message.xy.size != 2 * people * count:
            tally.add(where, f"messages have arrays of the wrong length and are left out: {self._length_problem(message)}")
            return None
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        if stamp == 0:
            if arrival >= _NO_CLOCK_NS:  # in a recording whose times count from 0 it is the first
                tally.add(where, "messages have no stamp; their arrival time is used")
            stamp = arrival
        xy, confidence = clean_detections(message.xy.reshape(people, count, 2), message.confidence.reshape(people, count), tally, where)
        ids = np.array(message.person_ids, np.int32) if len(message.person_ids) else np.full(people, -1, np.int32)
        return KeypointPacket(camera, int(stamp), xy, confidence, ids, int(arrival) if self._use_arrival else None)

    def _length_problem(self, message: Any) -> str:
        count, people = len(self.keypoint_set), len(message.person_ids)
        return (
            f"{people} people with {count} keypoints ({self.keypoint_set.name}) need {people * count * 2} numbers in xy and {people * count} in confidence, "
            f"not {message.xy.size} and {message.confidence.size}"
        )

    def _messages(self, per_topic: int | None) -> Iterator[tuple[str, int, Any]]:
        """(topic, arrival ns, message) of Keypoints2D topics; a bag that breaks off gives what is readable, with a notice."""
        with ExitStack() as stack:
            readers = self._open(stack)
            self._frame_count = 0
            for reader in readers:
                connections = [c for c in reader.connections if c.msgtype == KEYPOINTS_2D]
                if not connections:
                    continue
                self._frame_count += max(c.msgcount for c in connections)
                store = typestore_of(connections[0])
                seen: dict[str, int] = dict.fromkeys((c.topic for c in connections), 0)
                wanted = {c.topic: c.msgcount if per_topic is None else min(per_topic, c.msgcount) for c in connections}
                try:
                    for connection, arrival, data in reader.messages(connections):
                        seen[connection.topic] += 1
                        if seen[connection.topic] > wanted[connection.topic]:
                            if all(seen[t] >= wanted[t] for t in seen):
                                break
                            continue
                        try:
                            message = store.deserialize_cdr(data, KEYPOINTS_2D)
                        except Exception as error:  # rosbags raises whatever the damaged bytes lead to
                            self._tally.add(f"Topic '{connection.topic}'", "messages cannot be decoded and are left out", 1, str(error))
                            continue
                        yield connection.topic, arrival, message
                except GeneratorExit:
                    raise
                except Exception as error:  # as above; what came before is good
                    self._notices.append(f"The bag '{self._path}' is damaged; only its readable part is used ({_one_line(error)}).")

    def _open(self, stack: ExitStack) -> list[Reader]:
        path = self._path
        paths = [path] if not path.is_dir() or (path / "metadata.yaml").is_file() else _storage_files(path)
        if path.is_dir() and paths != [path]:
            self._note(f"The bag '{path}' has no metadata.yaml (its recording was not ended); its files are read one by one.")
        readers = []
        for part in paths:
            try:
                readers.append(stack.enter_context(Reader(part)))
            except Exception as error:  # rosbags' own errors, and those of sqlite, yaml and struct on damaged files
                readers += self._open_damaged(stack, part, error)
        return readers

    def _open_damaged(self, stack: ExitStack, part: Path, error: Exception) -> list[Reader]:
        files = _storage_files(part) if part.is_dir() else [part]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        readers = []
        for file in files:
            try:
                whole = salvage_mcap(file, folder / file.name) if file.suffix.lower() == ".mcap" else file
                if whole is not None:
                    readers.append(stack.enter_context(Reader(whole)))
            except Exception:  # reported below with the first error, which says more
                continue
        if not readers:
            raise InputError(f"The bag '{self._path}' is truncated or damaged and cannot be read: {_one_line(error)}.") from None
        self._note(f"The bag '{self._path}' is truncated or damaged ({_one_line(error)}); only its readable part is used.")
        return readers

    def _note(self, sentence: str) -> None:
        if sentence not in self._notices:
            self._notices.append(sentence)

    def _cameras_by_topic(self, messages: list[tuple[str, int, Any]]) -> dict[str, str]:
        names: dict[str, str] = {}
        for topic, _, message in messages:
            if topic not in names:
                parts = [p for p in topic.split("/") if p]
                names[topic] = message.camera or (parts[-2] if len(parts) > 1 else parts[-1])
        for name in set(names.values()):
            topics = [t for t, n in names.items() if n == name]
            if len(topics) > 1:
                raise InputError(f"The topics {' and '.join(topics)} both carry keypoints of the camera '{name}'.")
        return names

    def _clocks_agree(self, messages: list[tuple[str, int, Any]]) -> bool:
        delays = [arrival - m.header.stamp.sec * 1_000_000_000 - m.header.stamp.nanosec for _, arrival, m in messages]
        agree = abs(float(np.median(delays))) < _SAME_CLOCK_S * 1e9
        if not agree:
            self._note(f"Stamps and arrival times differ by {np.median(delays) / 1e9:.0f} s, so they are of different clocks; arrival times are not used.")
        return agree

    def _choose_keypoint_set(self, given: str | Path | KeypointSet | None, messages: list[tuple[str, int, Any]]) -> KeypointSet:
        if given is not None:
            return given if isinstance(given, KeypointSet) else load_keypoint_set(given)
        names = {m.keypoint_set for _, _, m in messages if m.keypoint_set}
        if len(names) > 1:
            raise InputError(f"The bag has keypoints of several sets ({', '.join(sorted(names))}); all cameras must send the same one.")
        if names:
            return load_keypoint_set(names.pop())
        counts = {m.confidence.size // len(m.person_ids) for _, _, m in messages if len(m.person_ids)}
        if len(counts) != 1:
            raise InputError("The messages name no keypoint set and their numbers of keypoints do not tell it; name it with --keypoint-set.")
        chosen = guess_keypoint_set(counts.pop())
        self._note(f"The messages name no keypoint set; {chosen.name} is taken from the number of points.")
        return chosen

    def _measured_rate(self, messages: list[tuple[str, int, Any]]) -> float:
        """Of the faster cameras; one alone may stutter."""
        gaps = []
        for topic in self._camera_of:
            stamps = np.sort([m.header.stamp.sec * 1_000_000_000 + m.header.stamp.nanosec for t, _, m in messages if t == topic])
            own = np.diff(stamps)[np.diff(stamps) > 0]
            gaps += [float(np.median(own))] if len(own) else []
        if not gaps:
            self._note("The bag is too short to tell the frame rate; 60 Hz is assumed.")
            return 60.0
        rate = 1e9 / sorted(gaps)[(len(gaps) - 1) // 4]
        # Stamps are in whole nanoseconds: 59.9999988 Hz is 60 Hz.
        return round(rate) if abs(rate - round(rate)) < 2e-4 * rate else rate

    def _check_sizes(self, messages: list[tuple[str, int, Any]]) -> None:
        cameras = {c.name: c for c in self.cameras}
        for topic, _, m in messages:
            camera = cameras[self._camera_of[topic]]
            if m.width and m.height and (m.width, m.height) != (camera.width, camera.height):
                self._note(
                    f"Camera '{camera.name}': keypoints are of a {m.width} x {m.height} image, but it was calibrated at {camera.width} x {camera.height}."
                )

    def _compare_camera_info(self) -> None:
        """Notices where the bag's own intrinsics (first message per topic) differ from the calibration, which is what counts."""
        by_name = {project_folder.plain_name(c.name): c for c in self.cameras}
        with ExitStack() as stack:
            for reader in self._open(stack):
                waiting = {c.topic: c for c in reader.connections if c.msgtype == CAMERA_INFO and c.msgcount}
                if not waiting:
                    continue
                try:
                    for connection, _, data in reader.messages(list(waiting.values())):
                        if waiting.pop(connection.topic, None) is not None:
                            camera = by_name.get(project_folder.plain_name(connection.topic.strip("/").split("/")[-2:][0]))
                            info = typestore().deserialize_cdr(data, CAMERA_INFO)
                            if camera is not None and not _same_intrinsics(camera, info):
                                self._note(f"Camera '{camera.name}': the bag's camera_info differs from the calibration, which is used.")
                        if not waiting:
                            break
                except Exception as error:  # a damaged part; the keypoints before it have been read
                    self._note(f"The bag's camera_info cannot be read ({_one_line(error)}).")


def _same_intrinsics(camera: Camera, info: Any) -> bool:
    """Size, focal lengths and principal point to 1 px, distortion to 0.01; an uncalibrated message (K = 0) says nothing."""
    k = np.asarray(info.k, float).reshape(3, 3)
    if not k.any():
        return True
    distortion = np.zeros(max(len(info.d), len(camera.distortion)))
    distortion[: len(info.d)] = info.d
    distortion[: len(camera.distortion)] -= camera.distortion
    same_size = (info.width, info.height) == (camera.width, camera.height)
    return bool(same_size and np.abs(k - camera.matrix).max() < 1.0 and np.abs(distortion).max(initial=0) < 0.01)


def _storage_files(folder: Path) -> list[Path]:
    """In the order in which they were written: rec_2 before rec_10."""
    found = (f for f in folder.iterdir() if f.suffix.lower() in _SUFFIXES and f.is_file())
    return sorted(found, key=lambda f: project_folder.natural_key(f.name))


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
