"""Pose2Sim and OpenSim in the benchmark: the same keypoints as a Pose2Sim session on disk, run in an environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
from output import Output
from recordings import RATE_HZ, Recording, Session, fingerprint
from walks import FLEXIONS

from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats.calibration import write_calibration
from biomech_fit.formats.mot import read_mot
from biomech_fit.formats.pose2sim import write_pose2sim_recording
from biomech_fit.formats.trc import read_trc

HERE = Path(__file__).resolve().parent
DEFAULT_VENV = Path.home() / ".cache" / "biomech_fit" / "peers"
_CONFIG = """\
# What differs from the settings that Pose2Sim is delivered with: no windows, plots and extra files; the lens distortion that the calibration has is used;
# a point that is lost for long is missing, not frozen where it was last seen (a walk without trunk markers at its end would be bent backwards by them);
# the model follows the detected keypoints and not the 43 markers that a network makes up from them.
[triangulation]
undistort_points = true
show_interp_indices = false
fill_large_gaps_with = "nan"
make_c3d = false

[filtering]
display_figures = false
save_filt_plots = false
make_c3d = false

[kinematics]
use_augmentation = false
"""


class PeerFailed(Exception):
    """A peer has no result for a walk."""


_OTHER_NAMES = {"Hip": "MidHip"}


def prepare(venv: Path) -> None:
    """Makes the peers' environment where it is absent or was made from other requirements."""
    requirements, done = HERE / "requirements-peers.txt", venv / "installed.txt"
    if done.is_file() and done.read_bytes() == requirements.read_bytes():
        return
    print(f"Installing Pose2Sim and OpenSim into '{venv}' (about 2 GB, once; --peers-venv names another place).", file=sys.stderr, flush=True)
    try:
        if not _python(venv).exists():
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(_python(venv)), "-m", "pip", "install", "-qq", "-r", str(requirements)], check=True)
    except subprocess.CalledProcessError as error:
        raise InputError(f"Pose2Sim and OpenSim could not be installed into '{venv}': {error}.") from None
    done.write_bytes(requirements.read_bytes())


def _python(venv: Path) -> Path:
    return venv / "bin" / "python"


def run(session: Session, keypoint_set: KeypointSet, venv: Path, folder: Path, known: bool) -> Output:
    """Pose2Sim's filtered points and OpenSim's angles of the walk; `known`: the model is scaled on the static trial, else on the walk itself.

    folder: where the trials and their results are put, kept by their data.
    """
    peer = _peer(venv, folder)
    several = any(len(packet.xy) > 1 for packets in session.walk.frames for packet in packets)
    request = {
        "static": str(peer.trial(session.static, keypoint_set)) if known else None,
        "walk": str(peer.trial(session.walk, keypoint_set)),
        "associate": several,
    }
    answer = peer.ask(request)
    frames = len(session.walk.frames)
    wall, cpu = np.sum(list(answer["seconds"].values()), axis=0) * 1e3 / frames
    return Output(_points(answer["trc"], keypoint_set, frames), _angles(answer["mot"], frames), float(wall), float(cpu))


def _points(path: str, keypoint_set: KeypointSet, frames: int) -> np.ndarray:
    content = read_trc(path, axes="pose2sim")
    out = np.full((frames, len(keypoint_set), 3), np.nan)
    at = np.round(content.time_s * RATE_HZ).astype(int)
    for k, name in enumerate(content.names):
        out[at, keypoint_set.names.index(_OTHER_NAMES.get(name, name))] = content.points[:, k]
    return out


def _angles(path: str, frames: int) -> np.ndarray:
    content = read_mot(path)
    out = np.full((frames, len(FLEXIONS)), np.nan)
    out[np.round(content.time_s * RATE_HZ).astype(int)] = np.degrees([content[name] for name in FLEXIONS]).T
    return out


class _Peer:
    """One process of the peers' environment; it ends with the benchmark's."""

    def __init__(self, venv: Path, folder: Path) -> None:
        self._folder = folder
        self._log = open(folder / f"log_{os.getpid()}.txt", "w", encoding="utf-8")
        reading, writing = os.pipe()
        self._answers = os.fdopen(reading, encoding="utf-8")
        self._process = subprocess.Popen(
            [str(_python(venv)), str(HERE / "run_pose2sim.py"), str(writing)],
            cwd=folder, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, pass_fds=(writing,), text=True, encoding="utf-8",
            env=os.environ | {"MPLBACKEND": "Agg", "QT_QPA_PLATFORM": "offscreen"},
        )  # fmt: skip
        os.close(writing)

    def ask(self, request: dict) -> dict:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._answers.readline()
        answer = json.loads(line) if line else {"error": f"it ended with {self._process.wait()}"}
        if "error" in answer:
            tail = Path(self._log.name).read_text(encoding="utf-8", errors="replace")[-1500:]
            raise PeerFailed(f"{answer['error']}\n{tail}")
        return answer

    def trial(self, recording: Recording, keypoint_set: KeypointSet) -> Path:
        """The recording as a trial in a session of its own, written once. A lost frame is an image without people, or Pose2Sim would cut the trial."""
        session = self._folder / fingerprint(recording)
        trial = session / "trial"
        if not session.exists():
            packets = (_packet(recording, t, camera.name, len(keypoint_set)) for t in range(len(recording.frames)) for camera in recording.given)
            write_pose2sim_recording(trial, recording.given, keypoint_set, packets, RATE_HZ, int(recording.stamp_ns[0]))
            (session / "calibration").mkdir()
            write_calibration(session / "calibration" / "Calib.toml", recording.given)
            (session / "Config.toml").write_text(_CONFIG, encoding="utf-8")
        return trial


def _packet(recording: Recording, t: int, camera: str, count: int) -> KeypointPacket:
    for packet in recording.frames[t]:
        if packet.camera == camera:
            return packet
    return KeypointPacket(camera, int(recording.stamp_ns[t]), np.empty((0, count, 2), np.float32), np.empty((0, count), np.float32), np.empty(0, np.int32))


@lru_cache(maxsize=1)
def _peer(venv: Path, folder: Path) -> _Peer:
    """One per process of the benchmark: starting it takes seconds."""
    return _Peer(venv, folder)
