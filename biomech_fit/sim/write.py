"""Writes a simulation as a recording with its truth: what `biomech-fit simulate` leaves behind. docs/simulator.md lists the files."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from biomech_fit.config.load import to_yaml
from biomech_fit.core.errors import InputError
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats.atomic import replacing, write_text
from biomech_fit.formats.calibration import write_calibration
from biomech_fit.formats.mot import write_mot
from biomech_fit.formats.recording import write_bag_recording, write_pose2sim_recording
from biomech_fit.formats.trc import write_trc
from biomech_fit.sim.faults import ALL
from biomech_fit.sim.simulate import Simulation

MARK = Path("truth") / "simulation.yaml"
"""The settings; tells a folder that a simulation wrote."""

Progress = Callable[[int, int], None]
"""Called with the number of packets written and their total."""


def write(simulation: Simulation, folder: str | Path, *, bag: bool = False, progress: Progress | None = None) -> Path:
    """Writes a Pose2Sim recording with the calibration that the user gets, and the truth beside it; with `bag` a rosbag2 of the same packets in `bag/`.

    An earlier simulation in the folder is replaced, but not an earlier bag. Raises InputError where the folder cannot be made,
    holds a bag already, or a recording that is no simulation.
    """
    folder = Path(folder)
    _prepare(folder, {c.name for c in simulation.cameras}, bag)
    config = simulation.config
    total = int(sum(np.count_nonzero(d.sent) for d in simulation.detections)) * (2 if bag else 1)
    counter = iter(range(1, total + 1))

    def counted() -> Iterator[KeypointPacket]:
        for packet in simulation.packets():
            yield packet
            if progress is not None:
                progress(next(counter), total)

    # First of all, so that a run that broke off can be repeated.
    write_text(folder / MARK, to_yaml(config))
    write_pose2sim_recording(folder, simulation.cameras, simulation.keypoint_set, counted(), config.frame_rate_hz)
    if bag:
        write_bag_recording(folder / "bag", simulation.cameras, simulation.keypoint_set, counted())
    write_truth(simulation, folder)
    for number, person in enumerate(simulation.others, 2):
        write_truth(person, folder / "people" / f"person_{number}")
    # The true calibration lies one level deeper, where no reader takes it for the recording's.
    write_calibration(folder / "truth" / "Calib_true.toml", simulation.final_cameras)
    return folder


def _prepare(folder: Path, cameras: set[str], bag: bool) -> None:
    """Makes the folder, or takes the cameras of an earlier simulation out of it. A recording that is no simulation is never overwritten."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder '{folder}' cannot be made: {error.strerror}.") from None
    if bag and (folder / "bag").exists():
        raise InputError(f"'{folder / 'bag'}' exists already; remove it or choose another folder.")
    if not (folder / MARK).is_file():
        if (folder / "pose").exists() or any(folder.glob("Calib*.toml")):
            raise InputError(f"'{folder}' holds a recording that is not a simulation; choose another folder.")
        return
    for old in (folder / "people").glob("person_[0-9]*"):
        shutil.rmtree(old)
    for old in (folder / "pose").glob("cam[0-9][0-9]_json"):
        if old.is_dir() and old.name.removesuffix("_json") not in cameras:
            shutil.rmtree(old)


def truth_arrays(simulation: Simulation) -> dict[str, np.ndarray]:
    """What truth.npz holds: T frames, N coordinates, K keypoints, J joint centres, C cameras, E events. m, rad, s; z-up world; cameras x_cam = R x + t."""
    truth, subject = simulation.truth, simulation.subject
    return {
        "time_s": truth.time_s,
        "stamp_ns": np.round(truth.time_s * 1e9).astype(np.int64),
        "coordinate_names": np.array(truth.coordinate_names),
        "coordinates": truth.coordinates,
        "keypoint_names": np.array(truth.keypoint_names),
        "keypoints": truth.keypoints,
        "keypoints_model": truth.keypoints_model,
        "joint_centre_names": np.array(truth.joint_centre_names),
        "joint_centres": truth.joint_centres,
        "camera_names": np.array([c.name for c in simulation.final_cameras]),
        "camera_rotation": np.stack([c.rotation for c in simulation.final_cameras]),
        "camera_translation": np.stack([c.translation for c in simulation.final_cameras]),
        "clock_offset_s": truth.clock_offset_s,
        "present": truth.present,
        "keypoint_offsets": subject.keypoint_offset,
        "segment_names": np.array(subject.segment_names),
        "segment_lengths_m": subject.segment_lengths_m,
        "event_time_s": np.array([e.stamp_ns * 1e-9 for e in truth.events]),
        "event_side": np.array([e.side.name.lower() for e in truth.events], dtype="<U5"),
        "event_type": np.array([e.type.name.lower() for e in truth.events], dtype="<U15"),
        "event_position": np.array([e.position for e in truth.events]).reshape(-1, 3),
    }


def write_truth(simulation: Simulation, folder: str | Path) -> None:
    """Writes truth.npz, truth.mot (degrees), truth.trc (what the detector aims at), truth_joint_centres.trc, truth_events.csv and truth_faults.csv."""
    folder = Path(folder)
    truth = simulation.truth
    arrays = truth_arrays(simulation)
    with replacing(folder / "truth.npz") as temporary:
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]
    write_mot(folder / "truth.mot", truth.time_s, truth.coordinate_names, truth.coordinates, in_degrees=True)
    write_trc(folder / "truth.trc", truth.time_s, truth.keypoint_names, truth.keypoints)
    write_trc(folder / "truth_joint_centres.trc", truth.time_s, truth.joint_centre_names, truth.joint_centres)
    events = [
        [f"{event.stamp_ns * 1e-9:.6f}", event.side.name.lower(), event.type.name.lower(), *(f"{x:.6f}" for x in event.position)] for event in truth.events
    ]
    _write_table(folder / "truth_events.csv", ["time_s", "side", "event", "x_m", "y_m", "z_m"], events)
    names = [camera.name for camera in simulation.cameras]
    faults = [[f"{f.from_s:.6f}", f"{f.until_s:.6f}", f.kind, "all" if f.camera == ALL else names[f.camera], f.details] for f in simulation.faults]
    _write_table(folder / "truth_faults.csv", ["from_s", "until_s", "fault", "camera", "details"], faults)


def _write_table(path: Path, head: list[str], rows: list[list[str]]) -> None:
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([head, *rows])
    write_text(path, table.getvalue())
