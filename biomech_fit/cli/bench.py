"""`biomech-fit bench`: latency and throughput of the solver on this machine."""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biomech_fit.core.types import KeypointPacket
    from biomech_fit.stream.pipeline import FitPipeline

SETS = {17: "coco_17", 25: "body_25", 26: "halpe_26", 87: "movi_87"}
"""Keypoint sets that the bench can simulate, by their number of keypoints."""
SETTLED_S = 2.2
"""So long at the start does not count: the window fills, and every frame moves the slow states."""
DEFAULT_CASES = ((8, 26, None), (8, 87, None))
REFERENCE_SIZE, REFERENCE_RUNS = 600, 100
"""A window of half a second is 15 control points of 40 coordinates: the reference is one dense Cholesky factorisation of a matrix of that size."""


def add_parser(subparsers: Any) -> None:
    """Adds the sub-command."""
    parser = subparsers.add_parser(
        "bench",
        help="latency and throughput of this machine",
        description="Times every new frame of a moving window, from the last camera's keypoints handed in to the result on the host: once with "
        "frames that come at the cameras' pace, and once with no pause between them (frames_per_s). Prints one JSON object.",
    )
    parser.add_argument("--cameras", type=int, help="number of cameras (default 8)")
    parser.add_argument("--keypoints", type=int, help=f"number of keypoints: {', '.join(map(str, SETS))} (default: 26 and 87)")
    parser.add_argument("--window", type=int, help="least number of frames in the window (default: what the configuration's lag needs)")
    parser.add_argument("--people", type=int, default=1, help="people walking about and tracked, 1 to 4 (default 1)")
    parser.add_argument("--frame-rate", type=float, default=60.0, metavar="HZ", help="frames per second of the simulated cameras (default 60)")
    parser.add_argument("--seconds", type=float, default=10.0, help="simulated seconds per case (default 10)")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="where the solver runs (default auto)")
    parser.add_argument("--no-cold-start", action="store_true", help="leave out the start with an empty compilation cache, which takes half a minute")
    parser.add_argument("--only-start", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the JSON object."""
    from biomech_fit.core.errors import InputError

    if args.keypoints is not None and args.keypoints not in SETS:
        raise InputError(f"--keypoints must be one of {', '.join(map(str, SETS))}, not {args.keypoints}.")
    if not 1 <= args.people <= 4:
        raise InputError(f"--people must be within 1 and 4, not {args.people}.")
    if not 10 <= args.frame_rate <= 240:
        raise InputError(f"--frame-rate must be within 10 and 240 Hz, not {args.frame_rate:g}.")
    given = (args.cameras, args.keypoints, args.window)
    cameras, keypoints, window = (default if value is None else value for value, default in zip(given, DEFAULT_CASES[0], strict=True))
    if not 2 <= cameras <= 32 or not (window is None or 8 <= window <= 256) or not 1 <= args.seconds <= 600:
        raise InputError("--cameras must be within 2 and 32, --window within 8 and 256, and --seconds within 1 and 600.")
    cases = DEFAULT_CASES if given == (None, None, None) and args.people == 1 else ((cameras, keypoints, window),)
    if args.only_start:
        print(json.dumps({"ready_s": _ready(*cases[0], args.device)}))
        return 0
    out: dict[str, Any] = {}
    if not args.no_cold_start:
        out["ready_cold_s"], out["ready_warm_s"] = _starts(cases[0], args.device)
    out["cases"] = [_case(*case, args.seconds, args.device, args.people, args.frame_rate) for case in cases]
    import jax

    from biomech_fit.stream.device import choose_device

    device = choose_device(args.device)
    out["device"] = f"{device.device_kind} ({platform.processor() or platform.machine()})" if device.platform != "cpu" else f"cpu: {_cpu_name()}"
    out["jax"] = jax.__version__
    out["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(out, indent=2))
    return 0


def _pipeline(cameras: int, keypoints: int, window: int | None, seconds: float, device: str, people: int = 1, frame_rate_hz: float = 60.0):
    """A simulation and the pipeline for it."""
    from biomech_fit.config import FitConfig
    from biomech_fit.formats.model import load_body_model
    from biomech_fit.sim.config import SimConfig
    from biomech_fit.sim.simulate import simulate
    from biomech_fit.stream.pipeline import FitPipeline

    simulation = simulate(SimConfig(seconds=seconds, cameras=cameras, keypoint_set=SETS[keypoints], people=people, frame_rate_hz=frame_rate_hz))
    config = FitConfig(device=device)
    stream = replace(config.stream, max_people=people, frame_rate_hz=frame_rate_hz)
    config = replace(config, window=replace(config.window, frames=window or config.window.frames), stream=stream)
    body = load_body_model(None, simulation.keypoint_set)
    return simulation, FitPipeline(body, simulation.cameras, simulation.keypoint_set, config)


def _case(cameras: int, keypoints: int, window: int | None, seconds: float, device: str, people: int, frame_rate_hz: float) -> dict[str, Any]:
    import numpy as np

    from biomech_fit.core.errors import InputError
    from biomech_fit.stream.device import count_compilations
    from biomech_fit.stream.solver_options import window_frames

    simulation, pipeline = _pipeline(cameras, keypoints, window, seconds, device, people, frame_rate_hz)
    frames = window_frames(pipeline.config, pipeline.config.stream.frame_rate_hz)
    least_s = (2 * frames + 5) / frame_rate_hz
    if seconds < least_s:
        raise InputError(f"--seconds is {seconds:g}; the window of {frames} frames fills twice before anything counts, so it must be at least {least_s:.1f}.")
    pipeline.compile()
    packets = list(simulation.packets())
    with count_compilations() as compilations:
        times, _ = _played(pipeline, packets, 1 / frame_rate_hz)
        pipeline.reset(subject=True)
        _, starts = _played(pipeline, packets, 0.0)
    reference_ms = _reference_ms()
    skipped = max(2 * frames, min(round(SETTLED_S * frame_rate_hz), len(times) // 2))
    steady = np.array(times[skipped:])
    p50, p95, p99 = (round(float(np.percentile(steady, q)), 2) for q in (50, 95, 99))
    return {
        "cameras": cameras,
        "keypoints": keypoints,
        "window": frames,
        "people": people,
        "frame_rate_hz": frame_rate_hz,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "frames_per_s": round(1 / float(np.mean(np.diff(starts[skipped:]))), 1),
        "reference_ms": round(reference_ms, 2),
        "p50_in_references": round(p50 / reference_ms, 2),
        "frames": len(steady),
        "recompilations": compilations.count,
    }


def _played(pipeline: FitPipeline, packets: Sequence[KeypointPacket], period_s: float) -> tuple[list[float], list[float]]:
    """Of every fitted frame: ms from the last camera's keypoints to its result, and when that was out (s). Frames come `period_s` apart, or later where the
    one before is not done."""
    times: list[float] = []
    out: list[float] = []
    due = time.perf_counter()
    for packet in packets:
        began = time.perf_counter()
        pipeline.feed_keypoints(packet)
        results = pipeline.poll()
        if any(r.causal is not None for r in results):
            out.append(time.perf_counter())
            times.append(1e3 * (out[-1] - began))
            due = max(due + period_s, out[-1])
            time.sleep(due - out[-1])
    return times, out


def _reference_ms() -> float:
    """Median time of a float32 Cholesky factorisation (LAPACK, one thread): what this machine can do now, so that figures of different machines compare."""
    import numpy as np

    half = np.random.default_rng(0).standard_normal((REFERENCE_SIZE, REFERENCE_SIZE), np.float32)
    matrix = half @ half.T + REFERENCE_SIZE * np.eye(REFERENCE_SIZE, dtype=np.float32)
    times = []
    for _ in range(REFERENCE_RUNS):
        began = time.perf_counter()
        np.linalg.cholesky(matrix)
        times.append(1e3 * (time.perf_counter() - began))
    return float(np.median(times))


def _ready(cameras: int, keypoints: int, window: int | None, device: str) -> float:
    """Seconds from the process's start to ready: imports, model, compilation."""
    _, pipeline = _pipeline(cameras, keypoints, window, 1.0, device)
    pipeline.compile()
    return time.time() - _process_start()


def _process_start() -> float:
    import os

    with open("/proc/self/stat") as f:
        ticks = int(f.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/uptime") as f:
        uptime = float(f.read().split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def _starts(case: tuple[int, int, int | None], device: str) -> tuple[float, float]:
    """Start in a new process with an empty compilation cache, and again with the cache it left."""
    import os
    import tempfile

    cameras, keypoints, window = case
    command = [sys.executable, "-m", "biomech_fit.cli.main", "bench", "--only-start", "--device", device]
    command += ["--cameras", str(cameras), "--keypoints", str(keypoints)]
    command += [] if window is None else ["--window", str(window)]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
        seconds = []
        for _ in range(2):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            seconds.append(round(float(json.loads(done.stdout)["ready_s"]), 2))
    return seconds[0], seconds[1]


def _cpu_name() -> str:
    import os

    try:
        with open("/proc/cpuinfo") as f:
            name = next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.machine()
    return f"{name}, {os.cpu_count()} cores"
