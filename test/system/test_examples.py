"""Every example runs as a user would start it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
CASES = {
    "01_track_simulated.py": (["1.0"], "frames tracked"),
    "02_own_detector_ros.py": (["0.5"], "Sent"),
    "03_foreign_model.py": ([], "frames, reprojection RMS"),
}


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_example(name: str, tmp_path: Path) -> None:
    arguments, words = CASES[name]
    # A domain of its own, and nothing beyond this machine, for the example that opens topics.
    environment = {**os.environ, "ROS_DOMAIN_ID": str(101 + os.getpid() % 100), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_LOG_DIR": str(tmp_path)}
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    if done.stdout.startswith("Skipped"):
        pytest.skip(done.stdout.strip())
    assert words in done.stdout


def test_examples_are_short() -> None:
    assert all(len(path.read_text(encoding="utf-8").splitlines()) < 60 for path in EXAMPLES.glob("*.py"))
