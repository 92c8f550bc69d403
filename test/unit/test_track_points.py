"""`biomech-fit track` on 3D points: names, axes, units, gaps, labels, and one sentence for what is of no use."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import ezc3d
import numpy as np
import pytest
from test_gait import STRIDE_M, walk

from biomech_fit.cli.main import main
from biomech_fit.core.errors import InputError
from biomech_fit.core.types import EventType, Side
from biomech_fit.formats.points3d import Points3D
from biomech_fit.formats.points_map import find_feet, load_points_map, points_map_names
from biomech_fit.formats.points_recording import ODD_RATE, _rates, open_points
from biomech_fit.formats.trc import write_trc
from biomech_fit.formats.world_up import ROTATIONS, upright

DATA = Path(os.environ.get("BIOMECH_FIT_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
RATE_HZ = 100.0
FIRST_FRAME = 50


def shared(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path


def walker() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Times and points (T, 3), m, z up: heels, toes and two points of the pelvis of a person who walks along y."""
    stamps, heels, toes = walk(seconds=8.0, rate=RATE_HZ, direction=np.pi / 2)
    for right in (heels[:, 1], toes[:, 1]):
        right[:, 1] -= STRIDE_M / 2  # half a stride later, half a stride behind
    middle = 0.5 * (heels[:, 0] + heels[:, 1])
    middle[:, 2] = 0.95
    upper = {n: middle + np.array(d) for n, d in {"LASI": (-0.12, 0, 0), "RASI": (0.12, 0, 0), "C7": (0, 0, 0.5)}.items()}
    return (stamps - stamps[0]) * 1e-9, {"LHEE": heels[:, 0], "RHEE": heels[:, 1], "LTOE": toes[:, 0], "RTOE": toes[:, 1], **upper}


