"""`biomech-fit demo`: simulator, fitter, gait and recorder nodes as processes over real DDS topics, then a report."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from biomech_fit.core.errors import InputError

READY_S = 300.0
END_S = 240.0
IDLE_S = 3.0
USUAL_HZ, SLOW_HZ = 60.0, 25.0
"""Frame rate of the cameras, and the one for a machine that did not keep up with it."""
FIRST_DOMAIN, LAST_DOMAIN = 101, 215
"""Where domains that people set by hand hardly are; DDS allows up to 232."""


def add_parser(subparsers: Any) -> None:
    """Adds the sub-command."""
    parser = subparsers.add_parser(
        "demo",
        help="a simulated walk over real ROS topics, fitted live, with a report",
        description="Starts the simulator, fitter, gait and recorder nodes as processes, on this machine only, and writes a report of what came out.",
    )
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, default=Path("demo_output"), help="folder for the results (default: demo_output)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the walk (default 20)")
    parser.add_argument("--cameras", type=int, default=8, help="number of cameras (default 8)")
    parser.add_argument("--frame-rate", metavar="HZ", type=float, help="frames per second (default 60, and 25 once more where the machine does not keep up)")
    parser.add_argument("--keypoint-set", metavar="SET", default="halpe_26", help="keypoint set (default halpe_26)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation (default 0)")
    parser.add_argument("--config", metavar="F.yaml", type=Path, help="settings of the fit (docs/parameters.md)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the demonstration; 0 when a person was tracked and no frame was lost, 1 otherwise."""
    code = _demonstrate(args, USUAL_HZ if args.frame_rate is None else args.frame_rate)
    if code and args.frame_rate is None:
        print(f"This machine does not keep up with {args.cameras} cameras at {USUAL_HZ:g} Hz; once more at {SLOW_HZ:g} Hz.")
        code = _demonstrate(args, SLOW_HZ)
    return code


def _demonstrate(args: argparse.Namespace, frame_rate_hz: float) -> int:
    from dataclasses import replace

    from biomech_fit.config.load import from_mapping, load_config
    from biomech_fit.formats.calibration import write_calibration
    from biomech_fit.formats.folder import make_folder
    from biomech_fit.formats.keypoint_sets import load_keypoint_set
    from biomech_fit.sim.config import SimConfig
    from biomech_fit.sim.simulate import simulate

    settings = {"seconds": args.seconds, "cameras": args.cameras, "frame_rate_hz": frame_rate_hz, "keypoint_set": args.keypoint_set, "seed": args.seed}
    config = from_mapping(settings, SimConfig())
    if config.seconds < 4:
        raise InputError(f"seconds is {config.seconds:g}; the demonstration needs at least 4 s.")
    load_keypoint_set(args.keypoint_set)
    if args.config:
        load_config(args.config)
    out: Path = args.out.absolute()
    truth, logs = out / "truth", out / "logs"
    make_folder(out)
    for folder in (truth, logs):
        folder.mkdir(parents=True, exist_ok=True)
    # The cameras do not depend on the length: with them the fitter can compile while the walk is simulated.
    calibration = truth / "Calib.toml"
    write_calibration(calibration, simulate(replace(config, seconds=0.2)).cameras)
    (out / "summary.json").unlink(missing_ok=True)
    rig = {"calibration": str(calibration), "keypoint_set": args.keypoint_set}
    rate = {"fit.stream.frame_rate_hz": frame_rate_hz}
    fit_file = {"config": str(args.config.absolute())} if args.config else {}
    with Processes(logs) as nodes:
        print(f"Starting the nodes on ROS domain {nodes.domain} ...")
        began = time.monotonic()
        nodes.start("fitter", {**rig, **rate, **fit_file, "autostart": True})
        nodes.start("gait", {})
        nodes.start("recorder", {**rig, "output": str(out), "frame_rate_hz": frame_rate_hz, "idle_s": IDLE_S})
        nodes.start("simulator", {**{f"sim.{name}": value for name, value in settings.items()}, "output": str(truth), "min_subscribers": 2})
        for name in ("fitter", "simulator"):
            nodes.wait_for(name, "Ready", READY_S)
        print(f"Ready after {time.monotonic() - began:.1f} s. A person walks for {config.seconds:g} s in front of {config.cameras} cameras ...")
        nodes.wait_for("simulator", "Sent", config.seconds + 60)
        nodes.wait_for("recorder", "Written:", END_S)
        sent = nodes.text("simulator")
    return _say(out, truth, round(config.seconds * config.frame_rate_hz), sent)


