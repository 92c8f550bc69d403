"""`biomech-fit track`: what it writes, what a second run takes over, and one clear sentence for every kind of bad input."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biomech_fit.cli.main import main
from biomech_fit.formats.calibration import read_calibration, write_calibration
from biomech_fit.formats.mot import read_mot
from biomech_fit.formats.trc import read_trc
from biomech_fit.formats.world_up import fallen_camera, upright_camera
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import simulate
from biomech_fit.sim.write import write

RATE_HZ = 30.0
SMALL = "window:\n  frames: 12\n  lag_s: 0.2\n"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a walk before three cameras, as a Pose2Sim folder and as a bag in it."""
    folder = tmp_path_factory.mktemp("recordings") / "walk"
    return write(simulate(SimConfig(seconds=1.0, cameras=3, frame_rate_hz=RATE_HZ, seed=3)), folder, bag=True)


@pytest.fixture(scope="module")
def settings(recording: Path) -> Path:
    path = recording.parent / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def output(recording: Path, settings: Path) -> Path:
    out = recording.parent / "out"
    assert main(["track", str(recording), "-o", str(out), "--config", str(settings)]) == 0
    return out


# --- what it writes -----------------------------------------------------------------------------------------------------------------------------


def test_all_files_are_there(output: Path) -> None:
    both = {"joint_angles.mot", "keypoints.trc", "joint_centres.trc", "gait_events.csv", "steps.csv"}
    names = {p.name for p in output.iterdir()}
    assert both | {"calibration.toml", "subject.yaml", "report.html", "summary.json", "smoothed"} <= names
    assert both <= {p.name for p in (output / "smoothed").iterdir()}
    assert not [n for n in names if n.endswith((".tmp", "~"))]


def test_the_summary_keeps_its_promises(output: Path) -> None:
    summary = json.loads((output / "summary.json").read_text())
    promised = {
        "frames", "frame_rate_hz", "cameras", "keypoints", "wall_s", "realtime_factor", "latency_ms", "reprojection_px", "camera_correction",
        "segment_lengths_m", "events", "version",
    }  # fmt: skip
    assert promised <= summary.keys()
    assert (summary["frames"], summary["frame_rate_hz"], summary["cameras"]) == (30, RATE_HZ, 3)
    assert {"p50", "p95", "p99"} <= summary["latency_ms"].keys()
    assert {"median_before", "median", "p95", "gc5", "gc10"} <= summary["reprojection_px"].keys()
    assert summary["reprojection_px"]["median"] < 9 and summary["status"] == {"OK": 30}
    assert set(summary["camera_correction"]) == {"cam01", "cam02", "cam03"}
    assert "NaN" not in (output / "summary.json").read_text() and "Infinity" not in (output / "summary.json").read_text()


def test_keypoints_are_near_the_truth(output: Path, recording: Path) -> None:
    """Three cameras, the first second, 12 frames of window: the median within 30 mm of what the detector aims at."""
    found, truth = read_trc(output / "keypoints.trc"), read_trc(recording / "truth.trc")
    columns = [truth.names.index(n) for n in found.names]
    assert len(found.points) == 30
    assert np.nanmedian(np.linalg.norm(found.points - truth.points[:, columns], axis=-1)) < 0.030


def test_the_bag_gives_what_the_folder_gives(output: Path, recording: Path, settings: Path) -> None:
    """JSON rounds and the bag keeps float32: a tenth of a degree."""
    out = recording.parent / "out_bag"
    assert main(["track", str(recording / "bag"), "-o", str(out), "--config", str(settings), "--no-report", "--frame-rate", str(RATE_HZ)]) == 0
    one, other = (read_mot(folder / "joint_angles.mot") for folder in (output, out))
    assert one.names == other.names
    # A bag has float32 pixels. Where a nearly straight arm hides its own twist, their rounding shows as some tenths of a degree.
    np.testing.assert_allclose(other.values, one.values, atol=np.radians(0.5))
    # In half a second legs are not settled either, and how much of the rounding shows depends on the processor: over 99 % on one, 97.4 % on another.
    assert np.mean(np.abs(other.values - one.values) < np.radians(0.1)) > 0.95
    assert not (out / "report.html").exists()


