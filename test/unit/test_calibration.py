"""Calibration files: each format read, written, read back; errors that name the camera and the field."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.formats import atomic
from biomech_fit.formats.calibration import Calibration, read_calibration, write_calibration

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LENSES = {
    "plumb_bob": ([0.1, -0.05, 1e-3, -2e-5], [0.1, -0.05, 1e-3, 2e-3, 0.01]),
    "rational_polynomial": ([0.4, -0.2, 5e-4, -3e-4, 0.03, 0.75, -0.11, 0.05],),
    "equidistant": ([-0.02, 0.012, -0.008, 0.0015],),
}


def rig() -> list[Camera]:
    lenses = [("none", [])] + [(model, d) for model, ds in LENSES.items() for d in ds]
    return [
        Camera(
            f"cam_{i + 1:02d}", 1920, 1080, np.array([[1500.0 + i, 0, 960.5], [0, 1499.0, 541.25], [0, 0, 1]]), model, np.array(d),
            cv2.Rodrigues(np.array([1.0, 0.3 * i, -0.5]))[0], np.array([0.1 * i, 0.5, 3.0 + i / 3]),
        )
        for i, (model, d) in enumerate(lenses)
    ]  # fmt: skip


def assert_same(a: list[Camera], b: list[Camera]) -> None:
    assert [c.name for c in a] == [c.name for c in b]
    points = np.random.default_rng(0).normal(0, 0.3, (20, 3))
    for x, y in zip(a, b, strict=True):
        assert (x.width, x.height) == (y.width, y.height)
        np.testing.assert_allclose(x.rotation, y.rotation, atol=1e-12)
        np.testing.assert_allclose(x.translation, y.translation, atol=1e-12)
        np.testing.assert_allclose(x.project(points), y.project(points), atol=1e-6)


@pytest.mark.parametrize("name,target", [("pose2sim", "Calib.toml"), ("opencv", "rig.yaml"), ("opencv", "rig"), ("camera_info", "rig")])
def test_round_trip_of_every_lens_in_every_format(tmp_path: Path, name: str, target: str) -> None:
    write_calibration(tmp_path / target, rig(), name)
    calibration = read_calibration(tmp_path / target)
    assert calibration.format == name
    assert_same(calibration.cameras, rig())
    write_calibration(tmp_path / f"again_{target}", calibration.cameras, calibration)
    assert_same(read_calibration(tmp_path / f"again_{target}").cameras, rig())


def test_opencv_itself_reads_what_we_write(tmp_path: Path) -> None:
    camera = rig()[2]
    write_calibration(tmp_path / "rig", [camera], "opencv")
    storage = cv2.FileStorage(str(tmp_path / "rig" / f"{camera.name}.yaml"), cv2.FILE_STORAGE_READ)
    np.testing.assert_allclose(storage.getNode("camera_matrix").mat(), camera.matrix)
    np.testing.assert_allclose(storage.getNode("distortion_coefficients").mat()[0], camera.distortion)
    np.testing.assert_allclose(storage.getNode("translation").mat()[:, 0], camera.translation)
    assert storage.getNode("image_width").real() == camera.width
    write_calibration(tmp_path / "rig.yml", rig(), "opencv")
    storage = cv2.FileStorage(str(tmp_path / "rig.yml"), cv2.FILE_STORAGE_READ)
    node = storage.getNode("cameras").at(1)
    assert node.getNode("name").string() == "cam_02"
    np.testing.assert_allclose(node.getNode("rotation").mat(), rig()[1].rotation)


def test_we_read_what_opencv_writes(tmp_path: Path) -> None:
    camera, path = rig()[1], tmp_path / "left.yml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for key, value in {
        "calibration_time": "Mon Jan  1 10:00:00 2024", "image_width": 1920, "image_height": 1080, "camera_matrix": camera.matrix,
        "distortion_coefficients": camera.distortion.reshape(-1, 1), "rvec": cv2.Rodrigues(camera.rotation)[0], "tvec": camera.translation.reshape(3, 1),
    }.items():  # fmt: skip
        storage.write(key, value)
    storage.release()
    calibration = read_calibration(path)
    assert calibration.format == "opencv" and calibration.names == ["left"]
    np.testing.assert_allclose(calibration.cameras[0].matrix, camera.matrix)
    np.testing.assert_allclose(calibration.cameras[0].rotation, camera.rotation, atol=1e-12)
    write_calibration(tmp_path / "out.yml", calibration.cameras, calibration)
    assert "calibration_time" in (tmp_path / "out.yml").read_text()


def test_toml_keeps_unknown_entries_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "Calib.toml"
    write_calibration(path, rig()[:2])
    text = path.read_text().replace("[metadata]", "[metadata]\nboard = 'charuco' # the big one").replace("[cam_02]", "[cam_02]\nlens = 'A7'")
    path.write_text("# made by hand\n" + text)
    calibration = read_calibration(path)
    moved = [replace(c, translation=c.translation + 0.01) for c in calibration.cameras]
    write_calibration(tmp_path / "new.toml", moved, calibration)
    new = (tmp_path / "new.toml").read_text()
    assert "# made by hand" in new and "board = 'charuco' # the big one" in new and "lens = 'A7'" in new
    assert_same(read_calibration(tmp_path / "new.toml").cameras, moved)


CALISCOPE = """
[cameras.1]
cam_id = 1
size = [1280, 720]
rotation_count = 0
matrix = [[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]
distortions = [0.1, -0.2, 0, 0, 0.05]
translation = [0, 0, 2]
rotation = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
fisheye = false
[cameras.2]
cam_id = 2
size = [1280, 720]
matrix = [[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]
ignore = true
"""


def test_caliscope_layout(tmp_path: Path) -> None:
    path = tmp_path / "camera_array.toml"
    path.write_text(CALISCOPE)
    calibration = read_calibration(tmp_path)
    assert calibration.names == ["cam_1"] and calibration.cameras[0].distortion.size == 5
    write_calibration(tmp_path / "out.toml", calibration.cameras, calibration)
    assert "rotation_count" in (tmp_path / "out.toml").read_text()
    assert_same(read_calibration(tmp_path / "out.toml").cameras, calibration.cameras)


@pytest.mark.parametrize(
    "old,new,expected",
    [
        ("size = [1280, 720]\nrotation_count", "rotation_count", "cam_1.*'size' is missing"),
        ("size = [1280, 720]\nrotation_count", "size = [1280, -720]\nrotation_count", "cam_1.*'size'.*positive"),
        ("[[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]\ndist", "[[-900.0, 0, 640], [0, 900, 360], [0, 0, 1]]\ndist", "cam_1.*focal"),
        ("[[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]\ndist", "[[900.0, 0, 640], [0, 900, 360]]\ndist", "cam_1.*'matrix' must have 3 x 3 numbers"),
        ("0, 0.05]", "0, nan]", "cam_1.*'distortions'.*not finite"),
        ("0, 0.05]", "0]", None),
        ("[0.1, -0.2, 0, 0, 0.05]", "[0.1, -0.2, 0]", "cam_1.*'distortions' has 3 numbers.*4 or 5"),
        ("[0.1, -0.2, 0, 0, 0.05]", "'none'", "cam_1.*'distortions' must be numbers"),
        ("[0, 0, -1], [0, 1, 0]]", "[0, 0, -1.1], [0, 1, 0]]", "cam_1.*'rotation' is not a rotation matrix"),
        ("translation = [0, 0, 2]", "translation = [0, 2]", "cam_1.*'translation' must have 3 numbers, not 2"),
        ("fisheye = false", "fisheye = 3", "cam_1.*'fisheye'"),
        ("[cameras.2]", "[cameras.2", "not valid TOML.*line"),
    ],
)
def test_malformed_entries_name_camera_and_field(tmp_path: Path, old: str, new: str, expected: str | None) -> None:
    assert old in CALISCOPE
    path = tmp_path / "calib.toml"
    path.write_text(CALISCOPE.replace(old, new, 1))
    if expected is None:
        read_calibration(path)
        return
    with pytest.raises(InputError, match=expected):
        read_calibration(path)


def test_camera_info_without_pose_names_the_camera(tmp_path: Path) -> None:
    write_calibration(tmp_path / "rig", rig()[:2], "camera_info")
    (tmp_path / "rig" / "extrinsics.yaml").write_text("cam_01: {rotation: [0, 0, 0], translation: [0, 0, 1]}\n")
    with pytest.raises(InputError, match=r"cam_02.*'rotation' is missing.*extrinsics\.yaml"):
        read_calibration(tmp_path / "rig")


def test_camera_info_as_the_message_prints_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "header: {stamp: {sec: 1, nanosec: 0}, frame_id: left}\nheight: 720\nwidth: 1280\ndistortion_model: plumb_bob\nd: [0.1, 0.0, 0.0, 0.0, 0.0]\n"
        "k: [900.0, 0.0, 640.0, 0.0, 900.0, 360.0, 0.0, 0.0, 1.0]\nr: [1, 0, 0, 0, 1, 0, 0, 0, 1]\np: [900, 0, 640, 0, 0, 900, 360, 0, 0, 0, 1, 0]\n"
    )
    (tmp_path / "extrinsics.yaml").write_text("left: {quaternion_xyzw: [0, 0, 0, 1], translation: [0, 0, 2.0]}\n")
    calibration = read_calibration(tmp_path)
    assert calibration.format == "camera_info" and calibration.names == ["left"]
    np.testing.assert_allclose(calibration.cameras[0].rotation, np.eye(3))


@pytest.mark.parametrize(
    "name,text,expected",
    [
        ("c.toml", "[metadata]\na = 1\n", "holds no camera"),
        ("c.yaml", "a: [1, 2\n", "not valid YAML in line"),
        ("c.yaml", "!!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("c.yaml", "just text\n", "holds no camera"),
        ("c.yaml", "%YAML:1.0\n---\ncamera_matrix: !!opencv-matrix\n  rows: 3\n  cols: 3\n  dt: d\n  data: [1, 2]\n", "3 x 3 but has 2"),
        ("c.yaml", "cameras: [{image_width: 1}]\n", "no field 'name'"),
    ],
)
def test_not_a_calibration(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=expected):
        read_calibration(tmp_path / name)


def test_duplicates_two_files_absent_and_millimetres(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_calibration(tmp_path / "none.toml")
    with pytest.raises(InputError, match="holds no calibration"):
        read_calibration(tmp_path)
    write_calibration(tmp_path / "Calib_a.toml", rig()[:2])
    (tmp_path / "twice.toml").write_text((tmp_path / "Calib_a.toml").read_text().replace('name = "cam_02"', 'name = "cam_01"'))
    with pytest.raises(InputError, match=r"cam_01.*used twice"):
        read_calibration(tmp_path / "twice.toml")
    millimetres = [replace(c, translation=c.translation * 1000) for c in rig()]
    write_calibration(tmp_path / "mm.toml", millimetres)
    with pytest.raises(InputError, match="metres"):
        read_calibration(tmp_path / "mm.toml")
    write_calibration(tmp_path / "Calib_b.toml", rig()[:2])
    with pytest.raises(InputError, match=r"2 calibrations \(Calib_a.toml, Calib_b.toml\)"):
        read_calibration(tmp_path)
    with pytest.raises(InputError, match="valid are pose2sim, opencv, camera_info"):
        write_calibration(tmp_path / "x", rig(), "matlab")


def test_real_pose2sim_calibration(tmp_path: Path) -> None:
    path = DATA / "pose2sim_balancing" / "calibration" / "Calib_qualisys.toml"
    if not path.exists():
        pytest.skip("shared/data/pose2sim_balancing is absent")
    calibration = read_calibration(path)
    assert calibration.names == ["cam_01", "cam_02", "cam_03", "cam_04"] and isinstance(calibration, Calibration)
    assert all((c.width, c.height) == (1088, 1920) for c in calibration.cameras)
    write_calibration(tmp_path / "c.toml", calibration.cameras, calibration)
    assert_same(read_calibration(tmp_path / "c.toml").cameras, calibration.cameras)


OWN_YAML = """%YAML:1.0
---
# the room upstairs
cameras:
   - name: left   # by the window
     image_width: 1280
     image_height: 720
     camera_matrix: !!opencv-matrix
        rows: 3
        cols: 3
        dt: d
        data: [ 900., 0., 640., 0., 900.,
            360., 0., 0., 1. ]
     rvec: [ 1.2, 0.1, 1.0e-05 ]
     tvec: !!opencv-matrix {rows: 3, cols: 1, dt: d, data: [0., 0.5, 2.]}   # taped
   - name: right
     image_width: 1280
     image_height: 720
     camera_matrix: [[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]
     serial: "0012"
     rotation: [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
     translation:
     - 0
     - 0.25
     - 3
"""
CAMERA_INFO = """# printed by the driver
header: {stamp: {sec: 1, nanosec: 0}, frame_id: NAME}
height: 720
width: 1280
distortion_model: plumb_bob
d: [0.1, 0.0, 0.0, 0.0, 0.0]   # of last spring
k: [900.0, 0.0, 640.0, 0.0, 900.0, 360.0, 0.0, 0.0, 1.0]
r: [1, 0, 0, 0, 1, 0, 0, 0, 1]
p: [900, 0, 640, 0, 0, 900, 360, 0, 0, 0, 1, 0]
"""
EXTRINSICS = """# surveyed
a: {quaternion_xyzw: [0, 0, 0, 1], translation: [0, 0, 2.0]}  # tripod
b: {rotation: [0.0, 1.0, 0.0],
    translation: [1.0, 0, 2.0], note: 'wall'}
"""


def moved(cameras: list[Camera], which: int) -> list[Camera]:
    turn = cv2.Rodrigues(np.array([1e-6, 0.01, -0.02]))[0]
    return [replace(c, rotation=turn @ c.rotation, translation=c.translation + 0.013) if i == which else c for i, c in enumerate(cameras)]


def without_numbers(text: str) -> str:
    return re.sub(r"-?\d+\.?\d*(e[-+]?\d+)?", "#", text)


@pytest.mark.parametrize("which", [0, 1])
def test_one_yaml_file_keeps_all_but_the_new_numbers(tmp_path: Path, which: int) -> None:
    (tmp_path / "rig.yaml").write_text(OWN_YAML)
    calibration = read_calibration(tmp_path / "rig.yaml")
    wanted = moved(calibration.cameras, which)
    write_calibration(tmp_path / "new.yaml", wanted, calibration)
    text = (tmp_path / "new.yaml").read_text()
    assert_same(read_calibration(tmp_path / "new.yaml").cameras, wanted)
    assert without_numbers(text) == without_numbers(OWN_YAML)
    lines = [(a, b) for a, b in zip(OWN_YAML.splitlines(), text.splitlines(), strict=True) if a != b]
    assert len(lines) == (2, 4)[which] and all("matrix: [[" not in a and "width" not in a for a, _ in lines)
    write_calibration(tmp_path / "same.yaml", calibration.cameras, calibration)
    assert (tmp_path / "same.yaml").read_text() == OWN_YAML


@pytest.mark.parametrize("which", [0, 1])
def test_a_folder_of_camera_infos_keeps_all_but_the_new_numbers(tmp_path: Path, which: int) -> None:
    source = tmp_path / "rig"
    source.mkdir()
    files = {f"{n}.yaml": CAMERA_INFO.replace("NAME", n) for n in "ab"} | {"extrinsics.yaml": EXTRINSICS}
    for name, text in files.items():
        (source / name).write_text(text)
    calibration = read_calibration(source)
    wanted = moved(calibration.cameras, which)
    write_calibration(tmp_path / "new", wanted, calibration)
    assert_same(read_calibration(tmp_path / "new").cameras, wanted)
    written = {f.name: f.read_text() for f in (tmp_path / "new").iterdir()}
    assert written.keys() == files.keys() and all(written[f"{n}.yaml"] == files[f"{n}.yaml"] for n in "ab")
    assert without_numbers(written["extrinsics.yaml"]) == without_numbers(EXTRINSICS)
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(InputError, match=r"read from 3 files; 'new\.yaml' must be the name of a folder"):
        write_calibration(tmp_path / "new.yaml", wanted, calibration)


def test_a_pose_that_two_cameras_share_by_an_alias_is_written_anew(tmp_path: Path) -> None:
    text = OWN_YAML.replace("translation:\n     - 0\n     - 0.25\n     - 3", "translation: *t").replace("tvec: !!", "tvec: &t !!")
    (tmp_path / "rig.yaml").write_text(text)
    calibration = read_calibration(tmp_path / "rig.yaml")
    wanted = moved(calibration.cameras, 1)
    write_calibration(tmp_path / "new.yaml", wanted, calibration)
    assert_same(read_calibration(tmp_path / "new.yaml").cameras, wanted)


def test_toml_changes_only_what_has_moved(tmp_path: Path) -> None:
    path = tmp_path / "Calib.toml"
    write_calibration(path, rig()[:2])
    text = path.read_text().replace("fisheye = false\n", "", 1).replace("size = [1920.0, 1080.0]", "size = [ 1920, 1080 ]  # px")
    path.write_text(text)
    calibration = read_calibration(path)
    write_calibration(tmp_path / "new.toml", moved(calibration.cameras, 1), calibration)
    lines = [(a, b) for a, b in zip(text.splitlines(), (tmp_path / "new.toml").read_text().splitlines(), strict=True) if a != b]
    assert [a.split(" = ")[0] for a, _ in lines] == ["rotation", "translation"]


def test_a_folder_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def failing(path: Path, text: str) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device", str(path))
        path.write_text(text)

    monkeypatch.setattr(atomic, "write_text", failing)
    with pytest.raises(OSError, match="No space"):
        write_calibration(tmp_path / "rig", rig()[:2], "camera_info")
    assert not list(tmp_path.iterdir())


def test_a_new_lens_does_not_leave_an_old_quaternion(tmp_path: Path) -> None:
    text = OWN_YAML.replace("rvec: [ 1.2, 0.1, 1.0e-05 ]", "quaternion_xyzw: [ 0.0, 0.0, 0.0, 1.0 ]")
    (tmp_path / "rig.yaml").write_text(text)
    calibration = read_calibration(tmp_path / "rig.yaml")
    wanted = [replace(c, matrix=c.matrix * [[1.01], [1.01], [1]]) for c in moved(calibration.cameras, 0)]
    write_calibration(tmp_path / "new.yaml", wanted, calibration)
    assert_same(read_calibration(tmp_path / "new.yaml").cameras, wanted)


def test_a_camera_info_with_its_pose_is_written_as_one_file(tmp_path: Path) -> None:
    """As `ros2 topic echo --once` prints it, with its document's end; with and without a new lens."""
    (tmp_path / "left.yaml").write_text(CAMERA_INFO.replace("NAME", "left") + "rotation: [0.0, 1.0, 0.0]\ntranslation: [0, 0, 2.0]\n---\n")
    calibration = read_calibration(tmp_path / "left.yaml")
    assert calibration.format == "camera_info"
    for lens in (1.0, 1.01):
        wanted = [replace(c, matrix=c.matrix * [[lens], [lens], [1]]) for c in moved(calibration.cameras, 0)]
        write_calibration(tmp_path / "new.yaml", wanted, calibration)
        assert_same(read_calibration(tmp_path / "new.yaml").cameras, wanted)
