"""From the exposure to joint_states over real DDS topics: how long after the last camera's keypoints do the joint angles arrive?

    python benchmark/topic_latency.py                     # 8 cameras, 26 keypoints, 60 Hz, 30 s; target: p99 at most 33 ms
    python benchmark/topic_latency.py --keypoint-set movi_87 --seconds 60 -o latency.json

The simulator node and the fitter node run as processes of their own; this process subscribes to all keypoints and to what the fitter publishes. Both arrivals,
that of a frame's last keypoints and that of its joint angles, are taken here, on the same clock and past the same kind of subscription. The first seconds do
not count: the first frame takes several iterations, and the window is still being filled. Prints one JSON object; exit code 1 where the target is missed or
frames are lost.

Where the time goes, per frame: `last_arrival_ms` (exposure to the arrival of the last camera's keypoints; not the fitter's), `fit_ms` (its own figure,
body_state.latency_s: waiting in the queue, solving, reading back), `rest_ms` (all else beyond that arrival: receiving and checking, thread changes, making the
message, its transport).
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from biomech_fit.cli.demo import Processes
from biomech_fit.config.load import from_mapping
from biomech_fit.core.errors import InputError
from biomech_fit.formats.calibration import write_calibration
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import simulate

TARGET_MS = 33.0
READY_S = 300.0


def stamp_of(message: bytes) -> int:
    """Stamp, ns, of a serialised message that begins with a header (CDR, little endian: 4 bytes of encapsulation, int32 seconds, uint32 nanoseconds)."""
    seconds, nanoseconds = struct.unpack_from("<iI", message, 4)
    return seconds * 1_000_000_000 + nanoseconds


class Arrivals:
    """Arrival times by stamp, from raw messages, which cost this process next to nothing."""

    def __init__(self, node: Any, cameras: list[str]) -> None:
        from sensor_msgs.msg import JointState

        from biomech_fit import msg as bf
        from biomech_fit.ros import qos

        self.keypoints: dict[int, dict[str, int]] = {}
        """Stamp to camera to arrival, ns."""
        self.joint_states: dict[int, int] = {}
        self.body_states: dict[int, bytes] = {}

        def listen(kind: type, topic: str, callback: Callable[[bytes], None], profile: Any) -> None:
            node.create_subscription(kind, topic, callback, profile, raw=True)

        for name in cameras:
            listen(bf.Keypoints2D, f"{name}/keypoints", partial(self._keypoints, name), qos.keypoints())
        listen(JointState, "joint_states", self._joint_states, qos.results(1000))
        listen(bf.BodyState, "body_state", self._body_state, qos.results(1000))

    def _keypoints(self, camera: str, message: bytes) -> None:
        arrived = time.time_ns()
        self.keypoints.setdefault(stamp_of(message), {}).setdefault(camera, arrived)

    def _joint_states(self, message: bytes) -> None:
        arrived = time.time_ns()
        self.joint_states.setdefault(stamp_of(message), arrived)

    def _body_state(self, message: bytes) -> None:
        self.body_states[stamp_of(message)] = bytes(message)


def measure(config: SimConfig, skip_s: float, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Runs the nodes and returns the JSON object."""
    calibration = folder / "Calib.toml"
    cameras = simulate(replace(config, seconds=0.2)).cameras
    write_calibration(calibration, cameras)
    with Processes(folder) as nodes:
        os.environ["ROS_DOMAIN_ID"], os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = str(nodes.domain), "LOCALHOST"
        import rclpy

        from biomech_fit.ros.spin import make_executor

        fit = {f"fit.{name}": value for name, value in settings.items()}
        rig = {"calibration": str(calibration), "keypoint_set": config.keypoint_set, "fit.stream.frame_rate_hz": config.frame_rate_hz}
        nodes.start("fitter", {**rig, **fit, "autostart": True})
        nodes.wait_for("fitter", "Ready", READY_S)
        rclpy.init()
        try:
            node = rclpy.create_node("latency")
            arrivals = Arrivals(node, [camera.name for camera in cameras])
            executor = make_executor()
            executor.add_node(node)
            names = ("seconds", "cameras", "frame_rate_hz", "keypoint_set", "seed")
            nodes.start("simulator", {**{f"sim.{name}": getattr(config, name) for name in names}, "min_subscribers": 2})
            end = time.monotonic() + config.seconds + READY_S
            sent_at: float | None = None
            while sent_at is None or time.monotonic() < sent_at + 2.0:
                executor.spin_once(timeout_sec=0.1)
                if sent_at is None and "Sent" in nodes.text("simulator"):
                    sent_at = time.monotonic()
                if time.monotonic() > end:
                    raise InputError(f"The simulator did not finish; see {folder / 'simulator.log'}.")
            sender = nodes.text("simulator").splitlines()[-1].split("]: ")[-1]
            node.destroy_node()
        finally:
            rclpy.try_shutdown()
    return figures(arrivals, config, skip_s, sender)