def test_a_subject_and_a_refined_calibration_can_be_read_again(output: Path, recording: Path, settings: Path) -> None:
    """(Tracking with a refined calibration: test/system.)"""
    out = recording.parent / "out_again"
    assert main(["track", str(recording), "-o", str(out), "--subject", str(output / "subject.yaml"), "--config", str(settings), "--no-report"]) == 0
    summary, first = (json.loads((o / "summary.json").read_text()) for o in (out, output))
    for name, length in first["segment_lengths_m"].items():
        assert summary["segment_lengths_m"][name] == pytest.approx(length, rel=0.02)
    loaded, refined = read_calibration(recording / "Calib.toml"), read_calibration(output / "calibration.toml")
    for before, after in zip(loaded.cameras, refined.cameras, strict=True):
        assert before.name == after.name and 0 < np.linalg.norm(before.centre - after.centre) < 0.05


def test_a_calibration_whose_y_points_down(output: Path, recording: Path, settings: Path, tmp_path: Path) -> None:
    """As in a camera's frame, and told from the person alone: results are those of the z-up calibration, the refined one is in the file's own world."""
    loaded = read_calibration(recording / "Calib.toml")
    path, out = tmp_path / "Calib_fallen.toml", tmp_path / "out"
    write_calibration(path, [fallen_camera(c, "-y") for c in loaded.cameras])
    run = ["track", str(recording), "-o", str(out), "--config", str(settings), "--calibration", str(path), "--no-report"]
    assert main(run) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["world_up"] == "-y" and any("stands along -y" in notice for notice in summary["notices"])
    one, other = (read_trc(folder / "keypoints.trc").points for folder in (output, out))
    assert np.nanmedian(np.linalg.norm(one - other, axis=-1)) < 1e-3  # the TOML's digits and float32
    for a, b in zip(read_calibration(output / "calibration.toml").cameras, read_calibration(out / "calibration.toml").cameras, strict=True):
        np.testing.assert_allclose(upright_camera(b, "-y").centre, a.centre, atol=2e-3)
        assert np.linalg.norm(a.centre - b.centre) > 0.5


# --- bad input ---------------------------------------------------------------------------------------------------------------------------------------

