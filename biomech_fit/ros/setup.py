"""Everything that the fitter loads before it can be configured: files named by its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from biomech_fit.config.fit import FitConfig
from biomech_fit.config.load import validate
from biomech_fit.config.node import FitterNodeConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.formats.calibration import Calibration, read_calibration
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.formats.subject import Subject, read_subject
from biomech_fit.formats.world_up import upright_camera

_TOPIC_NAME = re.compile(r"(?!.*__)[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, eq=False)
class FitSetup:
    """What a run is made from."""

    body: BodyModel
    cameras: list[Camera]
    """Empty where 3D points come in."""
    calibration: Calibration | None
    """None where 3D points come in."""
    keypoint_set: KeypointSet
    config: FitConfig
    subject: Subject | None
    subject_name: str
    world_up: str = "z"
    """The axis of the calibration's world that points up; `cameras` are in a z-up world (`formats.world_up`)."""

    @property
    def notices(self) -> list[str]:
        """What is odd about the files, in sentences."""
        notice = self.subject.notice(self.keypoint_set.name) if self.subject else None
        alone = [f"There is one camera only, '{self.cameras[0].name}'; a person is found with two or more."] if len(self.cameras) == 1 else []
        return [*(self.calibration.notices if self.calibration else []), *alone, *([notice] if notice else [])]


def load_setup(settings: FitterNodeConfig) -> FitSetup:
    """Reads the files that the parameters name. Raises InputError naming the parameter or file that is wrong."""
    validate(settings.fit)
    calibration, cameras = None, []
    if settings.input == "cameras":
        if not settings.calibration:
            raise InputError("Parameter calibration is empty; it must name the calibration file of the cameras (or input must be keypoints_3d).")
        calibration = read_calibration(settings.calibration)
        cameras = [upright_camera(camera, settings.world_up) for camera in select_cameras(calibration.cameras, settings.cameras)]
    elif settings.calibration or settings.cameras:
        raise InputError("Parameter input is keypoints_3d, which needs no cameras; leave calibration and cameras empty.")
    keypoint_set = load_keypoint_set(settings.keypoint_set)
    body = load_body_model(settings.model or None, keypoint_set)
    subject = read_subject(settings.subject) if settings.subject else None
    if subject is not None and settings.subject_name:
        subject = replace(subject, name=settings.subject_name)
    name = settings.subject_name or (subject.name if subject else "")
    return FitSetup(body, cameras, calibration, keypoint_set, settings.fit, subject, name, settings.world_up)


def make_pipeline(setup: FitSetup) -> Any:
    """The real pipeline of cameras or of 3D points; imported here, since it brings JAX."""
    if not setup.cameras:
        from biomech_fit.stream.points_pipeline import PointsPipeline

        return PointsPipeline(setup.body, setup.keypoint_set, setup.config, setup.subject)
    from biomech_fit.stream.pipeline import FitPipeline

    return FitPipeline(setup.body, setup.cameras, setup.keypoint_set, setup.config, setup.subject)


def select_cameras(cameras: list[Camera], names: tuple[str, ...]) -> list[Camera]:
    """The named cameras in the calibration's order; all where none is named. Raises InputError for a name that is not there."""
    known = [camera.name for camera in cameras]
    for name in names:
        if name not in known:
            raise InputError(f"Parameter cameras names '{name}', which the calibration does not have; it has: {', '.join(known)}.")
    chosen = [camera for camera in cameras if not names or camera.name in names]
    check_topic_names(camera.name for camera in chosen)
    return chosen


def check_topic_names(cameras: Iterable[str]) -> None:
    """Cameras' names are parts of topics' names. Raises InputError for one that cannot be."""
    for name in cameras:
        if not _TOPIC_NAME.fullmatch(name):
            raise InputError(
                f"Camera '{name}' cannot have topics: ROS wants letters, digits and _ in their names, no digit first and no __. Rename it in the calibration."
            )
