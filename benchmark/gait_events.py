"""Gait events and steps on labelled walks of real people: ours, causal and offline, beside two published methods.

    python benchmark/gait_events.py [-o OUT.json] [--plot OUT.png] [--seeds 3] [--no-cameras]

Inputs: 3D markers of heel and toe (100 Hz) of six straight walks over ground and of one on a treadmill; and the same six walks projected into a ring of
eight cameras (60 Hz, 4 px of noise with heavy tails, 3 % missing: `recordings.py`), through our whole pipeline. One set of parameters for all. Events match a
label of their foot and kind within 150 ms; an event between a trial's first and last label without one is false. Labels in the first 50 ms of a trial do not
count. Rows of force plates have
only the contacts on a plate, timed by its 20 N. Times are from the label, delays from the label to the newest frame used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import ours
from gait_methods import METHODS
from gait_scores import LENGTHS, Errors, add_errors, step_errors, true_steps
from gait_walks import Walk, on_plates, overground, treadmill
from recordings import CONDITIONS, MARGIN_S, Condition, Recording, make_session

from biomech_fit.config.fit import FitConfig
from biomech_fit.config.load import from_mapping
from biomech_fit.core.gait import FeetAt, GaitDetector
from biomech_fit.core.gait_recording import causal_gait, offline_gait
from biomech_fit.core.steps import StepParameters
from biomech_fit.core.types import EventType, GaitEvent
from biomech_fit.formats.atomic import write_text
from biomech_fit.formats.keypoint_sets import load_keypoint_set

KEYPOINT_SET = "halpe_26"
FEET = ("LHeel", "RHeel", "LToe", "RToe")
FIRST_S = 0.05
OURS = {"ours, causal": causal_gait, "ours, offline": offline_gait}
TRUTHS = {"markers": "heel markers", "aims": "where the simulated detectors aim"}
NAMES = {EventType.INITIAL_CONTACT: "initial contact", EventType.FINAL_CONTACT: "final contact"}


@dataclass(eq=False)
class Result:
    """One method on one kind of input."""

    data: str
    method: str
    events: dict[EventType, Errors] = field(default_factory=dict)
    all_labelled: bool = True
    """Whether every contact of the walks has a label."""
    lengths: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {truth: {name: [] for name in LENGTHS} for truth in TRUTHS})

    def add(self, walk: Walk, events: list[GaitEvent], begin_s: float) -> None:
        """Events of one walk, seen from `begin_s` on."""
        add_errors(self.events, walk, events, begin_s + FIRST_S, self.all_labelled)

    def add_steps(self, steps: list[StepParameters], **truths: list[StepParameters]) -> None:
        """Steps of one walk, against true ones (`TRUTHS`)."""
        for truth, true in truths.items():
            for name, errors in step_errors(steps, true).items():
                self.lengths[truth][name] += errors

    def figures(self) -> dict[str, Any]:
        lengths = {
            truth: {n: {"count": len(e), "median_absolute_mm": float(np.median(np.abs(e))), "bias_mm": float(np.mean(e))} for n, e in of.items() if e}
            for truth, of in self.lengths.items()
        }
        return {"data": self.data, "method": self.method, **{NAMES[kind]: self.events.get(kind, Errors()).figures() for kind in EventType}, "steps": lengths}


def from_markers(data: str, walks: list[Walk], all_labelled: bool = True) -> Iterator[Result]:
    """Ours and the published methods on 3D markers."""
    for method, run in OURS.items():
        result = Result(data, method, all_labelled=all_labelled)
        for walk in walks:
            frames = [FeetAt(int(s), h, t) for s, h, t in zip(walk.stamps_ns, walk.heels, walk.toes, strict=True)]
            events, steps = run(GaitDetector(FEET), frames)
            result.add(walk, events, walk.time_s[0])
            if all_labelled:
                result.add_steps(steps, markers=true_steps(walk))
        yield result
    for method, find in METHODS.items():
        result = Result(data, method, all_labelled=all_labelled)
        for walk in walks:
            result.add(walk, find(walk), walk.time_s[0])
        yield result


def through_cameras(
    walks: list[Walk],
    seeds: int,
    data: str = "ring of 8 cameras",
    condition: Condition = CONDITIONS["clean"],
    change: Callable[[Recording], Recording] | None = None,
) -> Iterator[Result]:
    """The walks through the simulated ring: live on body_state and on body_state_smoothed, offline on the smoothed poses; the methods on these, too.

    Args:
        walks: of `overground`.
        seeds: recordings of each.
        data: what the results call it.
        condition: of the cameras.
        change: what else is done to the recordings.
    """
    keypoint_set = load_keypoint_set(KEYPOINT_SET)
    body = ours.body_for(keypoint_set.name, keypoint_set)
    live, late, offline = (Result(data, name) for name in ("ours, body_state", "ours, body_state_smoothed", "ours, offline"))
    aim = Result(data, "the detectors' aims themselves")
    methods = {name: Result(data, name) for name in METHODS}
    hips = [body.joint_centre_names.index(side + "Hip") for side in "LR"]
    for seed in range(seeds):
        for walk in walks:
            recording = make_session(walk.name, condition, keypoint_set, seed).walk
            recording = recording if change is None else change(recording)
            rate_hz = round(1e9 / float(np.median(np.diff(recording.stamp_ns))))
            config = from_mapping({"stream.frame_rate_hz": float(rate_hz)}, FitConfig())
            results = ours.run_pipeline(recording, body, keypoint_set, config, None)[1]
            shift_ns = round((walk.time_s[0] + MARGIN_S) * 1e9) - int(recording.stamp_ns[0])
            causal, smoothed = ([_shifted(e, shift_ns) for r in results if (e := getattr(r, name)) is not None] for name in ("causal", "smoothed"))
            detector = GaitDetector(keypoint_set.names, body.joint_centre_names)
            begin_s = causal[0].stamp_ns * 1e-9
            truths = {"markers": true_steps(walk), "aims": true_steps(_aimed(walk, recording, keypoint_set.names, shift_ns))}
            aim.add_steps(truths["aims"], markers=truths["markers"])
            events, steps = causal_gait(detector, [detector.feet(e) for e in causal])
            live.add(walk, events, begin_s)
            live.add_steps(steps, **truths)
            frames = [detector.feet(e) for e in smoothed]
            events, steps = causal_gait(detector, frames)
            lag_s = config.window.lag_s
            late.add(walk, [replace(e, detection_delay_s=e.detection_delay_s + lag_s) for e in events], begin_s)
            late.add_steps(steps, **truths)
            events, steps = offline_gait(detector, frames)
            offline.add(walk, events, begin_s)
            offline.add_steps(steps, **truths)
            seen = Walk(
                walk.name,
                np.array([f.stamp_ns for f in frames]) * 1e-9,
                np.array([f.heels for f in frames]),
                np.array([f.toes for f in frames]),
                np.array([e.joint_centres[hips].mean(0) for e in smoothed]),
                walk.labels,
            )
            for name, find in METHODS.items():
                methods[name].add(walk, find(seen), begin_s)
            print(f"{data}, seed {seed}, {walk.name}: done", file=sys.stderr, flush=True)
    yield from (live, late, offline, aim, *methods.values())


def _aimed(walk: Walk, recording: Recording, names: Sequence[str], shift_ns: int) -> Walk:
    """The walk with the heels and toes at which the simulated detectors aim: they are up to two centimetres beside the markers, as real detectors' are."""
    heels, toes = (recording.points[:, [list(names).index(side + point) for side in "LR"]] for point in ("Heel", "BigToe"))
    return replace(walk, time_s=(recording.stamp_ns + shift_ns) * 1e-9, heels=heels, toes=toes)


