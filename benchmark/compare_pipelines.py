"""Pipelines on the same keypoints: six real walks projected into simulated rigs, with a detector's and a laboratory's faults.

    python benchmark/compare_pipelines.py [-o OUT.json]
    python benchmark/compare_pipelines.py --conditions clean perturbed --subjects HC030A --pipelines ours --set refine.clock=true

Prints a table with the targets in brackets ("!" = missed) and writes every figure of every walk to OUT. `walks.py` says what is projected, `rigs.py` and
`recordings.py` how, `scores.py` what the figures are. Medians over the walks; angles with their constant offset to Plug-in-Gait removed, the worst walk after
the slash.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import yaml
from ours import Output, track
from recordings import CONDITIONS, Session, make_session
from scores import score
from walks import subject_names

from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.formats.keypoint_sets import load_keypoint_set

KEYPOINT_SET = "halpe_26"


def _ours(session: Session, keypoint_set: KeypointSet, refine: bool, settings: dict[str, Any]) -> dict[str, Output]:
    return track(session, keypoint_set, refine, settings, known=True)


def _ours_unknown(session: Session, keypoint_set: KeypointSet, refine: bool, settings: dict[str, Any]) -> dict[str, Output]:
    return track(session, keypoint_set, refine, settings, known=False)


PIPELINES = {"ours": _ours, "ours-unknown": _ours_unknown}
"""ours: the body from the standing trial. ours-unknown: a person never seen before."""

ANGLES = ("hip_deg", "knee_deg", "ankle_deg")
SHOWN = (
    ("raw_mm", "points raw (mm)", 1),
    ("aligned_mm", "aligned (mm)", 1),
    ("hip_deg", "hip (°)", 1),
    ("knee_deg", "knee (°)", 1),
    ("ankle_deg", "ankle (°)", 1),
    ("points_in_95", "points in 95 %", 2),
    ("angles_in_95", "angles in 95 %", 2),
    ("camera_deg", "cameras (°)", 3),
    ("camera_mm", "(mm)", 1),
    ("frames", "frames", 2),
    ("ms_per_frame", "ms/frame", 1),
)
TARGETS: dict[tuple[str, str], dict[str, float]] = {
    ("clean", "smoothed"): {"raw_mm": 6.5, "aligned_mm": 5.3, "hip_deg": 1.7, "knee_deg": 1.6, "ankle_deg": 3.2},
    ("clean", "causal"): {"raw_mm": 8.5, "aligned_mm": 7.5, "hip_deg": 3.2, "knee_deg": 2.9, "ankle_deg": 4.2},
    ("fixed", "smoothed"): {"raw_mm": 5.0},
    ("perturbed", "smoothed"): {"raw_mm": 9.0, "aligned_mm": 5.5, "camera_deg": 0.14},
    ("perturbed", "causal"): {"raw_mm": 12.0, "aligned_mm": 8.5},
    ("silent", "smoothed"): {"aligned_mm": 5.6},
    ("silent", "causal"): {"aligned_mm": 8.0},
    ("loss", "smoothed"): {"aligned_mm": 6.2},
    ("loss", "causal"): {"aligned_mm": 9.0},
    ("lag", "smoothed"): {"aligned_mm": 5.6},
    ("lag", "causal"): {"aligned_mm": 8.0},
    ("side", "smoothed"): {"aligned_mm": 10.5, "knee_deg": 2.6},
    ("side", "causal"): {"aligned_mm": 14.0},
    ("real", "smoothed"): {"raw_mm": 12.0, "aligned_mm": 6.0},
    ("real", "causal"): {"raw_mm": 15.0, "aligned_mm": 9.0},
    ("correlated", "smoothed"): {"aligned_mm": 10.5},
    ("correlated", "causal"): {"aligned_mm": 12.0},
}
"""At most, for the median walk."""
WORST: dict[tuple[str, str], dict[str, float]] = {
    ("clean", "smoothed"): {"hip_deg": 2.2, "knee_deg": 2.2, "ankle_deg": 4.0},
    ("perturbed", "smoothed"): {"camera_deg": 0.18},
}
"""At most, for the worst walk."""
COVERAGE = 0.88
"""At least, in every condition."""

Scores = dict[str, dict[str, dict[str, dict[str, float]]]]
"""Pipeline, output, subject, figure."""


def measure(subject: str, condition: str, pipelines: list[str], settings: dict[str, Any], seed: int, skip_s: float) -> dict[str, dict[str, dict[str, float]]]:
    """Figures by pipeline and output for one walk in one condition."""
    keypoint_set, chosen = load_keypoint_set(KEYPOINT_SET), CONDITIONS[condition]
    session = make_session(subject, chosen, keypoint_set, seed)
    scores = {}
    for name in pipelines:
        outputs = PIPELINES[name](session, keypoint_set, chosen.refine, settings)
        scores[name] = {kind: score(output, session.walk, keypoint_set.names, skip_s) for kind, output in outputs.items()}
    return scores


def run(args: argparse.Namespace) -> dict[str, Scores]:
    """All figures by condition; prints each condition's rows as soon as they are there."""
    settings = dict(_setting(text) for text in args.set)
    results: dict[str, Scores] = {}
    print(f"| condition | pipeline | {' | '.join(title for _, title, _ in SHOWN)} |\n|{'---|' * (len(SHOWN) + 2)}", flush=True)
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        for condition in args.conditions:
            work = partial(measure, condition=condition, pipelines=args.pipelines, settings=settings, seed=args.seed, skip_s=args.skip_s)
            walks = list((pool.map if args.workers > 1 else map)(work, args.subjects))
            kinds = {name: list(walks[0][name]) for name in args.pipelines}
            results[condition] = {
                name: {kind: {s: walk[name][kind] for s, walk in zip(args.subjects, walks, strict=True)} for kind in kinds[name]} for name in args.pipelines
            }
            for row in table_rows(condition, results[condition]):
                print(row, flush=True)
    return results


