"""Half an hour of streaming in which something goes wrong all the time: does the fit survive, stay finite, stay small and come back?

    python benchmark/soak.py                              # 30 simulated minutes at 60 Hz, as fast as the machine can
    python benchmark/soak.py --minutes 5 --seed 3 -o soak.json
    python benchmark/soak.py --minutes 5 --realtime       # at the pace of the cameras, with latencies

A person walks in parts of half a minute, leaves at the end of each and returns in the next. Meanwhile cameras drop out and return, packets are lost, late,
doubled or out of order, left and right are confused, clocks are set, strangers come (`biomech_fit.sim.fault_plan`), all from the seed. Packets go through
`FitPipeline` in this process; they are made in another one, so that the memory measured is the fit's. Prints one JSON object and a verdict, and ends with exit
code 1 where a check failed:

* no exception, no value that is not finite in anything that comes out, no compilation after ready;
* resident memory at the end at most 5 % above that after two minutes (judged from four minutes on);
* after each fault's end the keypoints (causal, median of the body) are within 40 mm of the truth within 1 s, and stay so for a quarter of a second;
* without a fault, no frame is missing or beyond these 40 mm.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from biomech_fit.core.types import FrameResult, KeypointPacket
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.fault_plan import KINDS, plan_faults
from biomech_fit.sim.faults import ALL, Away, ClockStep, Fault
from biomech_fit.sim.simulate import Simulation, simulate

BOUND_M = 0.040
"""Eight times the error of an undisturbed walk, and less than a body whose left and right are exchanged, or one that is half a step behind, is off."""
RECOVERY_S, STEADY_S = 1.0, 0.25
MEMORY_GROWTH, MEMORY_FROM_S, MEMORY_JUDGED_S = 0.05, 120.0, 240.0
PART_S, AWAY_S = 30.0, 0.6
"""A part ends and begins with the person away for this long."""
EDGE_FRAMES = 2
"""So many of a part's frames may be counted with its neighbours."""
POLL_NS = 10_000_000
START_S = 10.0
"""Stamp of the first frame: a clock that is set back must not reach below zero."""
PATHS = ("shuttle", "eight", "circle")
WALK = SimConfig(seconds=PART_S, calibration_rotation_deg=0.4, calibration_translation_mm=15.0)


@dataclass(frozen=True)
class Part:
    """Half a minute of the stream, on its clock."""

    number: int
    packets: list[KeypointPacket]
    """In the order of arrival; `received_ns` is given."""
    time_s: np.ndarray
    """(T,) frame times."""
    keypoints: np.ndarray
    """(T, K, 3) m, the truth."""
    faults: list[Fault]


def walk(seed: int, cameras: int, part: int, seconds: float, kinds: tuple[str, ...]) -> Simulation:
    """One part: another walk of the same person before the same cameras, with its own faults."""
    rng = np.random.default_rng([seed, part])
    ends = [Away(until_s=AWAY_S)] * (part > 0) + [Away(from_s=seconds - AWAY_S)]
    planned = plan_faults(rng, seconds - AWAY_S, cameras, kinds=kinds, first_s=AWAY_S + 2.0) if kinds else ()
    config = replace(WALK, seed=seed, cameras=cameras, seconds=seconds, path=PATHS[part % len(PATHS)])
    return simulate(config, part=part, faults=[*ends, *planned])


def make_part(seed: int, cameras: int, part: int, seconds: float, kinds: tuple[str, ...]) -> Part:
    """`walk` on the stream's clock."""
    simulation = walk(seed, cameras, part, seconds, kinds)
    start_s = START_S + part * PART_S
    start_ns = round(start_s * 1e9)
    packets = []
    for packet in simulation.packets():
        arrival = packet.stamp_ns if packet.received_ns is None else packet.received_ns
        packets.append(replace(packet, stamp_ns=packet.stamp_ns + start_ns, received_ns=arrival + start_ns))
    faults = [replace(f, from_s=f.from_s + start_s, until_s=f.until_s + start_s) for f in simulation.faults]
    return Part(part, packets, simulation.truth.time_s + start_s, simulation.truth.keypoints, faults)


