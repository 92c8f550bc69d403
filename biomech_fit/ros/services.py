"""The fitter's services, all std_srvs/Trigger: they answer with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.node import Node
from std_srvs.srv import Trigger

from biomech_fit.core.errors import InputError
from biomech_fit.formats.calibration import write_calibration
from biomech_fit.formats.subject import subject_from_estimate, write_subject
from biomech_fit.ros.setup import FitSetup
from biomech_fit.ros.worker import FitWorker

ANSWER_S = 5.0
"""How long a service waits for the worker: many frames, or one that is being compiled."""


class FitterServices:
    """~/reset, ~/fit_subject, ~/save_subject and ~/save_calibration.

    Args:
        worker: the running worker; None while the node is not active.
        folder: where files go; empty = the working directory.
        restarted: called after a reset.
    """

    def __init__(self, node: Node, setup: FitSetup, worker: Callable[[], FitWorker | None], folder: Callable[[], str], restarted: Callable[[], None]) -> None:
        self._node, self._setup, self._worker, self._folder, self._restarted = node, setup, worker, folder, restarted
        functions = {"reset": self._reset, "fit_subject": self._fit_subject, "save_subject": self._save_subject, "save_calibration": self._save_calibration}
        self._services = [node.create_service(Trigger, f"~/{name}", partial(self._answer, function)) for name, function in functions.items()]

    def destroy(self) -> None:
        for service in self._services:
            self._node.destroy_service(service)
        self._services = []

    def _answer(self, function: Callable[[Any], str], _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        worker = self._worker()
        if worker is None:
            response.success, response.message = False, "The node is not active."
            return response
        try:
            response.message = worker.call(partial(function, worker.pipeline)).result(ANSWER_S)
            response.success = True
        except InputError as error:
            response.message = str(error)
        except (TimeoutError, CancelledError):
            response.message = f"The fit did not answer within {ANSWER_S:g} s."
        except OSError as error:
            response.message = f"{error.filename or 'The file'} cannot be written: {error.strerror}."
        except Exception as error:
            response.message = f"{type(error).__name__}: {error}"
        if not response.success:
            self._node.get_logger().error(response.message)
        return response

    def _reset(self, pipeline: Any) -> str:
        pipeline.reset()
        self._restarted()
        return "The fit starts anew with the next frame."

    def _fit_subject(self, pipeline: Any) -> str:
        pipeline.reset(subject=True)
        self._restarted()
        return "Sizes and keypoint offsets are estimated anew from the next frames; let the person walk for some seconds, then save the subject."

    def _save_subject(self, pipeline: Any) -> str:
        estimate = pipeline.subject()
        if not estimate.frames:
            raise InputError("No person has been tracked yet; there is no subject to save.")
        path = Path(self._folder() or ".").absolute() / "subject.yaml"
        name = self._setup.subject_name or estimate.name
        write_subject(path, subject_from_estimate(estimate, self._setup.body, self._setup.keypoint_set.name, name))
        return f"Written: {path}"

    def _save_calibration(self, pipeline: Any) -> str:
        estimate = pipeline.calibration()
        if not estimate.stamp_ns:
            raise InputError("No person has been tracked yet; the cameras are as they were loaded.")
        refined = {camera.name: camera for camera in estimate.cameras}
        like = self._setup.calibration
        everything = [refined.get(camera.name, camera) for camera in like.cameras]
        name = "calibration.toml" if like.format == "pose2sim" else "calibration"
        path = Path(self._folder() or ".").absolute() / name
        write_calibration(path, everything, like)
        return f"Written: {path}"
