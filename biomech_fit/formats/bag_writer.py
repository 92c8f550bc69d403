"""Writing a recording as rosbag2."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats.bag_types import CAMERA_INFO, KEYPOINTS_2D, typestore
from biomech_fit.formats.calibration import write_calibration

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}


def write_bag_recording(
    path: str | Path, cameras: Sequence[Camera], keypoint_set: KeypointSet, packets: Iterable[KeypointPacket], storage: str = "mcap"
) -> int:
    """Write packets as a rosbag2 folder with ``/<camera>/keypoints``, one ``/<camera>/camera_info`` each and ``Calib.toml``; returns their number.

    Log times are `received_ns` (the stamp where that is None). Raises `InputError` if `path` exists or a packet's camera is not in `cameras`.
    """
    path = Path(path)
    if storage not in STORAGES:
        raise InputError(f"Bag storage '{storage}' is unknown; valid are {', '.join(STORAGES)}.")
    if path.exists():
        raise InputError(f"'{path}' exists already; a bag is written to a new folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".bag-", dir=path.parent))
    try:
        # The storage file carries the folder's name, so the folder inside the temporary one has the final name.
        count = _write(temporary / path.name, {c.name: c for c in cameras}, keypoint_set, packets, STORAGES[storage])
        write_calibration(temporary / path.name / "Calib.toml", list(cameras))
        os.replace(temporary / path.name, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _write(path: Path, cameras: dict[str, Camera], keypoint_set: KeypointSet, packets: Iterable[KeypointPacket], plugin: StoragePlugin) -> int:
    store, count = typestore(), 0
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        keypoints = {n: writer.add_connection(f"/{_topic(n)}/keypoints", KEYPOINTS_2D, typestore=store) for n in cameras}
        infos = {n: writer.add_connection(f"/{_topic(n)}/camera_info", CAMERA_INFO, typestore=store) for n in cameras}
        for packet in packets:
            camera = cameras.get(packet.camera)
            if camera is None:
                raise InputError(f"A packet comes from camera '{packet.camera}', which is not one of {', '.join(cameras)}.")
            arrival = packet.stamp_ns if packet.received_ns is None else packet.received_ns
            info = infos.pop(packet.camera, None)
            if info is not None:
                writer.write(info, arrival, store.serialize_cdr(camera_info_message(camera, packet.stamp_ns), CAMERA_INFO))
            writer.write(keypoints[packet.camera], arrival, store.serialize_cdr(_keypoints(packet, camera, keypoint_set), KEYPOINTS_2D))
            count += 1
    return count


def _keypoints(packet: KeypointPacket, camera: Camera, keypoint_set: KeypointSet) -> Any:
    return typestore().types[KEYPOINTS_2D](
        header=_header(packet.stamp_ns, camera.name),
        camera=camera.name,
        keypoint_set=keypoint_set.name,
        width=camera.width,
        height=camera.height,
        person_ids=np.asarray(packet.person_ids, np.int32),
        xy=np.asarray(packet.xy, np.float32).reshape(-1),
        confidence=np.asarray(packet.confidence, np.float32).reshape(-1),
    )


def camera_info_message(camera: Camera, stamp_ns: int) -> Any:
    """sensor_msgs/CameraInfo (intrinsics only) as rosbags' type."""
    types = typestore().types
    m = np.asarray(camera.matrix, float)
    return types[CAMERA_INFO](
        header=_header(stamp_ns, camera.name),
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob" if camera.distortion_model == "none" else camera.distortion_model,
        d=np.asarray(camera.distortion if len(camera.distortion) else np.zeros(5), float),
        k=m.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.column_stack([m, np.zeros(3)]).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def _header(stamp_ns: int, camera: str) -> Any:
    types = typestore().types
    seconds, nanoseconds = divmod(int(stamp_ns), 1_000_000_000)
    stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=f"{_topic(camera)}_optical_frame")


def _topic(camera: str) -> str:
    """A camera's name as a ROS topic name allows it."""
    name = re.sub(r"\W", "_", camera, flags=re.ASCII)
    return f"camera_{name}" if name[:1].isdigit() else name
