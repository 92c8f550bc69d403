"""The accuracy table of the README: simulate, track and evaluate, for some settings of the simulator and three seeds.

    python benchmark/accuracy.py [FOLDER]      # about 5 minutes on 2 cores; FOLDER keeps recordings and results
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

from biomech_fit.cli.main import main as biomech_fit

SEEDS = (0, 1, 2)
PERTURBED = ("--calibration-rotation-deg", "0.5", "--calibration-translation-mm", "20")
ROWS = (
    ("simulator's default", "default", ()),
    ("cameras off by 0.5°, 20 mm", "perturbed", PERTURBED),
    ("noise correlated by 0.8 per frame", "correlated", ("--noise-correlation", "0.8")),
)
COLUMNS = (
    ("keypoints (mm)", ("keypoints", "raw_mm", "median"), 1),
    ("aligned (mm)", ("keypoints", "aligned_mm", "median"), 1),
    ("joint centres, aligned (mm)", ("joint_centres", "aligned_mm", "median"), 0),
    ("flexion, offset removed (°)", ("flexion", "all", "rmse_offset_removed_deg"), 1),
    ("flexion (°)", ("flexion", "all", "rmse_deg"), 1),
    ("inside 95 %: keypoints, raw", ("keypoints", "coverage95", "raw"), 2),
)


def run(folder: Path, name: str, options: tuple[str, ...], seed: int) -> dict:
    """The evaluation of one simulated recording."""
    recording, out = folder / f"{name}_{seed}", folder / f"out_{name}_{seed}"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for command in (
            ["simulate", str(recording), "--seed", str(seed), *options],
            ["track", str(recording), "-o", str(out), "--no-report"],
            ["evaluate", str(out), "--truth", str(recording)],
        ):
            if command[0] != "simulate" or not recording.exists():
                if biomech_fit(command):
                    raise SystemExit(f"biomech-fit {' '.join(command)} failed.")
    return json.loads((out / "evaluation.json").read_text(encoding="utf-8"))


def spread(evaluations: list[dict], kind: str, path: tuple[str, ...], digits: int) -> str:
    """Smallest to largest over the seeds."""
    values = []
    for evaluation in evaluations:
        value = evaluation[kind]
        for key in path:
            value = value[key]
        values.append(value)
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="biomech_fit_accuracy_"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"| simulated walk, 10 s | output | {' | '.join(c[0] for c in COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    default: list[dict] = []
    for title, name, options in ROWS:
        evaluations = [run(folder, name, options, seed) for seed in SEEDS]
        default = default or evaluations
        for kind in ("causal", "smoothed"):
            cells = [spread(evaluations, kind, path, digits) for _, path, digits in COLUMNS]
            print(f"| {title} | {kind} | {' | '.join(cells)} |", flush=True)
        if name == "perturbed":
            turn, shift = (spread(evaluations, "smoothed", ("cameras", f"aligned_{key}", "median"), 2) for key in ("rotation_deg", "centre_mm"))
            print(f"<!-- camera errors after refinement: {turn} deg, {shift} mm -->", flush=True)
    for event in ("initial_contact", "final_contact"):
        counts = [sum(e["smoothed"]["events"][event][key] for e in default) for key in ("matched", "missed", "false")]
        bias, sd = (spread(default, "smoothed", ("events", event, key), 0) for key in ("bias_ms", "sd_ms"))
        print(f"<!-- {event}, default, smoothed: {counts[0]} found, {counts[1]} missed, {counts[2]} false; bias {bias} ms, sd {sd} ms -->")


if __name__ == "__main__":
    main()
