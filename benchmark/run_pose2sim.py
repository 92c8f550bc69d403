"""Runs Pose2Sim and OpenSim on trial folders, in their own environment; `peers.py` starts it and writes the folders.

    python run_pose2sim.py FD

Each line of standard input asks for one walk: {"static": FOLDER or null, "walk": FOLDER, "associate": bool}. Each line written to the file descriptor FD
answers with the paths of the filtered .trc and of the .mot and the seconds of every step, or with {"error": text}; standard output is the libraries'.
Settings: those that Pose2Sim is delivered with (its single-person demo), then the session's Config.toml, then the trial's. Pose2Sim scales the model on the
trial itself; with a static trial it is scaled on that one by the same function.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import opensim
import Pose2Sim
import rtoml
from Pose2Sim.filtering import filter_all
from Pose2Sim.kinematics import get_opensim_setup_dir, perform_IK, perform_scaling
from Pose2Sim.personAssociation import associate_all
from Pose2Sim.Pose2Sim import recursive_update
from Pose2Sim.triangulation import triangulate_all

_SETUP = get_opensim_setup_dir()


def _settings(trial: Path) -> dict:
    settings: dict = {}
    for file in (Path(Pose2Sim.__file__).parent / "Demo_SinglePerson" / "Config.toml", trial.parent / "Config.toml", trial / "Config.toml"):
        settings = recursive_update(settings, rtoml.load(file))
    settings["project"]["project_dir"] = str(trial)
    return settings


class Steps:
    """Names steps and keeps their wall and processor seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def run(self, name: str, step: Callable, *arguments: object, **named: object) -> None:
        began = (time.perf_counter(), time.process_time())
        step(*arguments, **named)
        self.seconds[name] = [time.perf_counter() - began[0], time.process_time() - began[1]]


def _points(trial: Path, associate: bool, steps: Steps) -> Path:
    """The filtered .trc; a trial that was done before is not done again, its times are those of the first time."""
    kept = trial / "seconds.json"
    if not kept.exists():
        settings = _settings(trial)
        if associate:
            steps.run("association", associate_all, settings)
        steps.run("triangulation", triangulate_all, settings)
        steps.run("filter", filter_all, settings)
        _name_missing(_filtered(trial))
        kept.write_text(json.dumps(steps.seconds))
    steps.seconds.update(json.loads(kept.read_text()))
    return _filtered(trial)


def _filtered(trial: Path) -> Path:
    return next((trial / "pose-3d").glob("*_filt_butterworth.trc"))


def _name_missing(trc: Path) -> None:
    """Writes NaN into empty fields: OpenSim refuses a row whose last field is empty, as Pose2Sim writes a missing point."""
    head, rows = trc.read_text().split("\n")[:5], trc.read_text().rstrip("\n").split("\n")[5:]
    trc.write_text("\n".join([*head, *("\t".join(field or "NaN" for field in row.split("\t")) for row in rows)]) + "\n")


def _scaled_model(trc: Path, trial: Path, folder: Path) -> Path:
    """The model scaled on a trial's points; `perform_scaling` names it as the .trc."""
    settings = _settings(trial)["kinematics"]
    folder.mkdir(parents=True, exist_ok=True)
    named = {name: settings[name] for name in ("use_simple_model", "right_left_symmetry", "large_hip_knee_angles", "trimmed_extrema_percent")}
    perform_scaling(trc, "HALPE_26", folder, _SETUP, **named)
    return folder / f"{trc.stem}.osim"


def _walk(request: dict) -> dict:
    walk, steps = Path(request["walk"]), Steps()
    trc = _points(walk, request["associate"], steps)
    folder = walk / ("kinematics-static" if request["static"] else "kinematics")
    if request["static"]:
        static = Path(request["static"])
        model = static / "kinematics" / "scaled.osim"
        if not model.exists():
            _scaled_model(_points(static, False, Steps()), static, model.parent).rename(model)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(model, folder / f"{trc.stem}.osim")
    else:
        steps.run("scaling", _scaled_model, trc, walk, folder)
    steps.run("inverse kinematics", perform_IK, trc, folder, _SETUP, "HALPE_26")
    return {"trc": str(trc), "mot": str(folder / f"{trc.stem}.mot"), "seconds": steps.seconds}


def main() -> None:
    opensim.Logger.setLevelString("Error")
    opensim.Logger.removeFileSink()
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as answers:
        for line in sys.stdin:
            try:
                answer = _walk(json.loads(line))
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