def write_c3d(path: Path, points: dict[str, np.ndarray], screen: str | None = None, labels: tuple[tuple[str, str, float], ...] = ()) -> Path:
    """In mm; NaN as a missing point."""
    c3d = ezc3d.c3d()
    c3d["parameters"]["POINT"]["RATE"]["value"] = [RATE_HZ]
    c3d["parameters"]["POINT"]["LABELS"]["value"] = list(points)
    c3d["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    if screen:
        c3d.add_parameter("POINT", "Y_SCREEN", [screen])
    if labels:
        c3d.add_parameter("EVENT", "USED", [len(labels)])
        c3d.add_parameter("EVENT", "CONTEXTS", [side for side, _, _ in labels])
        c3d.add_parameter("EVENT", "LABELS", [label for _, label, _ in labels])
        c3d.add_parameter("EVENT", "TIMES", np.array([[0.0] * len(labels), [t for _, _, t in labels]]))
    values = np.stack(list(points.values()), axis=1) * 1e3  # (T, K, 3)
    data = np.ones((4, values.shape[1], len(values)))
    data[:3] = values.transpose(2, 1, 0)
    c3d["data"]["points"] = data
    c3d["header"]["points"]["first_frame"] = FIRST_FRAME
    c3d.write(str(path))
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_c3d_gives_events_steps_summary_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    time_s, points = walker()
    start_s = FIRST_FRAME / RATE_HZ
    labels = tuple(("Left", word, start_s + 1.1 * (k + share)) for word, share in (("Foot Strike", 0.0), ("Foot Off", 0.62)) for k in range(2, 6))
    named = {f"Ann:{name}": p for name, p in points.items()}
    path = write_c3d(tmp_path / "walk.c3d", named, labels=labels)
    out = tmp_path / "out"
    assert main(["track", str(path), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "no body was fitted" in said and "left heel: Ann:LHEE" in said and "labels" in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["points_map"] == "plug_in_gait" and summary["frames"] == len(time_s) and summary["body_fitted"] is False and summary["cameras"] == 0
    assert summary["labels"]["smoothed"]["initial_contact"]["matched"] == 4 and abs(summary["labels"]["smoothed"]["initial_contact"]["bias_ms"]) < 50
    assert summary["gait_summary"]["parameters"]["stride_length_m"]["mean"] == pytest.approx(1.2, abs=0.02)  # the file is in mm
    for folder in (out, out / "smoothed"):
        steps = rows(folder / "steps.csv")
        assert len(steps) >= 10 and float(steps[-1]["step_width_m"]) == pytest.approx(0.12, abs=0.005)
        assert float(steps[-1]["step_length_m"]) == pytest.approx(0.6, abs=0.03) and float(steps[-1]["step_length_std_m"]) < 0.02
        times = [float(r["time_s"]) for r in rows(folder / "gait_events.csv")]
        assert start_s < times[0] < times[-1] < start_s + 8  # the file's own times
    page = (out / "report.html").read_text()
    assert "No step was found" not in page and "footprints" in page and "no body was fitted" in page
    assert not (out / "joint_angles.mot").exists()


@pytest.mark.parametrize("up", list(ROTATIONS))
def test_any_axis_may_point_up(up: str, tmp_path: Path) -> None:
    """By the option, by the file's screen, and by where the pelvis is."""
    _, points = walker()
    turned = {n: p @ ROTATIONS[up] for n, p in points.items()}  # the inverse: world to file
    expected = points["LHEE"]
    by_option = open_points(write_c3d(tmp_path / "a.c3d", turned), world_up=up)
    by_screen = open_points(write_c3d(tmp_path / "b.c3d", turned, screen=("" if up.startswith("-") else "+") + up.upper()))
    by_pelvis = open_points(write_c3d(tmp_path / "c.c3d", turned))
    for recording in (by_option, by_screen, by_pelvis):
        assert recording.up == up
        np.testing.assert_allclose(recording.feet.heels[:, 0], expected, atol=1e-5)  # float32 mm
    assert by_option.notices == by_screen.notices == [] and len(by_pelvis.notices) == (up != "z")
    np.testing.assert_allclose(np.linalg.det(ROTATIONS[up]), 1.0)
    np.testing.assert_allclose(upright(ROTATIONS[up].T @ [0, 0, 1.0], up), [0, 0, 1])


def test_a_trc_with_gaps_and_a_map_of_ones_own(tmp_path: Path) -> None:
    time_s, points = walker()
    points = {n: p.copy() for n, p in points.items()}
    gap = (time_s > 3.0) & (time_s < 4.5)
    points["RHEE"][gap] = np.nan
    names = {"LHEE": "hacke li", "RHEE": "hacke re", "LTOE": "spitze li", "RTOE": "spitze re", "LASI": "sias li", "RASI": "sias re", "C7": "7"}
    path = tmp_path / "gang.trc"
    write_trc(path, time_s, list(names.values()), np.stack([points[n] for n in names], axis=1))
    mapping = tmp_path / "map.yaml"
    mapping.write_text(
        "points:\n  left_heel: Hacke Li\n  right_heel: [hacke re]\n  left_toe: [x, spitze li]\n  right_toe: spitze re\n  pelvis: [[sias li, sias re]]\n"
    )
    out = tmp_path / "out"
    assert main(["track", str(path), "-o", str(out), "--points-map", str(mapping), "--no-report", "--skip-steps", "2"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["world_up"] == "y" and summary["points_map"] == "map" and summary["points_used"]["pelvis"] == "sias li sias re"
    assert summary["gait_summary"]["skip_steps"] == 2 and summary["gait_summary"]["skipped"] >= 2
    right = [float(r["time_s"]) for r in rows(out / "gait_events.csv") if r["side"] == "right"]
    assert right and not any(3.05 < t < 4.45 for t in right)
    assert not (out / "report.html").exists()


def test_a_downward_axis_can_be_given(tmp_path: Path) -> None:
    _, points = walker()
    path = write_c3d(tmp_path / "a.c3d", {n: p @ ROTATIONS["-y"] for n, p in points.items()}, screen="+Z")
    assert main(["track", str(path), "-o", str(tmp_path / "out"), "--world-up", "-y", "--no-report"]) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["world_up"] == "-y"
    recording = open_points(path)  # the file's word counts, and the doubt is said
    assert recording.up == "z" and "--world-up -y" in recording.notices[0]


def test_standing_gives_a_report_that_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    _, points = walker()
    standing = {n: p[:1] + 0.002 * rng.standard_normal((300, 3)) for n, p in points.items()}
    path, out = write_c3d(tmp_path / "standing.c3d", standing), tmp_path / "out"
    assert main(["track", str(path), "-o", str(out)]) == 0
    assert "No step was found" in (out / "report.html").read_text()
    assert json.loads((out / "summary.json").read_text())["events"]["initial_contact"] == 0 and len(rows(out / "steps.csv")) == 0


def test_bad_files_maps_and_options_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    time_s, points = walker()
    good = write_c3d(tmp_path / "good.c3d", points)
    nameless = write_c3d(tmp_path / "nameless.c3d", {f"M{i}": p for i, p in enumerate(points.values())})
    two = write_c3d(tmp_path / "two.c3d", {f"{who}:{n}": p for who in ("ann", "bob") for n, p in points.items()})
    broken = tmp_path / "broken.trc"
    broken.write_text("hello")
    short = tmp_path / "short.trc"
    write_trc(short, time_s[:1], list(points), np.stack([p[:1] for p in points.values()], axis=1))
    bad_role, half = tmp_path / "role.yaml", tmp_path / "half.yaml"
    bad_role.write_text("points: {left_hell: LHEE}\n")
    half.write_text("points: {left_heel: LHEE, right_heel: RHEE, left_toe: LTOE, right_toe: zehe}\n")
    cases = [
        ([nameless], "M0, M1"), ([two], "ann and bob"), ([broken], "PathFileType"), ([short], "1 samples"), ([tmp_path / "none.c3d"], "does not exist"),
        ([good, "--points-map", bad_role], "left_hell"), ([good, "--points-map", half], "right_toe: zehe"), ([good, "--points-map", "gait99"], "plug_in_gait"),
        ([good, "--subject", "s.yaml"], "--subject"), ([good, "--skip-steps", "-1"], "--skip-steps"), ([tmp_path, "--points-map", half], "--points-map"),
    ]  # fmt: skip
    for arguments, words in cases:
        assert main(["track", *map(str, arguments), "-o", str(tmp_path / "out")]) == 2, words
        error = capsys.readouterr().err.strip()
        assert words in error and error.startswith("biomech-fit: ") and "\n" not in error, error


def test_built_in_maps_know_the_usual_names() -> None:
    values = np.ones((3, 1, 3))
    for names, expected in (
        ("LHEE RHEE LTOE RTOE", "plug_in_gait"), ("lheel rheel LBigToe RBigToe", "keypoints"), ("LAnkle RAnkle", "keypoints"),
        ("L.Heel R.Heel L.Toe.Tip R.Toe.Tip", "opensim_gait2392"), ("LCAL RCAL LTOE RTOE", "opensim_rajagopal"),
        ("l_fcc r_fcc l_fm2 r_fm2", "calibrated_anatomical"),
    ):  # fmt: skip
        listed = tuple(names.split())
        feet = find_feet(Points3D(listed, np.arange(3.0), np.repeat(values, len(listed), axis=1), 100.0), "x")
        assert feet.map_name == expected and bool(feet.stand_ins) == (names == "LAnkle RAnkle")
    assert all(load_points_map(name).name == name for name in points_map_names())
    with pytest.raises(InputError, match="none"):
        find_feet(Points3D(("LHEE",), np.arange(3.0), np.full((3, 1, 3), np.nan), 100.0), "x")


@pytest.mark.parametrize("subject", ["HC030A", "HC038A"])
def test_real_walks(subject: str, tmp_path: Path) -> None:
    path = next(shared("mcgill_walking", subject, "Straight").glob("*.c3d"))
    assert main(["track", str(path), "-o", str(tmp_path), "--no-body"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["body_fitted"] is False and not (tmp_path / "joint_angles.mot").exists()
    assert summary["labels"]["smoothed"]["all"]["missed"] == 0 and abs(summary["labels"]["smoothed"]["all"]["bias_ms"]) < 15
    assert 0.9 < summary["gait_summary"]["parameters"]["stride_length_m"]["mean"] < 1.6
    recording = open_points(path)
    assert {(side, kind) for side, kind, _ in recording.labels} == {(s, k) for s in Side for k in EventType}
    assert "knee_angle_r" in recording.angles and 40 < np.nanmax(recording.angles["knee_angle_r"]) < 80


def test_real_treadmill_and_a_recording_without_gait(tmp_path: Path) -> None:
    out = tmp_path / "treadmill"
    assert main(["track", str(shared("treadmill_walking", "treadmill_events.c3d")), "-o", str(out), "--no-body"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    # Steps are measured along the belt: it runs at 1.10 m/s, while the feet come back to the same place.
    assert summary["gait_summary"]["parameters"]["speed_m_s"]["mean"] == pytest.approx(1.09, abs=0.03)
    assert summary["gait_summary"]["parameters"]["stride_length_m"]["sd"] < 0.05 and summary["steps"]["count"] >= 18
    assert (out / "pictures" / "gait_cycles.png").is_file()  # from the angles that the file holds
    out = tmp_path / "balancing"
    path = shared("pose2sim_balancing", "reference", "S00_P00_T01_BalancingTrial_0-100.trc")
    assert main(["track", str(path), "-o", str(out), "--no-body"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["points_map"] == "keypoints" and summary["steps"]["count"] <= 2


def test_a_header_that_is_wrong_about_the_rate(tmp_path: Path) -> None:
    time_s, points = walker()
    path = tmp_path / "walk.trc"
    write_trc(path, time_s, list(points), np.stack(list(points.values()), axis=1), frame_rate_hz=60.0)
    recording = open_points(path)
    assert recording.frame_rate_hz == pytest.approx(RATE_HZ) and "its header says 60 Hz, its times 100 Hz" in " ".join(recording.notices)


@pytest.mark.parametrize(("rate_hz", "decimals"), [(60.0, 2), (120.0, 3), (300.0, 3), (100.0, 2)])
def test_a_header_is_right_where_times_are_rounded_or_have_a_gap(rate_hz: float, decimals: int) -> None:
    time_s = np.round(np.delete(np.arange(200) / rate_hz, slice(50, 80)), decimals)
    assert any(abs(told / rate_hz - 1) < ODD_RATE for told in _rates(time_s))
