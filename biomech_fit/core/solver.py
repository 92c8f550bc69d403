"""The fixed-lag smoother: a sliding window of poses on a spline, with slow states, solved by structured Gauss-Newton on every new frame.

    shift:         when time passes the last knot, fold the oldest spline interval into a Gaussian prior (marginalisation) and add a control point
    advance:       append the new frame, a few Gauss-Newton iterations, read out the newest and the lagged frame
    advance_held:  the same with the slow states held where the last `advance` left them, and only the newest frames linearised anew: a third of the work
    approach:      append the new frame and move the newest control points alone, before an `advance_held` or `advance` for which the frame would be too far

Every cost is in `window_costs`, the linear algebra in `linear`, what enters and leaves in `window` and `marginal`. All arrays have fixed shapes, so
everything is compiled once, before the first frame.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from biomech_fit.core import spline
from biomech_fit.core.body import BodyModel
from biomech_fit.core.frame_terms import Kept, PoseTerms
from biomech_fit.core.linear import ORDER, ArrowSolution, SlowShare, solve_banded, solve_banded_held, solve_dense, solve_dense_held, solve_end
from biomech_fit.core.marginal import marginalise
from biomech_fit.core.point_residuals import PointObservations
from biomech_fit.core.program import program
from biomech_fit.core.residuals import Observations
from biomech_fit.core.result import Result
from biomech_fit.core.window import Head, Window, append, extend, recentre
from biomech_fit.core.window_costs import SolverOptions, WindowCosts
from biomech_fit.core.window_readout import newest_and, read_out

LESS_WIDE = 0.7
"""The robust kernel's width from step to step, where it starts wider."""

NEAR = 3e-3
"""A start whose last step moved nothing by more than this (rad, m) goes on with the next frame. Without it the first frames of six walks were the same to
0.1 mm."""

NEWEST_FRAMES, NEWEST_CONTROL = 2, 2 * ORDER
"""What `approach` linearises anew and moves. The newest frame is carried by ORDER + 1 control points."""

_SOLVERS = {"banded": (solve_banded, solve_banded_held), "dense": (solve_dense, solve_dense_held)}


class Frame(NamedTuple):
    """What one new frame brings (see `Observations`), and where it goes."""

    uv: Array
    """(C, K, 2) px"""
    information: Array
    """(C, K) 1/px^2"""
    delay: Array
    """(C,) s"""
    share: Array
    """()"""
    u: Array
    """() its place in knot spacings since the window's start, in the last interval. A frame at u < 0 is not taken: the window is only solved again."""
    late: Array
    """() slot of the lagged frame that is read out."""
    points: PointObservations | None = None
    """3D points (K, 3) and (K,); None = the solver takes none."""


class Held(NamedTuple):
    """What a step leaves for those after it that hold the slow states."""

    share: SlowShare
    """In the uncertainty of the two poses that are read out."""
    kept: Kept
    reference: Array
    """(3, 3), which the window had."""

    def fits(self, window: Window) -> bool:
        """Whether the window's coordinates are still what they were."""
        return np.array_equal(np.asarray(self.reference), np.asarray(window.reference))


