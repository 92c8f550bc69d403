"""Small OpenSim models as text, in the layouts of versions 3 and 4."""

from __future__ import annotations

from collections.abc import Sequence

KNEE = """<SpatialTransform>
  <TransformAxis name="rotation1"><coordinates>knee</coordinates><axis>0 0 2</axis>{linear}</TransformAxis>
  <TransformAxis name="rotation2"><coordinates>twist</coordinates><axis>0 1 0</axis>{piecewise}</TransformAxis>
  <TransformAxis name="rotation3"><coordinates></coordinates><axis>1 0 0</axis>{constant}</TransformAxis>
  <TransformAxis name="translation1"><coordinates>knee</coordinates><axis>1 0 0</axis>{spline}</TransformAxis>
  <TransformAxis name="translation2"><coordinates>knee</coordinates><axis>0 1 0</axis>{polynomial}</TransformAxis>
  <TransformAxis name="translation3"><coordinates>knee twist</coordinates><axis>0 0 1</axis>{plane}</TransformAxis>
</SpatialTransform>"""
"""A CustomJoint of the coordinates knee and twist with every function that is read; `spatial_transform` fills it."""
FUNCTIONS = {
    "linear": "<LinearFunction><coefficients>1 0.1</coefficients></LinearFunction>",
    "piecewise": "<PiecewiseLinearFunction><x>-1 0 1</x><y>-0.4 0 0.2</y></PiecewiseLinearFunction>",
    "constant": "<Constant><value>0.05</value></Constant>",
    "spline": "<MultiplierFunction><function><SimmSpline><x>-2 -1 0 1 2</x><y>-8 -1 0 1 8</y></SimmSpline></function><scale>0.01</scale></MultiplierFunction>",
    "polynomial": "<PolynomialFunction><coefficients>0.02 -0.01 0.3</coefficients></PolynomialFunction>",
    "plane": "<LinearFunction><coefficients>0.01 0.02 0.03</coefficients></LinearFunction>",
}


def spatial_transform(version: int) -> str:
    """`KNEE` with its functions; version 3 wraps each in <function>."""
    return KNEE.format(**{name: f"<function>{text}</function>" if version == 3 else text for name, text in FUNCTIONS.items()})


def coordinate(name: str, **values: str) -> str:
    """A <Coordinate>; values like default_value, range, clamped, locked."""
    return f'<Coordinate name="{name}">' + "".join(f"<{k}>{v}</{k}>" for k, v in values.items()) + "</Coordinate>"


def joint(kind: str, name: str, parent: str, child: str, coordinates: Sequence[str] = (), *, frames: Sequence[str] = ("", ""), inside: str = "") -> str:
    """A version 4 joint; `frames` are the <translation> and <orientation> of the offsets on parent and child, `coordinates` as `coordinate` makes them."""
    path = "/ground" if parent == "ground" else f"/bodyset/{parent}"
    offsets = [
        f'<PhysicalOffsetFrame name="{body}_offset"><socket_parent>{where}</socket_parent>{frame}</PhysicalOffsetFrame>'
        for body, where, frame in ((parent, path, frames[0]), (child, f"/bodyset/{child}", frames[1]))
    ]
    return (
        f'<{kind} name="{name}"><socket_parent_frame>{parent}_offset</socket_parent_frame><socket_child_frame>{child}_offset</socket_child_frame>'
        f"<coordinates>{''.join(coordinates)}</coordinates><frames>{''.join(offsets)}</frames>{inside}</{kind}>"
    )


def marker(name: str, body: str, location: str) -> str:
    return f'<Marker name="{name}"><socket_parent_frame>/bodyset/{body}</socket_parent_frame><location>{location}</location></Marker>'


def model(joints: Sequence[str], bodies: Sequence[str], markers: Sequence[str], constraints: Sequence[str] = ()) -> str:
    """A version 4 model file."""
    sets = {"BodySet": [f'<Body name="{b}"><mass>1</mass></Body>' for b in bodies], "JointSet": joints, "ConstraintSet": constraints, "MarkerSet": markers}
    content = "".join(f"<{tag}><objects>{''.join(objects)}</objects></{tag}>" for tag, objects in sets.items())
    return f'<?xml version="1.0" encoding="UTF-8" ?>\n<OpenSimDocument Version="40000"><Model name="small">{content}</Model></OpenSimDocument>'


def leg_model(knee_range: str = "-2 0.2", clamped: str = "true", locked: str = "false") -> str:
    """A free pelvis, a ball-jointed thigh and a shank whose knee shifts with its angle; four markers each. Coordinates tilt ... tz, h1 h2 h3, knee."""
    knee = (
        '<SpatialTransform><TransformAxis name="rotation1"><coordinates>knee</coordinates><axis>0 0 1</axis>'
        "<LinearFunction><coefficients>1 0</coefficients></LinearFunction></TransformAxis>"
        '<TransformAxis name="translation1"><coordinates>knee</coordinates><axis>1 0 0</axis>'
        "<SimmSpline><x>-2 -1 -0.5 0 0.5</x><y>-0.004 0.004 0.002 -0.005 -0.006</y></SimmSpline></TransformAxis></SpatialTransform>"
    )
    root = [coordinate(n) for n in ("list", "rotation", "tilt", "tx", "ty", "tz")]
    hip, bend = [coordinate(n) for n in ("h1", "h2", "h3")], [coordinate("knee", range=knee_range, clamped=clamped, locked=locked)]
    joints = [
        joint("FreeJoint", "root", "ground", "pelvis", root),
        joint("BallJoint", "hip", "pelvis", "femur", hip, frames=("<translation>0 -0.07 0.08</translation>", "")),
        joint("CustomJoint", "knee_joint", "femur", "tibia", bend, frames=("<translation>0 -0.4 0</translation>", ""), inside=knee),
    ]
    places = ("0.05 -0.1 0.03", "-0.04 -0.15 0.06", "0.02 -0.3 -0.05", "0.06 -0.2 0.04")
    return model(joints, ("pelvis", "femur", "tibia"), [marker(f"{b}{k}", b, place) for b in ("pelvis", "femur", "tibia") for k, place in enumerate(places)])