PROGRESS = re.compile(r"^(Compiling for .*|The keypoint set is taken as .*|No Config\.toml .*)$")


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence on stderr of a run that must fail with exit code 2."""
    capsys.readouterr()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.strip().splitlines() if not PROGRESS.match(line)]
    assert out == "" and len(lines) == 1 and "Traceback" not in err, err
    assert lines[0].startswith("biomech-fit: ") and lines[0][-1] in ".?", lines[0]
    return lines[0]


def copied(recording: Path, folder: Path) -> Path:
    """The recording without bag and truth."""
    target = folder / "copy"
    shutil.copytree(recording, target, ignore=shutil.ignore_patterns("bag", "truth*"))
    return target


def empty_folder(recording: Path, tmp: Path) -> list[str]:
    (tmp / "nothing").mkdir()
    return [str(tmp / "nothing")]


def no_folder(recording: Path, tmp: Path) -> list[str]:
    return [str(tmp / "nowhere")]


def text_file(recording: Path, tmp: Path) -> list[str]:
    (tmp / "notes.txt").write_text("hello")
    return [str(tmp / "notes.txt")]


def calibration_lacks_a_camera(recording: Path, tmp: Path) -> list[str]:
    copy = copied(recording, tmp)
    text = (copy / "Calib.toml").read_text()
    begin, end = text.index("[cam02]"), text.index("[cam03]")
    (copy / "Calib.toml").write_text(text[:begin] + text[end:])
    return [str(copy)]


def broken_calibration(recording: Path, tmp: Path) -> list[str]:
    copy = copied(recording, tmp)
    text = (copy / "Calib.toml").read_text()
    head, camera = text[: text.index("[cam02]")], text[text.index("[cam02]") :]
    (copy / "Calib.toml").write_text(head + re.sub(r"\nrotation *=[^\n]*", r"\nrotation = [1.0, 2.0]", camera, count=1))
    return [str(copy)]


def two_calibrations(recording: Path, tmp: Path) -> list[str]:
    copy = copied(recording, tmp)
    shutil.copy(copy / "Calib.toml", copy / "Calib_old.toml")
    return [str(copy)]


def no_calibration(recording: Path, tmp: Path) -> list[str]:
    copy = copied(recording, tmp)
    (copy / "Calib.toml").unlink()
    return [str(copy)]


def one_camera(recording: Path, tmp: Path) -> list[str]:
    copy = copied(recording, tmp)
    for name in ("cam01_json", "cam03_json"):
        shutil.rmtree(copy / "pose" / name)
    return [str(copy)]


def broken_files(recording: Path, tmp: Path) -> list[str]:
    copy = copied(recording, tmp)
    for file in (copy / "pose").rglob("*.json"):
        file.write_text('{"people": [')
    return [str(copy)]


def truncated(recording: Path, tmp: Path, share: float) -> list[str]:
    bag = tmp / "bag"
    shutil.copytree(recording / "bag", bag)
    file = next(p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    return [str(bag)]


def with_options(*options: str) -> Callable[[Path, Path], list[str]]:
    return lambda recording, tmp: [str(recording), *(o.replace("TMP", str(tmp)) for o in options)]


def with_file(option: str, text: str) -> Callable[[Path, Path], list[str]]:
    def make(recording: Path, tmp: Path) -> list[str]:
        (tmp / "file.yaml").write_text(text)
        return [str(recording), option, str(tmp / "file.yaml")]

    return make


BAD = {
    "empty folder": (empty_folder, "is an empty folder; a recording is"),
    "no folder": (no_folder, "does not exist; a recording is"),
    "text file": (text_file, "is not a recording; a recording is"),
    "calibration lacks a camera": (calibration_lacks_a_camera, "no camera for the pose folder cam02_json.*the calibration has cam01, cam03"),
    "broken calibration": (broken_calibration, "cam02.*rotation"),
    "two calibrations": (two_calibrations, r"There are 2 calibrations: .*Calib\.toml.*Calib_old\.toml.*choose one with --calibration"),
    "no calibration": (no_calibration, r"No calibration \(Calib\*\.toml\) was found"),
    "calibration that is not there": (with_options("--calibration", "TMP/none.toml"), "none.toml"),
    "one camera": (one_camera, "one camera only, 'cam02'; at least two"),
    "broken files": (broken_files, "readable OpenPose JSON"),
    "truncated bag": (lambda r, t: truncated(r, t, 0.4), "truncated or damaged"),
    "stub of a bag": (lambda r, t: truncated(r, t, 0.0), "truncated or damaged"),
    "unknown keypoint set": (with_options("--keypoint-set", "martian"), 'Unknown keypoint set "martian"; choose one of body_25, '),
    "keypoint set of another size": (with_options("--keypoint-set", "coco_17"), "'coco_17' has 17 keypoints, but the files have 26"),
    "frame rate": (with_options("--frame-rate", "-3"), "between 1 and 2000 Hz, not -3"),
    "bag's frame rate": (lambda recording, folder: [str(recording / "bag"), "--frame-rate", "0"], "between 1 and 2000 Hz, not 0"),
    "steps to skip": (with_options("--skip-steps", "-1"), "--skip-steps is -1"),
    "subject with a huge number": (with_file("--subject", f"model: m\nscales: {{head: {{factor: 1{'0' * 400}, std: 0.1}}}}"), "needs the number factor"),
    "config entry": (with_file("--config", "window: {framez: 3}"), "window has no setting 'framez'; did you mean frames"),
    "config value": (with_file("--config", "noise: {pixel_sigma_px: -1}"), r"noise\.pixel_sigma_px is -1.*it must be"),
    "config that is no mapping": (with_file("--config", "- 1"), "must be a mapping"),
    "config that is not there": (with_options("--config", "TMP/none.yaml"), r"none\.yaml cannot be read"),
    "subject that is not there": (with_options("--subject", "TMP/none.yaml"), r"none\.yaml' cannot be read"),
    "subject of another model": (with_file("--subject", "model: other\nscales: {}"), "made for the model other; the chosen model is biomech_body"),
    "subject that is none": (with_file("--subject", "hello"), "must hold a YAML mapping"),
    "model that is not there": (with_options("--model", "nobody"), 'Unknown body model "nobody"; choose one of biomech_body'),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_sentence(case: str, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, sentence = BAD[case]
    out = tmp_path / "out"
    said = refusal(["track", *make(recording, tmp_path), "-o", str(out)], capsys)
    assert re.search(sentence, said), said
    assert not out.exists()


def test_nobody_in_view_is_said(recording: Path, settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = copied(recording, tmp_path)
    for file in (copy / "pose").rglob("*.json"):
        file.write_text('{"version": 1.3, "people": []}')
    arguments = ["track", str(copy), "-o", str(tmp_path / "out"), "--config", str(settings), "--keypoint-set", "halpe_26"]
    assert refusal(arguments, capsys).endswith("No person is in view.")


def test_an_output_that_cannot_be_made_is_said_before_the_work(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert "for the results cannot be made" in refusal(["track", str(recording), "-o", str(tmp_path / "file")], capsys)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_calibration_of_other_cameras_is_doubted(recording: Path, settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two of the cameras exchanged: it runs, says which camera was of no use, and leaves nothing of the run that had been in the folder."""
    cameras = read_calibration(recording / "Calib.toml").cameras
    swapped = [replace(cameras[1], name=cameras[0].name), replace(cameras[0], name=cameras[1].name), *cameras[2:]]
    write_calibration(tmp_path / "Calib_swapped.toml", swapped)
    out = tmp_path / "out"
    for name in ("estimates.npz", "report.html", "evaluation.json", "smoothed/steps.csv", "pictures/old.png", "smoothed/mine.txt"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("old")
    options = ["--calibration", str(tmp_path / "Calib_swapped.toml"), "--config", str(settings), "--no-report"]
    assert main(["track", str(recording), "-o", str(out), *options]) == 0
    said = capsys.readouterr()
    notices = json.loads((out / "summary.json").read_text())["notices"]
    assert any(notice.startswith("Camera 'cam") or notice.startswith("The body came out") for notice in notices), notices
    assert all(notice in said.err for notice in notices) and "report.html" not in said.out
    assert [path.name for path in out.rglob("*") if path.is_file() and path.read_bytes() == b"old"] == ["mine.txt"]


def test_a_bag_whose_end_is_missing_is_tracked_as_far_as_it_goes(
    recording: Path, settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = truncated(recording, tmp_path, 0.97)
    assert main(["track", *arguments, "-o", str(tmp_path / "out"), "--config", str(settings), "--no-report", "--frame-rate", str(RATE_HZ)]) == 0
    assert "only its readable part is used" in capsys.readouterr().err


def test_the_command_itself(tmp_path: Path) -> None:
    """As a user starts it: exit code 2, the sentence on stderr, nothing on stdout."""
    done = subprocess.run([sys.executable, "-m", "biomech_fit.cli.main", "track", str(tmp_path), "-o", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("biomech-fit: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["evaluate", "TMP", "--truth", "TMP"], "holds neither truth.npz nor"),
        (["simulate", "TMP/s", "--seconds", "-1"], "seconds is -1.0; it must be a number from 0.2 to 600 s"),
        (["simulate", "TMP/s", "--cameras", "many"], "cameras is 'many'; it must be a whole number"),
        (["bench", "--cameras", "0"], "--cameras must be within 2 and 32"),
        (["bench", "--keypoints", "7"], "--keypoints must be one of 17, 25, 26, 87, not 7"),
        (["bench", "--window", "3"], "--window within 8 and 256"),
        (["bench", "--frame-rate", "0"], "--frame-rate must be within 10 and 240 Hz, not 0"),
        (["bench", "--frame-rate", "10", "--seconds", "1", "--no-cold-start"], "fills twice before anything counts"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_other_commands_refuse_alike(arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sentence in refusal([a.replace("TMP", str(tmp_path)) for a in arguments], capsys)


def test_bench_times_frames_at_the_cameras_pace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--cameras", "3", "--seconds", "1", "--frame-rate", "30", "--window", "12", "--no-cold-start"]) == 0
    out = json.loads(capsys.readouterr().out)
    (case,) = out["cases"]
    assert (case["cameras"], case["keypoints"], case["people"], case["frame_rate_hz"]) == (3, 26, 1, 30.0)
    assert 0 < case["p50_ms"] <= case["p95_ms"] <= case["p99_ms"] and case["recompilations"] == 0
    assert 0 < case["frames"] < 30 and case["frames_per_s"] > 0
    assert out["device"] and out["jax"] and out["peak_memory_mb"] > 0
