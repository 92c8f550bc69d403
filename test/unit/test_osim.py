"""OpenSim models: every joint type and function against transforms written out here, what is refused, and the exact kinematics of a real model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import osim_example as example
import pytest
from scipy.spatial.transform import Rotation

from biomech_fit.core.errors import InputError
from biomech_fit.core.joint_function import CubicSpline, PiecewiseLinear, Polynomial
from biomech_fit.formats.mot import read_mot
from biomech_fit.formats.osim import read_osim
from biomech_fit.formats.trc import read_trc

REFERENCE = Path(__file__).parents[3] / "shared" / "data" / "opensim_ik_reference"
FRAMES = (
    "<translation>0.1 -0.4 0.02</translation><orientation>0.3 -0.2 0.5</orientation>",
    "<translation>0.03 0.2 -0.1</translation><orientation>-0.1 0.4 0.2</orientation>",
)
PARENT = (Rotation.from_euler("XYZ", [0.3, -0.2, 0.5]), np.array([0.1, -0.4, 0.02]))
CHILD = (Rotation.from_euler("XYZ", [-0.1, 0.4, 0.2]), np.array([0.03, 0.2, -0.1]))
KNEE = [example.coordinate("knee"), example.coordinate("twist")]
POINT = np.array([0.2, -0.3, 0.1])
EXACT = 1e-12  # m; both sides are double precision


def read(tmp_path: Path, content: str):
    path = tmp_path / "small.osim"
    path.write_text(content)
    return read_osim(path)


def placed(turn: Rotation, shift: np.ndarray) -> np.ndarray:
    """POINT of the child in the ground, when the child's offset frame stands at (turn, shift) in the parent's."""
    in_child_frame = CHILD[0].inv().apply(POINT - CHILD[1])
    return PARENT[0].apply(turn.apply(in_child_frame) + shift) + PARENT[1]


@pytest.mark.parametrize(
    ("kind", "values", "turn", "shift"),
    [
        ("WeldJoint", [], [0, 0, 0], [0, 0, 0]),
        ("PinJoint", [0.7], [0, 0, 0.7], [0, 0, 0]),
        ("SliderJoint", [0.2], [0, 0, 0], [0.2, 0, 0]),
        ("UniversalJoint", [0.7, -0.4], [0.7, -0.4, 0], [0, 0, 0]),
        ("BallJoint", [0.7, -0.4, 0.2], [0.7, -0.4, 0.2], [0, 0, 0]),
        ("GimbalJoint", [0.7, -0.4, 0.2], [0.7, -0.4, 0.2], [0, 0, 0]),
        ("PlanarJoint", [0.7, 0.1, -0.2], [0, 0, 0.7], [0.1, -0.2, 0]),
        ("FreeJoint", [0.7, -0.4, 0.2, 1, 2, 3], [0.7, -0.4, 0.2], [1, 2, 3]),
    ],
)
def test_plain_joints(tmp_path, kind, values, turn, shift):
    names = [f"q{k}" for k in range(len(values))]
    joint = example.joint(kind, "j", "ground", "b", [example.coordinate(n) for n in names], frames=FRAMES)
    model = read(tmp_path, example.model([joint], ["b"], [example.marker("m", "b", " ".join(map(str, POINT)))]))
    at = model.markers(dict(zip(names, values, strict=True)))
    np.testing.assert_allclose(at[0], placed(Rotation.from_euler("XYZ", turn), np.array(shift, float)), atol=EXACT)


@pytest.mark.parametrize("version", [3, 4])
def test_custom_joint_with_every_function(tmp_path, version):
    coordinates = [example.coordinate("knee", range="-2 2"), example.coordinate("twist", default_value="0.25")]
    if version == 4:
        joint = example.joint("CustomJoint", "j", "ground", "b", coordinates, frames=FRAMES, inside=example.spatial_transform(4))
        text = example.model([joint], ["b"], [example.marker("m", "b", " ".join(map(str, POINT)))])
    else:
        joint = (
            f'<CustomJoint name="j">{example.spatial_transform(3)}<parent_body>ground</parent_body><location_in_parent>0.1 -0.4 0.02</location_in_parent>'
            "<orientation_in_parent>0.3 -0.2 0.5</orientation_in_parent><location>0.03 0.2 -0.1</location><orientation>-0.1 0.4 0.2</orientation>"
            f"<CoordinateSet><objects>{''.join(coordinates)}</objects></CoordinateSet><reverse>false</reverse></CustomJoint>"
        )
        text = (
            '<OpenSimDocument Version="30000"><Model name="old"><BodySet><objects><Body name="ground"><Joint/></Body>'
            f'<Body name="b"><Joint>{joint}</Joint></Body></objects></BodySet><MarkerSet><objects><Marker name="m"><body>b</body>'
            f"<location>{' '.join(map(str, POINT))}</location></Marker></objects></MarkerSet>"
            "</Model></OpenSimDocument>"
        )
    model = read(tmp_path, text)
    knee, twist = 0.6, -0.5
    # The spline's points lie on x^3, which it therefore is; the piecewise function's slope is 0.4 below 0.
    turn = Rotation.from_euler("ZYX", [knee + 0.1, 0.4 * twist, 0.05])
    shift = np.array([0.01 * knee**3, 0.02 * knee**2 - 0.01 * knee + 0.3, 0.01 * knee + 0.02 * twist + 0.03])
    np.testing.assert_allclose(model.markers({"knee": knee, "twist": twist})[0], placed(turn, shift), atol=EXACT)
    assert model.linkage.default.tolist() == [0, 0.25]


def test_reversed_joint_is_the_inverse(tmp_path):
    joint = example.joint("FreeJoint", "j", "ground", "b", [example.coordinate(f"q{k}") for k in range(6)], inside="<reverse>true</reverse>")
    model = read(tmp_path, example.model([joint], ["b"], [example.marker("m", "b", "0.2 -0.3 0.1")]))
    turn, shift = Rotation.from_euler("XYZ", [0.7, -0.4, 0.2]), np.array([1.0, 2, 3])
    at = model.markers(dict(zip(model.coordinate_names, [0.7, -0.4, 0.2, 1, 2, 3], strict=True)))
    np.testing.assert_allclose(turn.apply(at[0]) + shift, POINT, atol=EXACT)


def test_twists_are_the_derivatives_of_markers(tmp_path):
    """Columns of angular velocity and velocity at the origin, chained through couplings, against central differences."""
    coupler = (
        '<CoordinateCouplerConstraint name="c"><coupled_coordinates_function><PolynomialFunction><coefficients>0.5 0.2 0</coefficients></PolynomialFunction>'
        "</coupled_coordinates_function><independent_coordinate_names>q</independent_coordinate_names><dependent_coordinate_name>twist</dependent_coordinate_name>"
        "<scale_factor>2</scale_factor></CoordinateCouplerConstraint>"
    )
    joints = [
        example.joint("PinJoint", "p", "ground", "a", [example.coordinate("q")], frames=FRAMES),
        example.joint("CustomJoint", "k", "a", "b", KNEE, frames=FRAMES, inside=example.spatial_transform(4)),
        example.joint("BallJoint", "r", "b", "c", [example.coordinate(f"r{k}") for k in range(3)], inside="<reverse>true</reverse>"),
    ]
    model = read(tmp_path, example.model(joints, "abc", [example.marker("m", "c", "0.2 0.1 -0.3")], [coupler]))
    linkage = model.linkage
    full = linkage.complete(np.array([[0.4, 0.3, 9.0, 0.5, -0.6, 0.2]]))
    assert full[0, 2] == pytest.approx(2 * (0.5 * 0.4**2 + 0.2 * 0.4))
    poses = linkage.poses(full)
    x = linkage.markers(poses)[0, 0]
    by_pair = np.cross(poses.twist[:3, :, 0].T, x) + poses.twist[3:, :, 0].T  # the only marker hangs on every joint
    by_free = np.einsum("px,pf->fx", by_pair, linkage.free_slopes(full)[0][linkage.pair_coordinate])
    step = 1e-6
    for column, c in zip(by_free, linkage.free, strict=True):
        ends = [linkage.markers(linkage.poses(linkage.complete(full + sign * step * np.eye(6)[c])))[0, 0] for sign in (1, -1)]
        np.testing.assert_allclose(column, (ends[0] - ends[1]) / (2 * step), atol=1e-8)  # truncation and rounding of the differences


def test_splines():
    x = np.array([-1.0, -0.2, 0.3, 1.1, 1.5])
    cubic = np.polynomial.Polynomial([0.2, -1, 0.5, 2])
    spline, at = CubicSpline(x, cubic(x)), np.linspace(-1, 1.5, 50)
    np.testing.assert_allclose(spline.evaluate(at)[0], cubic(at), atol=1e-12)  # a natural spline would not reproduce it
    assert spline.evaluate(np.array([2.5]))[0][0] == pytest.approx(cubic(1.5) + cubic.deriv()(1.5))  # straight outside
    assert spline.evaluate(np.array([-3.0]))[1][0] == pytest.approx(cubic.deriv()(-1))
    parabola = CubicSpline(np.array([0.0, 1, 3]), np.array([0.0, 1, 9]))
    np.testing.assert_allclose(parabola.evaluate(np.array([0.5, 2]))[0], [0.25, 4], atol=1e-12)
    rough = CubicSpline(x, np.array([0.0, 2, -1, 3, 0]))
    np.testing.assert_allclose(rough.evaluate(x)[0], [0, 2, -1, 3, 0], atol=1e-12)
    for function in (rough, Polynomial((1.0, -2, 3)), PiecewiseLinear(x, np.array([0.0, 2, -1, 3, 0]))):
        inner = np.linspace(-1.4, 1.9, 30)
        np.testing.assert_allclose(function.evaluate(inner)[1], (function.evaluate(inner + 1e-7)[0] - function.evaluate(inner - 1e-7)[0]) / 2e-7, atol=1e-5)


PIN = example.joint("PinJoint", "p", "ground", "a", [example.coordinate("q")])
SECOND = example.joint("PinJoint", "p2", "ground", "b", [example.coordinate("q")])
THIRD = example.joint("PinJoint", "p2", "ground", "a", [example.coordinate("q2")])
TIMED = example.joint("PinJoint", "p", "ground", "a", [example.coordinate("q", prescribed="true", prescribed_function="<Constant/>")])
GCV = example.joint("CustomJoint", "k", "ground", "a", KNEE, inside=example.spatial_transform(4).replace("PolynomialFunction", "GCVSpline"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]><OpenSimDocument/>', "document type"),
        ("<OpenSimDocument><Model></OpenSimDocument>", "not valid XML in line 1"),
        ("<OpenSimDocument/>", "no <Model>"),
        (example.model([PIN.replace("PinJoint", "EllipsoidJoint")], ["a"], []), "joint p: the joint type EllipsoidJoint is not supported; those read are Cus"),
        (example.model([PIN], ["a", "b"], []), "no chain of joints leads from the ground to the body 'b'"),
        (example.model([PIN, THIRD], ["a"], []), "joint p2: the body 'a' already hangs on the joint p; loops"),
        (example.model([PIN, SECOND], "ab", []), "two coordinates are called 'q'"),
        (example.model([PIN], ["a"], [example.marker("m", "femur", "0 0 0")]), "marker m: '/bodyset/femur' is neither a body nor a frame"),
        (example.model([PIN], ["a"], [example.marker("m", "a", "0 nan 0")]), "marker m: <location> must be 3 finite numbers, not '0 nan 0'"),
        (example.model([PIN], ["a"], [], ['<WeldConstraint name="w"/>']), "constraint w: the constraint type WeldConstraint is not supported"),
        (example.model([GCV], ["a"], []), "joint k, translation2: the function GCVSpline is not supported; those read are Constant"),
        (example.model([TIMED], ["a"], []), "coordinate q: a coordinate that is prescribed as a function of time is not supported"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert "small.osim" in str(caught.value)


def test_unknown_coordinate_names_the_valid_ones(tmp_path):
    model = read(tmp_path, example.model([PIN], ["a"], []))
    with pytest.raises(InputError, match="no coordinate 'knee'; it has q"):
        model.markers({"knee": 1.0})


def test_kinematics_of_gait2354_are_exact():
    """The synthetic markers were made by OpenSim from these coordinates. The .trc has five digits, so 0.05 mm per axis where |x| >= 1 m, 0.005 below."""
    if not REFERENCE.is_dir():
        pytest.skip("needs ../shared/data/opensim_ik_reference")
    model = read_osim(REFERENCE / "subject01_simbody.osim")
    motion, trial = read_mot(REFERENCE / "std_subject01_walk1_ik.mot"), read_trc(REFERENCE / "subject01_synthetic_marker_data.trc", axes="file")
    computed = model.markers({name: motion[name] for name in motion.names})
    error = np.stack([computed[:, model.marker_names.index(name)] - trial[name] for name in trial.names], 1)
    assert error.shape == (73, 31, 3)
    assert np.abs(error).max() < 1.2e-4
    assert np.linalg.norm(error, axis=-1).mean() < 4e-5