def figures(arrivals: Arrivals, config: SimConfig, skip_s: float, sender: str) -> dict[str, Any]:
    """Percentiles over the frames after the start whose keypoints all arrived here."""
    from rclpy.serialization import deserialize_message

    from biomech_fit import msg as bf

    stamps = sorted(arrivals.keypoints)
    counted = [s for s in stamps if s >= stamps[0] + skip_s * 1e9] if stamps else []
    rows = []
    for stamp in counted:
        cameras = arrivals.keypoints[stamp]
        if len(cameras) < config.cameras or stamp not in arrivals.joint_states or stamp not in arrivals.body_states:
            continue
        arrived = max(cameras.values())
        fit = deserialize_message(arrivals.body_states[stamp], bf.BodyState).latency_s * 1e9
        joints = arrivals.joint_states[stamp]
        rows.append((joints - arrived, joints - stamp, arrived - stamp, fit, joints - arrived - fit))
    if not rows:
        raise InputError("No frame went all the way; the logs of the nodes say why.")
    names = ("beyond_last_arrival_ms", "exposure_to_joint_states_ms", "last_arrival_ms", "fit_ms", "rest_ms")
    values = 1e-6 * np.array(rows, float)
    percentiles = {name: {f"p{q}": round(float(np.percentile(values[:, i], q)), 2) for q in (50, 95, 99, 100)} for i, name in enumerate(names)}
    lost = len([s for s in counted if s not in arrivals.joint_states])
    passed = percentiles["beyond_last_arrival_ms"]["p99"] <= TARGET_MS and lost == 0
    return {
        "verdict": "passed" if passed else "failed",
        "target_p99_ms": TARGET_MS,
        **percentiles,
        "frames": len(rows),
        "frames_lost": lost,
        "frames_partial_here": len(counted) - len(rows) - lost,
        "cameras": config.cameras,
        "keypoint_set": config.keypoint_set,
        "frame_rate_hz": config.frame_rate_hz,
        "seconds_left_out": skip_s,
        "sender": sender,
        "load_average": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the walk (default 30)")
    parser.add_argument("--skip", type=float, default=3.0, help="seconds at the start that do not count (default 3)")
    parser.add_argument("--cameras", type=int, default=8, help="number of cameras (default 8)")
    parser.add_argument("--keypoint-set", default="halpe_26", help="keypoint set (default halpe_26)")
    parser.add_argument("--frame-rate", type=float, default=60.0, help="frames per second (default 60)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation (default 0)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the fit, e.g. stream.deadline_s=0.02")
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON object here")
    args = parser.parse_args()
    try:
        content = {"seconds": args.seconds, "cameras": args.cameras, "frame_rate_hz": args.frame_rate, "keypoint_set": args.keypoint_set, "seed": args.seed}
        config = from_mapping(content, SimConfig())
        if not 0 <= args.skip < args.seconds - 1:
            raise InputError(f"--skip is {args.skip:g}; it must be from 0 to a second less than --seconds ({args.seconds:g}).")
        settings = {name: json.loads(value) for name, _, value in (entry.partition("=") for entry in args.set)}
        with tempfile.TemporaryDirectory(prefix="biomech_fit_latency_") as folder:
            out = measure(config, args.skip, settings, Path(folder))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    text = json.dumps(out, indent=2)
    print(text)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    p99, lost = out["beyond_last_arrival_ms"]["p99"], out["frames_lost"]
    print(f"Latency {out['verdict']}: p99 {p99:g} ms beyond the last camera's arrival (target {TARGET_MS:g}), {lost} frames lost.", file=sys.stderr)
    return int(out["verdict"] != "passed")


if __name__ == "__main__":
    raise SystemExit(main())
