"""The fitter's services, all std_srvs/Trigger: they answer with a sentence. And the subject trial that one of them starts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from std_srvs.srv import Trigger

from biomech_fit.core.errors import InputError
from biomech_fit.core.types import FrameResult
from biomech_fit.formats.calibration import write_calibration
from biomech_fit.formats.subject import Subject, subject_from_estimate, write_subject
from biomech_fit.formats.world_up import fallen_camera
from biomech_fit.ros.outputs import FitterOutputs
from biomech_fit.ros.setup import FitSetup
from biomech_fit.ros.worker import FitWorker
from biomech_fit.stream.subject_trial import SubjectTrial

ANSWER_S = 5.0
"""How long a service waits for the worker: many frames, or one that is being compiled."""


class FitterServices:
    """~/reset, ~/fit_subject, ~/save_subject and ~/save_calibration.

    Args:
        worker: the running worker; None while the node is not active.
        outputs: gets the results, and is told of every restart.
    """

    def __init__(self, node: Node, setup: FitSetup, worker: Callable[[], FitWorker | None], outputs: FitterOutputs) -> None:
        self._node, self._setup, self._worker, self._outputs = node, setup, worker, outputs
        self._trial: SubjectTrial | None = None
        self._known = f"The subject {setup.subject.name or '(unnamed)'} is known." if setup.subject else "The body is estimated while the person moves."
        self._written: set[Path] = set()
        functions = {"reset": self._reset, "fit_subject": self._fit_subject, "save_subject": self._save_subject, "save_calibration": self._save_calibration}
        self._services = [node.create_service(Trigger, f"~/{name}", partial(self._answer, function)) for name, function in functions.items()]

    def destroy(self) -> None:
        for service in self._services:
            self._node.destroy_service(service)
        self._services = []

    def results(self, results: list[FrameResult]) -> None:
        """Passes results on and counts them for a trial that is under way. Called in the worker's thread."""
        self._outputs.results(results)
        worker = self._worker()
        if self._trial is None or worker is None or not self._trial.add(results):
            return
        seconds, self._trial = self._trial.good_s, None
        subject = self._subject(worker.pipeline)
        self._outputs.results(worker.pipeline.set_subject(subject))
        self._known = f"The subject is known from a trial of {seconds:.1f} s."
        self._node.get_logger().info(f"{self._known} ~/save_subject writes it.")

    def row(self) -> tuple[str, str, str, dict[str, Any]]:
        """What is known of the subject, for /diagnostics."""
        trial = self._trial
        if trial is None:
            return "ok", "subject", self._known, {}
        return "ok", "subject", trial.sentence(), {"good_s": round(trial.good_s, 2), "wanted_s": trial.seconds}

    def _answer(self, function: Callable[[Any], str], _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        worker = self._worker()
        if worker is None:
            response.success, response.message = False, "The node is not active."
            return response
        answer = worker.call(partial(function, worker.pipeline))
        try:
            response.message = answer.result(ANSWER_S)
            response.success = True
        except InputError as error:
            response.message = str(error)
        except (TimeoutError, CancelledError):
            answer.cancel()  # what has not begun is not done after all
            response.message = f"The fit did not answer within {ANSWER_S:g} s."
        except OSError as error:
            folder = Path(error.filename).parent if error.filename else "the folder"
            response.message = f"Nothing can be written to {folder}: {error.strerror}."
        except Exception as error:
            response.message = f"{type(error).__name__}: {error}"
        if not response.success:
            self._node.get_logger().error(response.message)
        return response

    def _reset(self, pipeline: Any) -> str:
        pipeline.reset()
        self._outputs.restart()
        return "The fit starts anew with the next frame."

    def _fit_subject(self, pipeline: Any) -> str:
        seconds = float(self._node.get_parameter("fit_subject_s").value)
        pipeline.reset(subject=True)
        self._outputs.restart()
        # Somebody else: what was saved of the one before stays.
        self._written = {path for path in self._written if not path.stem.startswith("subject")}
        self._trial, self._known = SubjectTrial(seconds), "The body is estimated while the person moves."
        return f"Let the person stand or walk in view for {seconds:g} s; /diagnostics says how far it is. The body is then taken as known and can be saved."

    def _subject(self, pipeline: Any) -> Subject:
        estimate = pipeline.subject()
        return subject_from_estimate(estimate, self._setup.body, self._setup.keypoint_set.name, self._setup.subject_name or estimate.name)

    def _save_subject(self, pipeline: Any) -> str:
        if not pipeline.subject().frames:
            raise InputError("No person has been tracked yet; there is no subject to save.")
        path = self._target("subject.yaml")
        write_subject(path, self._subject(pipeline))
        return self._wrote(path) + (f" {self._trial.sentence()}" if self._trial else "")

    def _save_calibration(self, pipeline: Any) -> str:
        estimate = pipeline.calibration()
        changed = any(not np.array_equal(now.rotation, loaded.rotation) for now, loaded in zip(estimate.cameras, estimate.loaded, strict=True))
        if not (changed or pipeline.subject().frames):
            raise InputError("No person has been tracked yet; the cameras are as they were loaded.")
        refined = {camera.name: fallen_camera(camera, self._setup.world_up) for camera in estimate.cameras}
        like = self._setup.calibration
        if like is None:
            raise InputError("3D points come in; there are no cameras whose calibration could be saved.")
        everything = [refined.get(camera.name, camera) for camera in like.cameras]
        path = self._target("calibration" + (like.path.suffix if like.path is not None and like.path.is_file() else ""))
        write_calibration(path, everything, like)
        return self._wrote(path)

    def _target(self, name: str) -> Path:
        """Where to write: never over what was there before this node, unless `save_overwrites`."""
        wanted = Path(self._node.get_parameter("save_directory").value or ".").expanduser().absolute() / name
        path, number = wanted, 1
        while path.exists() and path not in self._written and not self._node.get_parameter("save_overwrites").value:
            number += 1
            path = wanted.with_stem(f"{wanted.stem}_{number}")
        return path

    def _wrote(self, path: Path) -> str:
        self._written.add(path)
        return f"Written: {path}"