def _setting(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"--set takes NAME=VALUE, for instance noise.robust_scale=4, not '{text}'.")
    return name, yaml.safe_load(value)


def table_rows(condition: str, scores: Scores) -> list[str]:
    """Markdown rows of one condition."""
    rows = []
    for pipeline, outputs in scores.items():
        for kind, walks in outputs.items():
            targets, worst = TARGETS.get((condition, kind), {}), WORST.get((condition, kind), {})
            cells = [_cell(name, digits, [walk[name] for walk in walks.values() if name in walk], targets, worst) for name, _, digits in SHOWN]
            rows.append(f"| {CONDITIONS[condition].title} | {pipeline}, {kind} | {' | '.join(cells)} |")
    return rows


def _cell(name: str, digits: int, values: list[float], targets: dict[str, float], worst: dict[str, float]) -> str:
    """Median, "/" worst walk where that is shown, and the target; "!" marks what misses it."""
    if not values:
        return ""
    text = _against(float(np.median(values)), digits, targets.get(name))
    if name in ANGLES or name in worst:
        text += " / " + _against(float(np.max(values)), digits, worst.get(name))
    if name.endswith("in_95"):
        text += "!" if np.median(values) < COVERAGE else ""
    return text


def _against(value: float, digits: int, target: float | None) -> str:
    text = f"{value:.{digits}f}"
    return text if target is None else f"{text}{'' if value <= target else '!'} ({target:g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    everybody = subject_names()
    parser.add_argument("--conditions", nargs="+", metavar="C", choices=list(CONDITIONS), default=list(CONDITIONS), help=", ".join(CONDITIONS))
    parser.add_argument("--subjects", nargs="+", metavar="S", choices=everybody, default=everybody, help=", ".join(everybody))
    parser.add_argument("--pipelines", nargs="+", metavar="P", choices=list(PIPELINES), default=list(PIPELINES), help=", ".join(PIPELINES))
    parser.add_argument("--set", nargs="+", metavar="NAME=VALUE", default=[], help="settings of our pipeline, e.g. noise.robust_scale=4")
    parser.add_argument("--seed", type=int, default=0, help="of offsets, calibration errors, detector noise and faults (default 0)")
    parser.add_argument("--skip-s", type=float, default=0.5, help="seconds at the walk's beginning that do not count (default 0.5)")
    parser.add_argument("--workers", type=int, default=1, help="processes, each compiles for itself (default 1)")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="JSON with all figures")
    args = parser.parse_args()
    began = time.perf_counter()
    try:
        results = run(args)
    except InputError as error:
        raise SystemExit(str(error)) from None
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    if args.out:
        targets = {"median": {" ".join(key): value for key, value in TARGETS.items()}, "worst": {" ".join(key): value for key, value in WORST.items()}}
        content = {"seed": args.seed, "settings": args.set, "skip_s": args.skip_s, "targets": targets, "conditions": results}
        args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
