"""What share of a core gait_node takes while body_state and body_state_smoothed arrive at 100 Hz, both and each alone.

    python benchmark/gait_cost.py [--rate 100] [--seconds 20] [-o OUT.json]

The node runs as a process of its own; this one publishes the states of a person who walks on a treadmill (heels and toes of the labelled recording, whole
strides over and over, all other values zero) with all the names of the full body. Measured is the processor time of all threads of the node, user and system,
after the first seconds. Beside it the same for a process that receives the two topics and does nothing, as Python objects and as bytes. Prints one JSON object;
exit code 1 where the target is missed. Other load on the machine makes the figures greater.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import numpy as np
from gait_walks import treadmill

from biomech_fit.cli.demo import unused_domain
from biomech_fit.core.types import EventType, Side
from biomech_fit.formats.atomic import write_text
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model

TARGET_PERCENT = 5.0
WARM_UP_S = 5.0
LAG_S = 0.25
_LISTENER = """
import sys, rclpy
from rclpy.node import Node
from biomech_fit import msg as bf
from biomech_fit.ros import qos
from biomech_fit.ros.spin import run_node
class Listener(Node):
    def __init__(self):
        super().__init__("listener")
        for topic in ("body_state", "body_state_smoothed"):
            self.create_subscription(bf.BodyState, topic, lambda _: None, qos.results(), raw=sys.argv[1] == "raw")
run_node(Listener, None)
"""
NODE = ["-m", "biomech_fit.nodes.gait"]
LIVE, LATE = "body_state", "body_state_smoothed"
RUNS = {
    "gait_node": (NODE, (LIVE, LATE)),
    f"gait_node, {LIVE} alone": (NODE, (LIVE,)),
    f"gait_node, {LATE} alone": (NODE, (LATE,)),
    "listener, objects": (["-c", _LISTENER, "objects"], (LIVE, LATE)),
    "listener, bytes": (["-c", _LISTENER, "raw"], (LIVE, LATE)),
}
"""Command and topics that are published."""


def strides(rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """(T, 2, 3) m each: heels and toes over whole strides, which can be repeated without a jump."""
    (walk,) = treadmill()
    contacts = [label.time_s for label in walk.labels if (label.side, label.type) == (Side.RIGHT, EventType.INITIAL_CONTACT)]
    times = np.arange(contacts[0], contacts[-1], 1.0 / rate_hz)
    share = ((times - times[0]) / (contacts[-1] - contacts[0]))[:, None]
    out = []
    for points in (walk.heels, walk.toes):
        columns = points.reshape(len(points), -1)
        ends = [[np.interp(t, walk.time_s, column) for column in columns.T] for t in (contacts[0], contacts[-1])]
        sampled = np.stack([np.interp(times, walk.time_s, column) for column in columns.T], axis=1)
        out.append((sampled - share * np.subtract(ends[1], ends[0])).reshape(-1, 2, 3))
    return out[0], out[1]


def messages(rate_hz: float) -> list[Any]:
    """A body state for each instant of the strides."""
    from biomech_fit import msg as bf
    from biomech_fit.ros.convert import floats

    keypoint_set = load_keypoint_set("halpe_26")
    body = load_body_model(None, keypoint_set)
    centres, points = list(body.joint_centre_names), list(body.keypoint_names)
    still, out = floats(np.zeros(len(body.coordinate_names))), []
    for heels, toes in zip(*strides(rate_hz), strict=True):
        xyz, keypoints = np.zeros((len(centres), 3)), np.zeros((len(points), 3))
        for side in Side:
            letter = side.name[0]
            xyz[centres.index(f"{letter}Heel")], xyz[centres.index(f"{letter}Toe")] = heels[side], toes[side]
            keypoints[points.index(f"{letter}Heel")] = heels[side]
        out.append(
            bf.BodyState(
                subject="somebody",
                status_text="The body is tracked.",
                joint_names=list(body.coordinate_names),
                position=still,
                velocity=still,
                position_std=still,
                keypoint_set=keypoint_set.name,
                keypoint_names=points,
                keypoints=floats(keypoints),
                keypoints_std=floats(np.zeros_like(keypoints)),
                joint_centre_names=centres,
                joint_centres=floats(xyz),
                cameras_used=[f"cam{n:02d}" for n in range(1, 9)],
            )
        )
        out[-1].header.frame_id = "world"
    return out


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Publisher:
    """Both topics, at their rate, for as long as it takes."""

    def __init__(self, rate_hz: float) -> None:
        import rclpy

        from biomech_fit import msg as bf
        from biomech_fit.ros import qos

        rclpy.init()
        self._node = rclpy.create_node("walker")
        self._states, self._rate_hz = messages(rate_hz), rate_hz
        self._live, self._late = (self._node.create_publisher(bf.BodyState, topic, qos.results()) for topic in (LIVE, LATE))
        self.contacts = 0
        self._node.create_subscription(bf.GaitEvent, "gait_events", self._count, qos.results(100))

    def _count(self, _: Any) -> None:
        self.contacts += 1

    def linked(self) -> bool:
        return min(self._live.get_subscription_count(), self._late.get_subscription_count()) > 0

    def publish(self, seconds: float, measure: Any, topics: tuple[str, ...]) -> float:
        """Percent of a core that a process took (`measure` gives its seconds so far) while these topics were published."""
        import rclpy

        lag = round(LAG_S * self._rate_hz)
        begin, base_ns, begun = time.monotonic(), time.time_ns(), (0.0, 0.0)
        count = round((WARM_UP_S + seconds) * self._rate_hz)
        for k in range(count):
            if k == round(WARM_UP_S * self._rate_hz):
                begun = (measure(), time.monotonic())
            for topic, publisher, j, lag_s in ((LIVE, self._live, k, 0.0), (LATE, self._late, k - lag, LAG_S)):
                if topic in topics and j >= 0:
                    message = self._states[j % len(self._states)]
                    stamp_ns = base_ns + round(j * 1e9 / self._rate_hz)
                    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
                    message.lag_s = lag_s
                    publisher.publish(message)
            rclpy.spin_once(self._node, timeout_sec=0)
            time.sleep(max(0.0, begin + (k + 1) / self._rate_hz - time.monotonic()))
        return 100 * (measure() - begun[0]) / (time.monotonic() - begun[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", metavar="HZ", type=float, default=100.0, help="of each topic (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured, for each process (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="the figures as JSON")
    arguments = parser.parse_args()
    if not treadmill():
        raise SystemExit("The labelled walk on a treadmill is not here: see docs/recordings.md.")
    os.environ["ROS_DOMAIN_ID"] = str(unused_domain())
    publisher = Publisher(arguments.rate)
    figures: dict[str, Any] = {"rate_hz": arguments.rate, "target_percent": TARGET_PERCENT}
    for name, (command, topics) in RUNS.items():
        process = subprocess.Popen([sys.executable, *command])
        while not publisher.linked():
            time.sleep(0.1)
        figures[name] = round(publisher.publish(arguments.seconds, lambda pid=process.pid: cpu_seconds(pid), topics), 2)
        process.terminate()
        process.wait()
        while publisher.linked():
            time.sleep(0.1)
    figures["contacts"] = publisher.contacts
    figures["load_average"] = os.getloadavg()[0]
    text = json.dumps(figures, indent=1)
    print(text)
    if arguments.output:
        write_text(arguments.output, text + "\n")
    return int(figures["gait_node"] > TARGET_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
