"""OpenSim's .trc and .mot, and C3D."""

from __future__ import annotations

from pathlib import Path

import ezc3d
import numpy as np
import pytest

from biomech_fit.core.errors import InputError
from biomech_fit.formats.c3d import read_c3d
from biomech_fit.formats.mot import read_mot, write_mot
from biomech_fit.formats.trc import read_trc, write_trc

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TIME = np.arange(20) / 59.94
NAMES = ("RHip", "LHeel", "V.Sacral")


def shared(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared/data/{'/'.join(parts)} is absent")
    return path


def test_trc_round_trip_axes_and_header(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(20, 3, 3))
    points[4, 1] = np.nan
    write_trc(tmp_path / "a.trc", TIME, NAMES, points)
    lines = (tmp_path / "a.trc").read_text().splitlines()
    assert lines[0] == "PathFileType\t4\t(X/Y/Z)\ta.trc"
    assert lines[2].split("\t") == ["59.94", "59.94", "20", "3", "m", "59.94", "1", "20"]
    assert [n for n in lines[3].split("\t") if n] == ["Frame#", "Time", *NAMES]
    first = [float(f) for f in lines[5].split("\t")]
    np.testing.assert_allclose(first[2:5], [points[0, 0, 0], points[0, 0, 2], -points[0, 0, 1]], atol=1e-6)
    assert all(len(line.split("\t")) == 2 + 9 for line in lines[3:])
    read = read_trc(tmp_path / "a.trc")
    assert read.names == NAMES and read.rate_hz == 59.94
    np.testing.assert_allclose(read.time_s, TIME, atol=1e-8)
    np.testing.assert_allclose(read.points, points, atol=1e-6)
    np.testing.assert_allclose(read["LHeel"], points[:, 1], atol=1e-6)


def test_trc_millimetres_are_converted(tmp_path: Path) -> None:
    write_trc(tmp_path / "a.trc", TIME[:1], ["A"], np.ones((1, 1, 3)))
    text = (tmp_path / "a.trc").read_text()
    (tmp_path / "a.trc").write_text(text.replace("\tm\t", "\tmm\t"))
    np.testing.assert_allclose(read_trc(tmp_path / "a.trc").points, 1e-3)
    (tmp_path / "a.trc").write_text(text.replace("\tm\t", "\tfurlong\t"))
    with pytest.raises(InputError, match="unit 'furlong' is unknown; valid are m, mm"):
        read_trc(tmp_path / "a.trc")


def test_mot_round_trip_in_degrees_and_radians(tmp_path: Path) -> None:
    names = ("pelvis_tilt", "pelvis_tx", "knee_angle_r")
    values = np.random.default_rng(0).normal(size=(20, 3))
    for in_degrees in (True, False):
        write_mot(tmp_path / "a.mot", TIME, names, values, in_degrees)
        lines = (tmp_path / "a.mot").read_text().splitlines()
        assert [line for line in lines if line.startswith("inDegrees=")] == [f"inDegrees={'yes' if in_degrees else 'no'}"]
        assert "nRows=20" in lines and "nColumns=4" in lines
        in_file = float(lines[lines.index("endheader") + 2].split()[3])
        assert in_file == pytest.approx(np.degrees(values[0, 2]) if in_degrees else values[0, 2], abs=1e-7)
        assert float(lines[lines.index("endheader") + 2].split()[2]) == pytest.approx(values[0, 1], abs=1e-7)
        read = read_mot(tmp_path / "a.mot")
        assert read.names == names and read.in_degrees is in_degrees
        np.testing.assert_allclose(read.values, values, atol=1e-7)
        np.testing.assert_allclose(read["pelvis_tx"], values[:, 1], atol=1e-7)
    write_mot(tmp_path / "b.mot", TIME, ("slider", "hinge", "x"), values, True, is_angle=np.array([False, True, True]))
    np.testing.assert_allclose(np.loadtxt(tmp_path / "b.mot", skiprows=11)[:, 1], values[:, 0], atol=1e-7)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("", "no line 'endheader'"),
        ("a\nendheader\nfoo bar\n1 2\n", "line 3: the first column must be 'time'"),
        ("a\nendheader\ntime bar\n1 2 3\n", "line 4: 3 values for 2 columns"),
        ("a\nendheader\ntime bar\n1 x\n", "line 4: a value is not a number"),
    ],
)
def test_malformed_mot(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "a.mot").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_mot(tmp_path / "a.mot")


def test_malformed_trc_and_shapes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be \(20, 3, 3\), not \(20, 2, 3\)"):
        write_trc(tmp_path / "a.trc", TIME, NAMES, np.zeros((20, 2, 3)))
    with pytest.raises(InputError, match=r"must be \(20, 2\), not \(20, 3\)"):
        write_mot(tmp_path / "a.mot", TIME, ["a", "b"], np.zeros((20, 3)))
    (tmp_path / "a.trc").write_text("hello")
    with pytest.raises(InputError, match=r"not a \.trc file"):
        read_trc(tmp_path / "a.trc")
    write_trc(tmp_path / "a.trc", TIME, NAMES, np.zeros((20, 3, 3)))
    text = (tmp_path / "a.trc").read_text()
    (tmp_path / "a.trc").write_text(text.replace("\t0.000000", "\tzero", 1))
    with pytest.raises(InputError, match="line 6: a field is not a number"):
        read_trc(tmp_path / "a.trc")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")], "no temporary file is left"


