"""Inverse kinematics of markers beside OpenSim's own, on the same model, markers and tasks: coordinates and frames per second.

    python benchmark/osim_ik.py [-o figures.json]

The trial is ../shared/data/opensim_ik_reference: Gait2354 with 31 synthetic markers, 73 frames, and the coordinates that they must give; and the same to and
fro twenty times. OpenSim (from PyPI, in the environment of `peers.py`) runs its InverseKinematicsTool, which reads the .trc and writes the .mot, and its solver
alone; ours does the same, in turns; each one's best run counts, on one thread. Prints one JSON object; exit code 1 where a target is missed: 0.1 degree, 1 mm,
and on either trial 20 times OpenSim's frames per second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peers import DEFAULT_VENV, HERE, prepare
from threadpoolctl import threadpool_limits

from biomech_fit.core.errors import InputError
from biomech_fit.core.marker_ik import IkSolution, MarkerIk
from biomech_fit.formats.ik_tasks import read_ik_tasks
from biomech_fit.formats.mot import read_mot, write_mot
from biomech_fit.formats.osim import OsimModel, read_osim
from biomech_fit.formats.trc import read_trc, write_trc

DATA = HERE.parents[1] / "shared" / "data" / "opensim_ik_reference"
MODEL, TASKS, TRC, REFERENCE = "subject01_simbody.osim", "gait2354_IK_Tasks_uniform.xml", "subject01_synthetic_marker_data.trc", "std_subject01_walk1_ik.mot"
MAX_DEG, MAX_MM, MIN_RATIO = 0.1, 1.0, 20.0
LONG = 20


class OpenSim:
    """The peers' interpreter, kept running so that its start does not count."""

    def __init__(self, venv: Path, folder: Path) -> None:
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            [str(venv / "bin" / "python"), str(HERE / "run_opensim_ik.py"), str(DATA / MODEL), str(DATA / TASKS), str(writing)],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(writing,), text=True,
        )  # fmt: skip
        os.close(writing)
        self._answers = os.fdopen(reading, encoding="utf-8")

    def run(self, trc: Path, out: Path) -> dict[str, float]:
        """Seconds of the tool and of its solver."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"trc": str(trc), "out": str(out)}) + "\n")
        self._process.stdin.flush()
        line = self._answers.readline()
        if not line:
            raise InputError(f"OpenSim ended with {self._process.wait()}; what it said stands above.")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def largest(model: OsimModel, coordinates: np.ndarray, file: Path) -> dict[str, object]:
    """Largest differences from a .mot of the same frames, and at which coordinate."""
    motion = read_mot(file)
    found: dict[str, object] = {}
    for key, angles, unit in (("angle_deg", True, np.degrees(1.0)), ("translation_mm", False, 1e3)):
        off = {}
        for name in motion.names:
            k = model.linkage.index(name)
            if model.linkage.coordinates[k].is_angle == angles:
                off[name] = float(np.abs(coordinates[:, k] - motion[name]).max() * unit)
        worst = max(off, key=off.__getitem__)
        found |= {key: round(off[worst], 4), f"{key.split('_')[0]}_at": worst}
    return found


def ours(model: OsimModel, ik: MarkerIk, trc: Path, out: Path) -> tuple[IkSolution, dict[str, float]]:
    """The solution, and seconds of solving, with reading the .trc and writing a .mot and without."""
    angles = np.array([c.is_angle for c in model.linkage.coordinates])
    began = time.perf_counter()
    trial = read_trc(trc, axes="file")
    loaded = time.perf_counter()
    solution = ik.solve(trial.points)
    solved = time.perf_counter()
    write_mot(out, trial.time_s, model.coordinate_names, solution.coordinates, is_angle=angles)
    return solution, {"tool_s": time.perf_counter() - began, "loop_s": solved - loaded}


def compare(model: OsimModel, ik: MarkerIk, theirs: OpenSim, trc: Path, folder: Path, repeats: int) -> tuple[IkSolution, dict[str, object]]:
    """Our solution of a trial, and the frames per second of both."""
    seconds: dict[str, list[dict[str, float]]] = {"opensim": [], "ours": []}
    for _ in range(repeats):
        seconds["opensim"].append(theirs.run(trc, folder / "opensim.mot"))
        for _ in range(3):
            solution, took = ours(model, ik, trc, folder / "ours.mot")
            seconds["ours"].append(took)
    frames = len(solution.coordinates)
    rates = {who: {step: frames / min(run[step] for run in runs) for step in ("tool_s", "loop_s")} for who, runs in seconds.items()}
    return solution, {
        "frames": frames,
        "steps_per_frame": round(solution.iterations, 2),
        "with_files_per_s": {who: round(rate["tool_s"]) for who, rate in rates.items()},
        "solver_per_s": {who: round(rate["loop_s"]) for who, rate in rates.items()},
        "ratio_with_files": round(rates["ours"]["tool_s"] / rates["opensim"]["tool_s"], 1),
        "ratio_solver": round(rates["ours"]["loop_s"] / rates["opensim"]["loop_s"], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--out", type=Path, help="write the figures there as well")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each (default %(default)s)")
    parser.add_argument("--peers-venv", type=Path, default=DEFAULT_VENV, help="OpenSim's environment (default %(default)s)")
    args = parser.parse_args()
    if not DATA.is_dir():
        raise InputError(f"'{DATA}' is absent; the benchmark needs it.")
    if args.repeats < 1:
        raise InputError(f"--repeats is {args.repeats}; it must be 1 or more.")
    prepare(args.peers_venv)
    model = read_osim(DATA / MODEL)
    trial = read_trc(DATA / TRC)
    tasks = read_ik_tasks(DATA / TASKS, model.linkage)
    ik = MarkerIk(model.linkage, trial.names, tasks.marker_weights, tasks.goals)
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        folder = Path(name)
        long = np.concatenate([trial.points[:: 1 - 2 * (k % 2)] for k in range(LONG)])
        write_trc(folder / "long.trc", np.arange(len(long)) / trial.rate_hz, trial.names, long)
        theirs = OpenSim(args.peers_venv, folder)
        _, of_long = compare(model, ik, theirs, folder / "long.trc", folder, args.repeats)
        solution, of_short = compare(model, ik, theirs, DATA / TRC, folder, args.repeats)
        theirs.close()
        against_opensim = largest(model, solution.coordinates, folder / "opensim.mot")
    figures = {
        "markers": len(ik.names),
        "coordinates": len(model.coordinate_names),
        "against_reference": largest(model, solution.coordinates, DATA / REFERENCE),
        "against_opensim_now": against_opensim,
        "rms_mm": round(1e3 * float(solution.rms_m.max()), 4),
        "trial": of_short,
        "long": of_long,
    }
    text = json.dumps(figures, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    off = figures["against_reference"]
    slowest = min(trial[ratio] for trial in (of_long, of_short) for ratio in ("ratio_with_files", "ratio_solver"))
    return int(off["angle_deg"] > MAX_DEG or off["translation_mm"] > MAX_MM or slowest < MIN_RATIO)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