def _say(out: Path, truth: Path, frames_sent: int, simulator_log: str) -> int:
    """The summary in a few lines."""
    from biomech_fit.report.evaluate import evaluate

    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    topics, status = summary["topics"], summary.get("status", {})
    received = topics["body_state"]
    tracked = sum(status.get(name, 0) for name in ("OK", "REINITIALISED"))
    lost = max(frames_sent - received, 0) + topics["frames_left_out"] * (received >= frames_sent)
    partial = sum(topics["frames_without_camera"].values())
    lateness = next((line.split(";")[-1].strip(" .") for line in simulator_log.splitlines() if "Sent" in line), "")
    print(f"Frames: {frames_sent} sent, {received} fitted, {lost} lost, {partial} camera frames missing; tracked in {tracked}. Sender: {lateness}.")
    latency, total = summary["latency_ms"], topics.get("exposure_to_subscriber_ms")
    end_to_end = f"; from exposure to a subscriber p50 {total['p50']:.1f} ms, p99 {total['p99']:.1f} ms" if total else ""
    print(f"Latency of the fit: p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms{end_to_end}. Real-time factor {summary['realtime_factor']:.2f}.")
    evaluation = evaluate(out, truth)
    with contextlib.suppress(KeyError, TypeError):
        from biomech_fit.report.evaluation_table import evaluation_table

        print(evaluation_table(evaluation))
    print(f"Written: {out / 'report.html'} (joint_angles.mot, keypoints.trc, gait_events.csv, summary.json, evaluation.json ... beside it)")
    return 0 if tracked and not lost else 1


class Processes:
    """Node processes on an unused ROS domain, their output in log files; all are ended on leaving."""

    def __init__(self, logs: Path) -> None:
        self.domain = unused_domain()
        self._logs = logs
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._lines: dict[str, list[str]] = {}
        self._news = threading.Condition()

    def __enter__(self) -> Processes:
        return self

    def start(self, name: str, values: dict[str, Any]) -> None:
        """Starts `biomech_fit.nodes.<name>` with parameters."""
        environment = {**os.environ, "ROS_DOMAIN_ID": str(self.domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", f"biomech_fit.nodes.{name}", "--ros-args"]
        for key, value in values.items():
            command += ["-p", f"{key}:={json.dumps(value)}"]
        # A process group of its own: Ctrl-C reaches us alone, and we end the nodes in order.
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self._running[name], self._lines[name] = process, []
        threading.Thread(target=self._read, args=(name, process), daemon=True).start()

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with (self._logs / f"{name}.log").open("w", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                with self._news:
                    self._lines[name].append(line.rstrip())
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def text(self, name: str) -> str:
        with self._news:
            return "\n".join(self._lines[name])

    def wait_for(self, name: str, words: str, seconds: float) -> None:
        """Until a node has printed these words. Raises InputError where a node ends before, or time is up; the last line says why."""
        end = time.monotonic() + seconds
        with self._news:
            while not any(words in line for line in self._lines[name]):
                for other, process in self._running.items():
                    code = process.poll()
                    if code is not None and (code != 0 or other == name) and not any(words in line for line in self._lines[name]):
                        self._news.wait(0.5)  # the reader may still have its last words
                        said = [line for line in self._lines[other] if line] or ["it said nothing"]
                        last = next((line.split("]: ")[-1] for line in reversed(said) if line.startswith("[ERROR]")), said[-1])
                        raise InputError(f"The {other} node ended (exit code {code}): {last} ({self._logs / other}.log)")
                if time.monotonic() > end:
                    raise InputError(f"The {name} node did not get as far as '{words}' within {seconds:g} s; see {self._logs / name}.log.")
                self._news.wait(0.2)

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            for number, patience_s in ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
                alive = [process for process in self._running.values() if process.poll() is None]
                for process in alive:
                    process.send_signal(number)
                end = time.monotonic() + patience_s
                for process in alive:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(max(0.0, end - time.monotonic()))


def unused_domain() -> int:
    """A ROS domain whose discovery port nobody on this machine listens to (DDS-RTPS 2.5, 9.6.2: port 7400 + 250 * domain, unicast from + 10)."""
    candidates = list(range(FIRST_DOMAIN, LAST_DOMAIN))
    random.shuffle(candidates)
    for domain in candidates:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7400 + 250 * domain + 10))
                return domain
            except OSError:
                continue
    raise InputError(f"All ROS domains from {FIRST_DOMAIN} to {LAST_DOMAIN - 1} are in use on this machine.")