class WindowSolver:
    """Compiled window solver for one body model, number of cameras and keypoint set. Holds no state: `Window` goes in and out."""

    def __init__(self, body: BodyModel, n_cameras: int, options: SolverOptions):
        self.body, self.options = body, options
        self.costs = WindowCosts(body, n_cameras, options)
        self.layout = self.costs.layout
        self._solve, self._solve_held = _SOLVERS[options.linear_solver]
        self._advance_compiled = program(self._advance, donate_argnums=0)
        self._held_compiled = program(self._advance_held, donate_argnums=0)
        self._approach_compiled = program(self._approach, donate_argnums=0)
        self._shift_compiled = program(self._shift)

    def advance(self, window: Window, frame: Frame, iterations: int, widen: float) -> tuple[Window, Result, Held]:
        """Take one frame, then `iterations` Gauss-Newton steps for poses and slow states; what the last one leaves is for `advance_held`.

        The robust kernel starts `widen` times wider (graduated non-convexity; 1 = steady state); with one that does, steps end early where they have become
        small. The window that is passed in is used up.
        """
        head, taken = window.head, _rounded(window)
        for i in range(iterations):
            new = frame if i == 0 else frame._replace(u=np.float32(-1.0))
            width = max(1.0, widen * LESS_WIDE**i)
            taken, result, held = self._advance_compiled(taken, new, np.float32(width))
            if widen > 1.0 == width and np.max(np.abs(np.asarray(taken.last_step))) < NEAR:
                break
        return taken._replace(head=head, rounded=taken.head), result, held

    def advance_held(self, window: Window, frame: Frame, held: Held) -> tuple[Window, Result, Held]:
        """Take one frame, then one step for the poses alone (a block of coordinate descent on the same cost). `held` must fit the window.

        What the slow states add to the covariances is taken from the last `advance`: they change slowly, and so does what they do to a pose. Of the
        observations only those of the newest frames are linearised anew; the others' equations are carried on to the poses where they are now.
        """
        taken, result, kept = self._held_compiled(_rounded(window), frame, held.share, held.kept)
        return taken._replace(head=window.head, rounded=taken.head), result, held._replace(kept=kept)

    def approach(self, window: Window, frame: Frame, held: Held) -> tuple[Window, Held]:
        """Take one frame that lies far ahead of the one before, and bring the newest poses near to it. `held` must fit the window."""
        taken, kept = self._approach_compiled(_rounded(window), frame, held.kept)
        return taken._replace(head=window.head, rounded=taken.head), held._replace(kept=kept)

    def nothing_held(self, window: Window) -> Held:
        """Of the shapes that `advance_held` takes, to compile it."""
        (frames, n), m = (len(window.u), window.control.shape[1]), self.layout.size
        share = SlowShare(*(np.zeros(shape, np.float32) for shape in ((2, n, n), (2, n, m), (m, m))))
        rates = (np.zeros((frames, n, n), np.float32), np.zeros((frames, n), np.float32))
        x = rates[1]
        terms = PoseTerms(*rates, *(rates if self.options.contact is not None else (None, None)))
        return Held(share, Kept(terms, x, x), window.reference)

    def shift(self, window: Window) -> Window:
        """Move the window on by one knot: marginalise what touches the first control point, then extend the spline.

        This one step is in float64, and so is the head it makes (numpy): the stiff motion prior is subtracted from itself here, and float32's rounding
        would add up, shift by shift, to negative information on what the prior alone knows.
        """
        with jax.enable_x64(True):
            moved = self._shift_compiled(window._replace(rounded=None))
        return moved._replace(head=jax.device_get(moved.head))

    def _advance(self, window: Window, frame: Frame, widen: Array) -> tuple[Window, Result, Held]:
        window = _take(window, frame)
        value, slope = spline.basis(window.u, self.options.knots)
        x, by_u = value @ window.control, slope @ window.control
        lin = self.costs.linearise_at(x, by_u, window, widen)
        system = self.costs.system(window, lin, self.options.damping * (widen - 1))
        at, _ = spline.basis(window.u[newest_and(window, frame.late)], self.options.knots)
        solution = self._solve(system, at)
        held = Held(solution.share, Kept(lin.poses, x, by_u), window.reference)
        window = self._moved(window, solution)
        return window, self._result(window, frame, solution), held

    def _advance_held(self, window: Window, frame: Frame, share: SlowShare, kept: Kept) -> tuple[Window, Result, Kept]:
        window, terms, kept = self._renewed(window, frame, kept)
        chain = self.costs.chain(window, terms, jnp.float32(0.0))
        at, _ = spline.basis(window.u[newest_and(window, frame.late)], self.options.knots)
        solution = self._solve_held(chain, at, share)
        window = self._moved(window, solution)
        return window, self._result(window, frame, solution), kept

    def _approach(self, window: Window, frame: Frame, kept: Kept) -> tuple[Window, Kept]:
        window, terms, kept = self._renewed(window, frame, kept, NEWEST_FRAMES)
        step = solve_end(self.costs.chain(window, terms, jnp.float32(0.0)), NEWEST_CONTROL)
        return window._replace(control=window.control + self._shortened(step) * step), kept

    def _renewed(self, window: Window, frame: Frame, kept: Kept, count: int | None = None) -> tuple[Window, PoseTerms, Kept]:
        """The window with a frame, and its observations' terms."""
        window = _take(window, frame)
        # Every frame's terms move on with it; the newest one's are made below.
        moved = jax.tree.map(lambda a: jnp.where(frame.u < 0, a, jnp.roll(a, -1, axis=0)), kept)
        return window, *self.costs.renew(window, moved, count)

    def _shortened(self, step: Array) -> Array:
        """By how much a step is to be shortened that would turn a joint too far."""
        turn = jnp.max(jnp.abs(step[:, 3 if self.costs.kinematics.free_root else 0 :]))
        return jnp.minimum(1.0, 0.5 / jnp.maximum(turn, 1e-6))

    def _moved(self, window: Window, solution: ArrowSolution) -> Window:
        """The window after one step."""
        shrink = self._shortened(solution.step)
        step = shrink * _settled(window.last_step, solution.step)
        return window._replace(control=window.control + step, last_step=step, slow=window.slow + shrink * solution.slow_step)

    def _result(self, window: Window, frame: Frame, solution: ArrowSolution) -> Result:
        return Result(read_out(self.costs, window, newest_and(window, frame.late), solution.pose, solution.share), window.slow)

    def _shift(self, window: Window) -> Window:
        exact = jax.tree.map(lambda a: a if a.dtype == bool else a.astype(jnp.float64), window)
        if self.costs.kinematics.free_root:
            # The chart is only left when it must be: moving it bends the spline a little.
            exact = jax.lax.cond(jnp.sum(exact.control[-1, 3:6] ** 2) > 1.0**2, recentre, lambda w: w, exact)
        moved = extend(exact, marginalise(self.costs, exact))
        rounded = jax.tree.map(lambda new, old: new.astype(old.dtype), moved, window)
        return rounded._replace(head=moved.head)


def _rounded(window: Window) -> Window:
    """The window as a step takes it: with the head in its own precision, and that alone."""
    head = window.rounded if window.rounded is not None else Head(*(np.asarray(a, window.control.dtype) for a in window.head))
    return window._replace(head=head, rounded=None)


def _take(window: Window, frame: Frame) -> Window:
    taken = append(window, Observations(frame.uv, frame.information, frame.delay, frame.share, frame.points), frame.u)
    return jax.tree.map(lambda a, b: jnp.where(frame.u < 0, b, a), taken, window)


def _settled(last: Array, step: Array) -> Array:
    """Halve the steps of control points that turn back on themselves: where residuals stay large (a biased foot, say) Gauss-Newton overshoots, and
    would swing for ever. The newest control points are left free: their steps follow the noise of new frames, not a swing."""
    settled = (jnp.arange(step.shape[0]) < step.shape[0] - ORDER - 1)[:, None]
    return jnp.where(settled & (last * step < 0), 0.5 * step, step)
