"""OpenSim's inverse kinematics of marker trials, timed, in an environment of its own; `osim_ik.py` starts it.

    python run_opensim_ik.py MODEL TASKS FD

Each line of standard input asks for one run, {"trc": FILE, "out": FILE}; each is answered on the file descriptor FD with {"tool_s": seconds of
InverseKinematicsTool.run, which reads the .trc and writes the .mot, "loop_s": seconds of its solver alone, frame by frame in memory}. Standard output is the
library's.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path

import opensim


def tool_run(model: opensim.Model, tasks: str, trc: str, times: tuple[float, float], out: Path) -> float:
    """Seconds of the tool, as it is delivered but for its log."""
    tool = opensim.InverseKinematicsTool()
    tool.setModel(model)
    tool.set_IKTaskSet(opensim.IKTaskSet(tasks))
    tool.setMarkerDataFileName(trc)
    tool.setStartTime(times[0])
    tool.setEndTime(times[1])
    tool.setOutputMotionFileName(str(out))
    tool.setResultsDir(str(out.parent))
    began = time.perf_counter()
    tool.run()
    return time.perf_counter() - began


def loop_run(model: opensim.Model, tasks: str, trc: str, times: tuple[float, float]) -> float:
    """Seconds of assembling the first frame and tracking the others."""
    weights = opensim.SetMarkerWeights()
    task_set = opensim.IKTaskSet(tasks)
    for k in range(task_set.getSize()):
        task = task_set.get(k)
        if task.getApply():
            weights.cloneAndAppend(opensim.MarkerWeight(task.getName(), task.getWeight()))
    markers = opensim.MarkersReference(trc, weights)
    solver = opensim.InverseKinematicsSolver(model, markers, opensim.SimTKArrayCoordinateReference(), math.inf)
    solver.setAccuracy(1e-5)
    stamps = [t for t in opensim.TimeSeriesTableVec3(trc).getIndependentColumn() if times[0] <= t <= times[1]]
    state = model.initSystem()
    began = time.perf_counter()
    state.setTime(stamps[0])
    solver.assemble(state)
    for stamp in stamps[1:]:
        state.setTime(stamp)
        solver.track(state)
    return time.perf_counter() - began


def main() -> None:
    model_file, tasks, answers = sys.argv[1:]
    opensim.Logger.setLevelString("Off")
    model = opensim.Model(model_file)
    model.initSystem()
    with os.fdopen(int(answers), "w") as pipe:
        for line in sys.stdin:
            request = json.loads(line)
            stamps = opensim.TimeSeriesTableVec3(request["trc"]).getIndependentColumn()
            times = (stamps[0], stamps[-1])
            tool_s = tool_run(model, tasks, request["trc"], times, Path(request["out"]))
            loop_s = loop_run(model, tasks, request["trc"], times)
            print(json.dumps({"tool_s": tool_s, "loop_s": loop_s}), file=pipe, flush=True)


if __name__ == "__main__":
    main()