def test_real_pose2sim_files() -> None:
    folder = shared("pose2sim_balancing", "reference")
    trc = read_trc(folder / "S00_P00_T01_BalancingTrial_0-100.trc", axes="pose2sim")
    assert trc.points.shape == (100, 21, 3) and trc.rate_hz == 60
    # A standing man in a z-up world: head above hips above ankles.
    z = np.nanmedian(trc.points[..., 2], axis=0)
    assert z[trc.names.index("Head")] > z[trc.names.index("RHip")] + 0.5 > z[trc.names.index("RAnkle")] + 1.0
    mot = read_mot(folder / "S00_P00_T01_BalancingTrial_filt_butterworth_0-100_body25b.mot")
    assert mot.values.shape == (100, 62) and mot.in_degrees
    assert np.degrees(mot["hip_flexion_r"][0]) == pytest.approx(0.49276232) and mot["pelvis_ty"][0] == pytest.approx(0.95240791)


def test_real_opensim_files() -> None:
    folder = shared("opensim_ik_reference")
    trc = read_trc(folder / "subject01_synthetic_marker_data.trc")
    assert trc.points.shape == (73, 31, 3) and trc.rate_hz == 60
    np.testing.assert_allclose(trc["Sternum"][0], [0.67076, 0.025106, 1.3961])
    mot = read_mot(folder / "std_subject01_walk1_ik.mot")
    assert mot.values.shape == (73, 23) and mot.in_degrees, "SIMM motion files are in degrees without saying so"
    assert np.abs(mot["knee_angle_r"]).max() < 2.0


def test_real_c3d() -> None:
    trial = read_c3d(shared("mcgill_walking", "HC030A", "Straight", "HC030A05.c3d"))
    assert trial.points.rate_hz == 100
    assert {"LHEE", "RHEE"} <= set(trial.points.names) and "LKneeAngles" in trial.computed and "LKneeAngles" not in trial.points.names
    heel = trial.points["LHEE"]
    assert 0 < np.nanmin(heel[:, 2]) < 0.1 and np.nanmax(np.abs(heel)) < 10
    assert {e[1] for e in trial.events} >= {"Foot Strike", "Foot Off"} and {e[0] for e in trial.events} >= {"Left", "Right"}
    assert all(trial.points.time_s[0] <= e[2] <= trial.points.time_s[-1] for e in trial.events)


def test_c3d_files_that_break_off(tmp_path: Path) -> None:
    """Within header or parameters they are refused (the library would end the process); within the samples what is whole is read, and it is said."""
    content = ezc3d.c3d()
    content["parameters"]["POINT"]["RATE"]["value"] = [100.0]
    content["parameters"]["POINT"]["LABELS"]["value"] = ["LHEE", "RHEE"]
    content["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    content["data"]["points"] = np.random.default_rng(0).uniform(1, 2, (4, 2, 50)) * 1000
    content.write(str(tmp_path / "whole.c3d"))
    whole = read_c3d(tmp_path / "whole.c3d").points
    assert whole.announced == len(whole.time_s) == 50
    data = (tmp_path / "whole.c3d").read_bytes()
    path = tmp_path / "cut.c3d"
    for size in (0, 100, 512, 515, 600, 900):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match="cannot be read as C3D"):
            read_c3d(path)
    path.write_bytes(data[: len(data) - 2 * 4 * 2 * 4 * 10 - 512])
    cut = read_c3d(path).points
    assert cut.announced == 50 and 20 < len(cut.time_s) <= 40
    np.testing.assert_array_equal(cut.points, whole.points[: len(cut.time_s)])


def test_c3d_errors(tmp_path: Path) -> None:
    (tmp_path / "a.c3d").write_bytes(b"not at all")
    with pytest.raises(InputError, match="cannot be read as C3D"):
        read_c3d(tmp_path / "a.c3d")
    with pytest.raises(InputError, match="does not exist"):
        read_c3d(tmp_path / "b.c3d")


def test_points_without_labels_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More points than labels, as beyond 255 without LABELS2."""
    c3d = ezc3d.c3d()
    c3d["parameters"]["POINT"]["RATE"]["value"], c3d["parameters"]["POINT"]["UNITS"]["value"] = [100.0], ["mm"]
    c3d["parameters"]["POINT"]["LABELS"]["value"] = ["A", "B", "C"]
    c3d["data"]["points"] = np.ones((4, 3, 5))
    c3d.write(str(tmp_path / "t.c3d"))
    monkeypatch.setattr("biomech_fit.formats.c3d._labels", lambda parameters: ["A"])
    read = read_c3d(tmp_path / "t.c3d")
    assert read.points.names == ("A", "unlabelled_2", "unlabelled_3") and read.points.points.shape == (5, 3, 3)
