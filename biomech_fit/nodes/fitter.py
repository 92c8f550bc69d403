"""fitter_node: 2D keypoints of all cameras, or 3D points, in, joint states out. A lifecycle node; the solver runs in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from biomech_fit.config import FitConfig, load_config
from biomech_fit.config.node import FitterNodeConfig
from biomech_fit.core.errors import InputError
from biomech_fit.ros import parameters, qos
from biomech_fit.ros.clock import on_backward_jump
from biomech_fit.ros.diagnostics import Diagnostics
from biomech_fit.ros.inputs import KeypointInputs
from biomech_fit.ros.outputs import FitterOutputs, throughput
from biomech_fit.ros.point_inputs import PointInputs, make_inputs
from biomech_fit.ros.services import FitterServices
from biomech_fit.ros.setup import FitSetup, load_setup, make_pipeline
from biomech_fit.ros.spin import run_node
from biomech_fit.ros.worker import FitWorker

SPREAD_SHARE = 0.9
"""Of the time from one publication of the slow states to the next: over so much each is spread."""

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class FitterNode(LifecycleNode):
    """See docs/nodes.md for topics, services and parameters.

    Args:
        pipeline_factory: makes the pipeline from a `FitSetup`.
        kwargs: of rclpy's node, e.g. context and parameter_overrides.

    Raises:
        InputError: a parameter given at the start is not valid.
    """

    def __init__(self, *, pipeline_factory: Callable[[FitSetup], Any] = make_pipeline, **kwargs: Any) -> None:
        super().__init__("fitter_node", **kwargs)
        self._factory = pipeline_factory
        self._pipeline: Any = None
        self._setup: FitSetup | None = None
        self._outputs: FitterOutputs | None = None
        self._inputs: KeypointInputs | PointInputs | None = None
        self._triggers: FitterServices | None = None
        self._worker: FitWorker | None = None
        self._slow_timer: Any = None
        self._jump_handle: Any = None
        self.diagnostics = Diagnostics(self)
        # The values of the file that `config` names become the defaults, so that what is given as a parameter wins over it.
        given: dict[str, Parameter] = self._parameter_overrides
        path = given["config"].value if "config" in given else ""
        known = isinstance(path, str) and path
        parameters.declare(self, FitterNodeConfig(fit=load_config(path) if known else FitConfig()), self._locked)
        self.add_on_set_parameters_callback(_refuse_config)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", qos.results(10))

    def _locked(self) -> str | None:
        return None if self._pipeline is None else "while the node is configured; deactivate and clean it up first"

    # -- transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads everything and compiles on the real shapes. What is wrong is said in one sentence, and the node stays unconfigured."""
        try:
            self.settings = parameters.read(self, FitterNodeConfig())
            setup = load_setup(self.settings)
            for notice in setup.notices:
                self.get_logger().warning(notice)
            inputs = make_inputs(self, setup, self.diagnostics, self.settings.world_frame)
            self.get_logger().info(f"Compiling for {len(setup.cameras) or 'no'} cameras, {len(setup.keypoint_set)} keypoints.")
            pipeline = self._factory(setup)
            pipeline.compile()
            outputs = FitterOutputs(self, setup, self.settings, self.diagnostics)
        except InputError as error:
            self.get_logger().error(str(error))
            return FAILURE
        except Exception as error:
            self.get_logger().error(f"The fit could not be set up: {type(error).__name__}: {error}")
            return FAILURE
        self._setup, self._inputs, self._pipeline, self._outputs = setup, inputs, pipeline, outputs
        self._triggers = FitterServices(self, setup, lambda: self._worker, outputs)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begins to receive. Where that is not possible the node stays inactive and says why."""
        try:
            return self._activate(state)
        except Exception as error:
            self.get_logger().error(f"The node cannot be activated: {type(error).__name__}: {error}")
            self._stop(wait=True)
            return FAILURE

    def _activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._outputs is not None and self._inputs is not None and self._setup is not None and self._triggers is not None
        outcome = super().on_activate(state)
        poll_s = min(0.25 * self._setup.config.stream.deadline_s, 0.02)
        self._worker = FitWorker(
            self._pipeline, self._now_ns, self._triggers.results, self.diagnostics.problem, poll_s=poll_s, max_wait_s=self.settings.max_wait_s
        )
        self._worker.start()
        self._outputs.restart()
        self._inputs.subscribe(self._worker.feed, self._now_ns)
        self._jump_handle = on_backward_jump(self.get_clock(), self._clock_went_back)
        self._slow_timer = self.create_timer(1 / self.settings.slow_rate_hz, self._publish_slow, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._publish_slow()
        self.get_logger().info("Ready.")
        return outcome

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """What is still in the window is given out first."""
        self._stop(wait=True)
        if self._pipeline is not None and self._outputs is not None:
            try:
                self._outputs.results(self._pipeline.flush())
                self._outputs.clear_display()
                self._pipeline.reset()
            except Exception as error:
                self.get_logger().error(f"The last frames were lost: {type(error).__name__}: {error}")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop(wait=True)
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured."""
        self._stop(wait=True)
        self._release()
        return SUCCESS

    def close(self) -> None:
        """At the end of the process: ends receiving and the worker, which dies with the process if it hangs."""
        self._stop(wait=False)

    def _stop(self, wait: bool) -> None:
        """Ends receiving and the worker. `wait`: as long as it takes, since somebody else is to touch the pipeline next."""
        if self._inputs is not None:
            self._inputs.unsubscribe()
        if self._slow_timer is not None:
            self.destroy_timer(self._slow_timer)
            self._slow_timer = None
        if self._jump_handle is not None:
            self._jump_handle.unregister()
            self._jump_handle = None
        if self._worker is not None:
            if not self._worker.stop():
                self.get_logger().error("The fit has not ended in time; what it still says is lost.")
                if wait:
                    self._worker.wait()
            self._worker = None

    def _release(self) -> None:
        for part in (self._triggers, self._outputs):
            if part is not None:
                part.destroy()
        self._triggers = self._outputs = self._inputs = self._pipeline = self._setup = None
        self.diagnostics.clear()

    # -- while active

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _clock_went_back(self) -> None:
        self.diagnostics.problem("clock", "The clock went back, or another one was chosen (use_sim_time); the fit is started anew.")
        if self._worker is not None and self._outputs is not None:
            self._worker.call(self._pipeline.reset)
            self._outputs.restart()

    def _clock_rows(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        waits = self.get_parameter("use_sim_time").value and not self._now_ns()
        return [("warn", "simulated time", "use_sim_time is true, but nothing has come on /clock: no time passes.", {})] if waits else []

    def _publish_slow(self) -> None:
        """Has the worker publish the slow states between frames. What of the last ones is not out yet comes first."""
        if self._worker is not None:
            self._worker.spread(self._slow_pieces(), SPREAD_SHARE / self.settings.slow_rate_hz)

    def _slow_pieces(self) -> Iterator[None]:
        """In the worker's thread, some milliseconds at a time."""
        worker, outputs, pipeline, triggers = self._worker, self._outputs, self._pipeline, self._triggers
        if worker is None or outputs is None or pipeline is None or triggers is None:
            return
        calibration = None
        try:
            calibration = pipeline.calibration()
            yield
            bodies = pipeline.bodies()
            yield
            yield from outputs.slow(calibration, bodies)
        except Exception as error:
            self.diagnostics.problem("estimates", f"Calibration and subject could not be published: {type(error).__name__}: {error}", "error")
        yield
        rows = [throughput(worker, outputs, self.diagnostics), triggers.row(), *pipeline.diagnostics(calibration), *self._clock_rows()]
        yield
        self._diagnostics_publisher.publish(self.diagnostics.message(self._now_ns(), rows))


def _refuse_config(changed: list[Parameter]) -> SetParametersResult:
    fixed = any(parameter.name == "config" for parameter in changed)
    return SetParametersResult(successful=not fixed, reason=f"Parameter config cannot be set {parameters.AT_START}." if fixed else "")


def main(args: list[str] | None = None) -> int:
    """Entry point. With the parameter autostart the node configures and activates itself."""

    def make() -> FitterNode:
        node = FitterNode()
        if node.get_parameter("autostart").value:
            if node.trigger_configure() != SUCCESS or node.trigger_activate() != SUCCESS:
                raise InputError("fitter_node could not start itself; the line above says why.")
        return node

    return run_node(make, args)


if __name__ == "__main__":
    raise SystemExit(main())