def parts(seed: int, cameras: int, seconds: float, kinds: tuple[str, ...]) -> Iterator[Part]:
    """All parts, each made in another process while the one before is fitted."""
    lengths = [min(PART_S, seconds - start) for start in np.arange(0.0, seconds - 1.0, PART_S)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        coming = pool.submit(make_part, seed, cameras, 0, lengths[0], kinds)
        for number, _ in enumerate(lengths):
            part = coming.result()
            if number + 1 < len(lengths):
                coming = pool.submit(make_part, seed, cameras, number + 1, lengths[number + 1], kinds)
            yield part


def not_finite(result: FrameResult) -> list[str]:
    """Names of what a result holds that is not finite though it should be."""
    bad = []
    for kind, estimate in (("causal", result.causal), ("smoothed", result.smoothed)):
        if estimate is None:
            continue
        for name in ("position", "velocity", "position_std", "qpos", "pelvis_position", "pelvis_quat_wxyz", "pelvis_covariance", "joint_centres"):
            if not np.isfinite(getattr(estimate, name)).all():
                bad.append(f"{kind}.{name}")
        if not np.isfinite(estimate.keypoints).all() or not (estimate.keypoint_std > 0).all():
            bad.append(f"{kind}.keypoints")
    return bad


@dataclass
class Course:
    """Errors of one part's frames, and what they say of its faults."""

    part: Part
    true_s: list[float] = field(default_factory=list)
    error_m: list[float] = field(default_factory=list)
    smoothed_m: list[float] = field(default_factory=list)

    def add(self, result: FrameResult, arrival_s: float) -> None:
        if result.causal is not None:
            when = self._true_time(result.stamp_ns * 1e-9, arrival_s)
            self.true_s.append(when)
            self.error_m.append(self._error(when, result.causal.keypoints))
        if result.smoothed is not None:
            when = self._true_time(result.smoothed.stamp_ns * 1e-9, arrival_s - (result.stamp_ns - result.smoothed.stamp_ns) * 1e-9)
            self.smoothed_m.append(self._error(when, result.smoothed.keypoints))

    def _true_time(self, stamp_s: float, arrival_s: float) -> float:
        """The exposure's true time: where the clock of all cameras was set, the one that is near the arrival."""
        steps = [0.0] + [f.step_s for f in self.part.faults if isinstance(f, ClockStep) and f.camera == ALL]
        return min((stamp_s - step for step in steps), key=lambda t: abs(arrival_s - t))

    def _error(self, true_s: float, points: np.ndarray) -> float:
        """Median distance of the keypoints (K, 3) from the truth, m; infinite beyond the part."""
        place = (true_s - self.part.time_s[0]) * WALK.frame_rate_hz
        i = int(np.floor(place))
        if not 0 <= i < len(self.part.time_s) - 1:
            return np.inf if i < -1 or i > len(self.part.time_s) else np.nan
        share = place - i
        true = (1 - share) * self.part.keypoints[i] + share * self.part.keypoints[i + 1]
        return float(np.nanmedian(np.linalg.norm(points - true, axis=1)))

    def due_s(self, settles_s: float) -> float:
        """From when on recovery can be asked for: not while the person is away."""
        return max([settles_s] + [f.until_s for f in self.part.faults if isinstance(f, Away) and f.from_s <= settles_s < f.until_s])

    def recovery_s(self, from_s: float) -> float:
        """Until the error is under the bound, and stays so for a while; infinite where it never is."""
        time_s, error = np.array(self.true_s), np.array(self.error_m)
        for i in np.flatnonzero((time_s >= from_s - 1e-3) & (error < BOUND_M)):
            then = (time_s >= time_s[i]) & (time_s < time_s[i] + STEADY_S)
            if (error[then] < BOUND_M).all() and then.sum() >= 0.6 * STEADY_S * WALK.frame_rate_hz:
                return max(0.0, float(time_s[i] - from_s))
        return np.inf

    def undisturbed(self) -> tuple[np.ndarray, int]:
        """Errors of the frames that no fault excuses, and how many frames are missing among them."""
        begin, end = self.part.time_s[0] + (2.0 if self.part.number == 0 else 0.0), self.part.time_s[-1]
        excused = [(f.from_s, f.from_s + RECOVERY_S, f.until_s + RECOVERY_S) for f in self.part.faults]

        def free(time_s: np.ndarray) -> np.ndarray:
            out = (time_s >= begin) & (time_s < end)
            for first, _, last in excused:
                out &= (time_s < first - 1e-3) | (time_s >= last)
            return out

        errors = np.array(self.error_m)[free(np.array(self.true_s))]
        return errors, int(free(self.part.time_s).sum()) - len(errors)


class Soak:
    """Runs the stream and keeps the counts."""

    def __init__(self, pipeline: Any, realtime: bool) -> None:
        self.pipeline, self.realtime = pipeline, realtime
        self.frames = self.broken = self.strays = self.missing = 0
        self.problems: list[str] = []
        self.kinds: dict[str, dict[str, list[float]]] = {}
        self.undisturbed: list[np.ndarray] = []
        self.smoothed_mm: list[float] = []
        self.ms = np.zeros(0)
        self.rss: list[tuple[float, float]] = []
        self._rss_s = self._slow_s = 0.0
        self._wall_start: float | None = None

    def run(self, part: Part, say: Callable[[str], None]) -> None:
        """Streams one part."""
        course, times, last_ns = Course(part), [], part.packets[0].received_ns or 0
        for packet in part.packets:
            arrival = packet.received_ns or 0
            while last_ns + POLL_NS < arrival:
                last_ns += POLL_NS
                self._take(self.pipeline.poll(last_ns), course, last_ns)
            last_ns = arrival
            if self.realtime:
                self._wait(arrival)
            began = time.perf_counter()
            self.pipeline.feed_keypoints(packet)
            results = self.pipeline.poll(arrival)
            if results:
                times.append(1e3 * (time.perf_counter() - began) / len(results))
            self._take(results, course, arrival)
            if arrival * 1e-9 >= self._slow_s:
                self._slow_s = arrival * 1e-9 + 1.0
                self._slow(arrival * 1e-9 - START_S)
        self.ms = np.append(self.ms, times)
        self._judge(course, say)

    def _wait(self, arrival_ns: int) -> None:
        now = time.perf_counter()
        if self._wall_start is None:
            self._wall_start = now - arrival_ns * 1e-9
        time.sleep(max(0.0, self._wall_start + arrival_ns * 1e-9 - now))

    def _take(self, results: list[FrameResult], course: Course, arrival_ns: int) -> None:
        for result in results:
            self.frames += result.causal is not None
            bad = not_finite(result)
            if bad:
                self.broken += 1
                if len(self.problems) < 20:
                    self.problems.append(f"{arrival_ns * 1e-9 - START_S:.2f} s: {', '.join(bad)} not finite")
            course.add(result, arrival_ns * 1e-9)

    def _slow(self, at_s: float) -> None:
        """What the node publishes once in a second, and the memory."""
        calibration, subject = self.pipeline.calibration(), self.pipeline.subject()
        cameras = [value for c in calibration.cameras for value in (c.rotation, c.translation)]
        if not all(np.isfinite(v).all() for v in (*cameras, calibration.time_offset_s, subject.scales, subject.scale_std, subject.keypoint_offsets)):
            self.broken += 1
            self.problems.append(f"{at_s:.2f} s: the calibration or the subject is not finite")
        self.pipeline.diagnostics()
        if at_s >= self._rss_s:
            self._rss_s = at_s + 5.0
            self.rss.append((at_s, resident_mb()))

    def _judge(self, course: Course, say: Callable[[str], None]) -> None:
        worst = 0.0
        for fault in course.part.faults:
            kind = "clock_jump" if isinstance(fault, ClockStep) and fault.camera == ALL else fault.kind
            row = self.kinds.setdefault(kind, {"recovery_s": [], "during_mm": []})
            time_s, error = np.array(course.true_s), np.array(course.error_m)
            row["during_mm"] += (1e3 * error[(time_s >= fault.from_s) & (time_s < fault.until_s) & np.isfinite(error)]).tolist()
            for settles_s in map(course.due_s, fault.settles_s):
                if settles_s >= course.part.time_s[-1]:
                    continue  # the person is away until the next part, which begins with it
                recovery = course.recovery_s(settles_s)
                row["recovery_s"].append(recovery)
                worst = max(worst, recovery)
                if recovery >= RECOVERY_S:
                    where = "all cameras" if fault.camera == ALL else f"camera {fault.camera}"
                    span = f"from {fault.from_s - START_S:.2f} to {fault.until_s - START_S:.2f} s"
                    text = f"{kind} ({where}, {span}) {fault.details}: recovery from {settles_s - START_S:.2f} s took {recovery:.2f} s"
                    self.problems.append(" ".join(text.split()))
        errors, missing = course.undisturbed()
        strays = int((~(errors < BOUND_M)).sum())
        if strays or missing > EDGE_FRAMES:
            self.problems.append(f"part {course.part.number}: {strays} frames beyond the bound and {missing} missing without a fault")
        self.strays, self.missing = self.strays + strays, self.missing + max(missing - EDGE_FRAMES, 0)
        self.undisturbed.append(np.percentile(errors[np.isfinite(errors)], [50, 95, 99]) if len(errors) else np.full(3, np.nan))
        self.smoothed_mm.append(1e3 * float(np.nanmedian(course.smoothed_m)) if course.smoothed_m else np.nan)
        say(f"{course.part.time_s[-1] - START_S:7.1f} s: slowest recovery {worst:.2f} s, memory {resident_mb():.0f} MB, problems so far {len(self.problems)}")


def resident_mb() -> float:
    """Resident memory of this process."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_growth(rss: list[tuple[float, float]]) -> float | None:
    """Largest of the last half minute over the largest of the first two minutes, minus 1; None for a short stream."""
    if not rss or rss[-1][0] < MEMORY_JUDGED_S - 10.0:
        return None
    early = max(mb for at, mb in rss if at <= MEMORY_FROM_S)
    return max(mb for at, mb in rss if at >= rss[-1][0] - 30.0) / early - 1.0


def soak(
    minutes: float, seed: int, cameras: int, kinds: tuple[str, ...], realtime: bool, overrides: dict[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """Runs it all; returns the JSON object."""
    from biomech_fit.config import FitConfig
    from biomech_fit.config.load import from_mapping
    from biomech_fit.formats.model import load_body_model
    from biomech_fit.stream.device import count_compilations
    from biomech_fit.stream.pipeline import FitPipeline

    first = simulate(replace(WALK, seconds=0.2, seed=seed, cameras=cameras))
    body = load_body_model(None, first.keypoint_set)
    pipeline = FitPipeline(body, first.cameras, first.keypoint_set, from_mapping(overrides, FitConfig()))
    say(f"Ready after {pipeline.compile():.1f} s of compiling.")
    run, crash, began = Soak(pipeline, realtime), None, time.perf_counter()
    with count_compilations() as compilations:
        try:
            for part in parts(seed, cameras, 60.0 * minutes, kinds):
                run.run(part, say)
        except Exception:
            crash = traceback.format_exc()
            say(crash)
    wall_s = time.perf_counter() - began
    growth = memory_growth(run.rss)
    recoveries = [r for row in run.kinds.values() for r in row["recovery_s"]]
    checks = {
        "no_crash": crash is None,
        "finite": run.broken == 0,
        "no_recompilation": compilations.count == 0,
        "memory": growth is None or growth < MEMORY_GROWTH,
        "recovery": all(r < RECOVERY_S for r in recoveries),
        "undisturbed": run.strays == 0 and run.missing == 0,
    }
    clean = np.nanmedian(np.array(run.undisturbed), axis=0) if run.undisturbed else np.full(3, np.nan)
    return {
        "verdict": "passed" if all(checks.values()) else "failed",
        "checks": checks,
        "minutes": minutes,
        "seed": seed,
        "cameras": cameras,
        "keypoints": len(first.keypoint_set),
        "settings": overrides,
        "frames": run.frames,
        "faults": sum(len(row["recovery_s"]) for row in run.kinds.values()),
        "slowest_recovery_s": rounded(max(recoveries, default=0.0), 3),
        "recompilations": compilations.count,
        "memory_growth": None if growth is None else round(growth, 4),
        "memory_mb": [[round(at), round(mb)] for at, mb in run.rss[:: max(1, len(run.rss) // 30)]],
        "undisturbed_mm": dict(zip(("p50", "p95", "p99"), (rounded(1e3 * e, 1) for e in clean), strict=True)),
        "undisturbed_frames_beyond_bound": run.strays,
        "undisturbed_frames_missing": run.missing,
        "smoothed_median_mm": rounded(float(np.median(run.smoothed_mm or [np.nan])), 1),
        "by_fault": {
            kind: {
                "settled": len(row["recovery_s"]),
                "recovery_s": {
                    "median": rounded(float(np.median(row["recovery_s"] or [np.nan])), 3),
                    "max": rounded(max(row["recovery_s"], default=np.nan), 3),
                },
                "error_during_mm": {f"p{q}": rounded(float(np.percentile(row["during_mm"] or [np.nan], q)), 1) for q in (50, 95, 100)},
            }
            for kind, row in sorted(run.kinds.items())
        },
        "ms_per_frame": {f"p{q}": rounded(float(np.percentile(run.ms, q)), 2) if len(run.ms) else None for q in (50, 95, 99)},
        "realtime": realtime,
        "wall_s": round(wall_s, 1),
        "problems": run.problems,
        "crash": crash,
    }


def rounded(value: float, digits: int) -> float | None:
    """A number for JSON, which knows neither NaN nor infinity."""
    return round(float(value), digits) if np.isfinite(value) else None


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Checks and figures: see the head of the file.")
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the stream in its own time (default 30)")
    parser.add_argument("--seed", type=int, default=0, help="seed of person, walk, noise and faults (default 0)")
    parser.add_argument("--cameras", type=int, default=8, help="number of cameras (default 8)")
    parser.add_argument(
        "--faults", nargs="*", choices=sorted(KINDS), default=sorted(KINDS), metavar="KIND", help=f"kinds of faults (default: all): {', '.join(sorted(KINDS))}"
    )
    parser.add_argument("--realtime", action="store_true", help="at the pace of the cameras instead of as fast as the machine can")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the fit, e.g. window.iterations=2")
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON object here")
    args = parser.parse_args()
    if not 0.1 <= args.minutes <= 1440 or args.cameras < 2:
        parser.error("--minutes must be within 0.1 and 1440, and --cameras at least 2.")
    overrides = {name: yaml.safe_load(value) for name, _, value in (entry.partition("=") for entry in args.set)}
    out = soak(args.minutes, args.seed, args.cameras, tuple(args.faults), args.realtime, overrides, lambda text: print(text, file=sys.stderr, flush=True))
    text = json.dumps(out, indent=2)
    print(text)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    failed = [name for name, good in out["checks"].items() if not good]
    verdict = f"Soak {out['verdict']}{': ' + ', '.join(failed) if failed else ''}."
    print(f"{verdict} {args.minutes:g} min, {out['frames']} frames, {out['faults']} faults, seed {args.seed}.", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