def _shifted(estimate: Any, by_ns: int) -> Any:
    return replace(estimate, stamp_ns=estimate.stamp_ns + by_ns)


def table(results: list[Result]) -> str:
    """Markdown."""
    rows = ["| input | method | event | n | bias (ms) | SD | median abs. | missed | false | delay p50 / p95 (ms) | within 95 % | left out: bias, SD |"]
    rows.append("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for result in results:
        for kind in EventType:
            f = result.events.get(kind, Errors()).figures()
            if not result.events:
                continue
            if not f["count"]:
                rows.append(f"| {result.data} | {result.method} | {NAMES[kind]} | 0 | | | | {f['missed']} | {f['false']} | | | |")
                continue
            causal = np.isfinite(f["delay_p50_ms"]) and "offline" not in result.method
            delay = f"{f['delay_p50_ms']:.0f} / {f['delay_p95_ms']:.0f}" if causal else ""
            inside = f"{f['inside_95']:.2f}" if np.isfinite(f["inside_95"]) else ""
            left_out = f"{f['left_out_bias_ms']:+.1f}, {f['left_out_sd_ms']:.1f}" if np.isfinite(f["left_out_bias_ms"]) and "ours" in result.method else ""
            rows.append(
                f"| {result.data} | {result.method} | {NAMES[kind]} | {f['count']} | {f['bias_ms']:+.1f} | {f['sd_ms']:.1f} | {f['median_absolute_ms']:.1f} | "
                f"{f['missed']} | {f['false']} | {delay} | {inside} | {left_out} |"
            )
    rows += ["", "| input | method | against | step length | stride length | step width (median absolute error, mm; n) |", "|---|---|---|---|---|---|"]
    for result in results:
        for truth, lengths in result.lengths.items():
            if any(lengths.values()):
                cells = [f"{np.median(np.abs(e)):.1f} ({len(e)})" if e else "" for e in lengths.values()]
                rows.append(f"| {result.data} | {result.method} | {TRUTHS[truth]} | {' | '.join(cells)} |")
    return "\n".join(rows)


def plot(path: Path, results: list[Result]) -> None:
    """Errors of every event, by input and method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 0.45 * len(results) + 1.5), sharey=True)
    for axis, kind in zip(axes, EventType, strict=True):
        for row, result in enumerate(results):
            error = 1e3 * np.array(result.events.get(kind, Errors()).error_s)
            spread = 0.12 * np.sin(np.arange(len(error)) * 2.4)
            axis.plot(error, row + spread, ".", ms=4, alpha=0.6, color="tab:blue" if "ours" in result.method else "tab:gray")
            if len(error):
                axis.plot([error.mean()], [row], "|", color="k", ms=14)
        axis.axvspan(-8, 8, color="tab:green", alpha=0.12, lw=0)
        axis.axvline(0, color="k", lw=0.6)
        axis.set_xlim(-100, 100)
        axis.set_xlabel("event - label (ms)")
        axis.set_title(NAMES[kind])
    axes[0].set_yticks(range(len(results)), [f"{r.data}: {r.method}" for r in results])
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("gait_events.json"), help="every figure (%(default)s)")
    parser.add_argument("--plot", type=Path, help="a picture of all errors")
    parser.add_argument("--seeds", type=int, default=3, help="recordings of each walk by the simulated cameras (%(default)s)")
    parser.add_argument("--no-cameras", action="store_true", help="3D markers only")
    arguments = parser.parse_args()
    walks, belt = overground(), treadmill()
    if not walks and not belt:
        raise SystemExit("The labelled walks are not here: see docs/recordings.md.")
    results = [*from_markers("markers, over ground", walks), *from_markers("markers, force plates", [on_plates(w) for w in walks], all_labelled=False)]
    results += from_markers("markers, treadmill", belt)
    if not arguments.no_cameras:
        results += through_cameras(walks, arguments.seeds)
    print(table(results))
    settings = asdict(GaitDetector(FEET).settings)
    write_text(arguments.output, json.dumps({"settings": settings, "results": [r.figures() for r in results]}, indent=1) + "\n")
    if arguments.plot:
        plot(arguments.plot, results)


if __name__ == "__main__":
    main()
