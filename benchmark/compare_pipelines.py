"""Pipelines on the same keypoints: six real walks projected into simulated rigs, with a detector's and a laboratory's faults.

    python benchmark/compare_pipelines.py [-o OUT.json] [--report docs/accuracy.md]
    python benchmark/compare_pipelines.py --conditions clean perturbed --subjects HC030A --pipelines ours --set refine.clock=true
    python benchmark/compare_pipelines.py --pipelines pose2sim plain -o PEERS.json
    python benchmark/compare_pipelines.py --pipelines ours --merge PEERS.json --report docs/accuracy.md

Prints a table with the targets in brackets ("!" = missed) and writes every figure of every walk to OUT. `walks.py` says what is projected, `rigs.py` and
`recordings.py` how, `scores.py` what the figures are. Medians over the walks; angles with their constant offset to Plug-in-Gait removed, the worst walk after
the slash.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import comparison_report
import ours
import peers
import plain
import yaml
from comparison_report import TARGETS, WORST, Scores
from output import Output
from recordings import CONDITIONS, Condition, Session, fingerprint, make_session
from scores import score
from walks import subject_names

from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.formats.atomic import write_text
from biomech_fit.formats.keypoint_sets import load_keypoint_set

KEYPOINT_SET = "halpe_26"


@dataclass(frozen=True)
class Options:
    """What the pipelines need to know beside the recordings."""

    settings: dict[str, Any]
    """Of our pipeline."""
    venv: Path
    """The peers' environment."""
    folder: Path
    """For the peers' files."""


def _ours(session: Session, keypoint_set: KeypointSet, condition: Condition, options: Options, known: bool) -> dict[str, Output]:
    return ours.track(session, keypoint_set, condition.refine, options.settings, known)


def _fit(session: Session, keypoint_set: KeypointSet, condition: Condition, options: Options, both: bool) -> dict[str, Output]:
    return ours.fit(session, keypoint_set, condition.refine, options.settings, both)


def _pose2sim(session: Session, keypoint_set: KeypointSet, condition: Condition, options: Options, known: bool) -> dict[str, Output]:
    if not condition.refine:
        return {}
    try:
        return {"offline": peers.run(session, keypoint_set, options.venv, options.folder, known)}
    except peers.PeerFailed as error:
        print(f"Pose2Sim with OpenSim has no result for a walk of condition '{condition.name}': {error}", file=sys.stderr, flush=True)
        return {}


def _plain(session: Session, keypoint_set: KeypointSet, condition: Condition, options: Options) -> dict[str, Output]:
    return {"offline": plain.run(session.walk, keypoint_set)} if condition.refine and not condition.stranger else {}


PIPELINES: dict[str, Callable[[Session, KeypointSet, Condition, Options], dict[str, Output]]] = {
    "ours": partial(_ours, known=True),
    "ours-unknown": partial(_ours, known=False),
    "ours-fit": partial(_fit, both=True),
    "ours-fit-walk": partial(_fit, both=False),
    "pose2sim": partial(_pose2sim, known=True),
    "pose2sim-unknown": partial(_pose2sim, known=False),
    "plain": _plain,
}
"""The body from the standing trial, or a person never seen before (unknown). A condition that differs from another one only in our settings is ours alone, and
the plain pipeline has no means against a stranger."""


@dataclass
class Results:
    """All figures, and of which recordings."""

    conditions: dict[str, Scores]
    data: dict[str, dict[str, str]]
    """Fingerprint by condition and subject."""

    def add(self, other: Results) -> None:
        """Takes over another's figures; refuses where the same walk is another recording."""
        for condition, walks in other.data.items():
            mine = self.data.setdefault(condition, {})
            for subject, print_ in walks.items():
                if mine.setdefault(subject, print_) != print_:
                    raise InputError(f"The figures to merge are of other recordings than these (condition '{condition}', {subject}): measure them again.")
        for condition, scores in other.conditions.items():
            self.conditions.setdefault(condition, {}).update(scores)


def measure(
    subject: str, condition: str, pipelines: list[str], options: Options, seed: int, skip_s: float
) -> tuple[str, dict[str, dict[str, dict[str, float]]]]:
    """The walk's fingerprint, and its figures by pipeline and output."""
    keypoint_set, chosen = load_keypoint_set(KEYPOINT_SET), CONDITIONS[condition]
    session = make_session(subject, chosen, keypoint_set, seed)
    scores = {}
    for name in pipelines:
        outputs = PIPELINES[name](session, keypoint_set, chosen, options)
        scores[name] = {kind: score(output, session.walk, keypoint_set.names, skip_s) for kind, output in outputs.items()}
    return fingerprint(session.walk), scores


def measured(args: argparse.Namespace) -> Iterator[tuple[str, Results]]:
    """Figures condition by condition. With several workers, a subject stays with its worker, which knows the standing trial from other conditions."""
    if any(name.startswith("pose2sim") for name in args.pipelines):
        peers.prepare(args.peers_venv)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="peers-")))
        options = Options(dict(_setting(text) for text in args.set), args.peers_venv.absolute(), folder)
        work = partial(measure, pipelines=args.pipelines, options=options, seed=args.seed, skip_s=args.skip_s)
        workers = args.workers if args.workers > 1 else 0
        pools = [stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for _ in range(workers)]
        jobs: dict[tuple[str, str], Callable] = {}
        for condition in args.conditions:
            for i, subject in enumerate(args.subjects):
                if pools:
                    jobs[condition, subject] = pools[i % len(pools)].submit(work, subject, condition).result
                else:
                    jobs[condition, subject] = partial(work, subject, condition)
        try:
            for condition in args.conditions:
                walks = {subject: jobs[condition, subject]() for subject in args.subjects}
                yield condition, _collected(condition, walks)
        finally:
            for pool in pools:
                pool.shutdown(cancel_futures=True)


def _collected(condition: str, walks: dict[str, tuple[str, dict]]) -> Results:
    scores: Scores = {}
    for subject, (_, by_pipeline) in walks.items():
        for pipeline, kinds in by_pipeline.items():
            for kind, figures in kinds.items():
                scores.setdefault(pipeline, {}).setdefault(kind, {})[subject] = figures
    return Results({condition: scores}, {condition: {subject: print_ for subject, (print_, _) in walks.items()}})


def _setting(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"--set takes NAME=VALUE, for instance noise.robust_scale=4, not '{text}'.")
    return name, yaml.safe_load(value)


def read(path: Path, seed: int, skip_s: float) -> Results:
    """Figures that an earlier run wrote."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        results, theirs = Results(content["conditions"], content["data"]), (content["seed"], content["skip_s"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{path}' holds no figures of this benchmark: {type(error).__name__} {error}.") from None
    if theirs != (seed, skip_s):
        raise InputError(f"'{path}' has seed {theirs[0]} and leaves out {theirs[1]} s, not {seed} and {skip_s} s as here.")
    return results


def write(args: argparse.Namespace, results: Results) -> None:
    """All figures as JSON."""
    targets = {"median": {" ".join(key): value for key, value in TARGETS.items()}, "worst": {" ".join(key): value for key, value in WORST.items()}}
    content = {"seed": args.seed, "settings": args.set, "skip_s": args.skip_s, "targets": targets, "data": results.data, "conditions": results.conditions}
    write_text(args.out, json.dumps(content, indent=1) + "\n")


def run(args: argparse.Namespace) -> Results:
    """All figures, the conditions in the order of the table; prints and writes each condition as soon as it is there."""
    results = Results({}, {})
    for path in args.merge:
        results.add(read(path, args.seed, args.skip_s))
    results.conditions = {condition: scores for condition, scores in results.conditions.items() if condition in args.conditions}
    print(comparison_report.table_head(), flush=True)
    for condition, new in measured(args) if args.pipelines else ((condition, Results({}, {})) for condition in args.conditions):
        results.add(new)
        scores = results.conditions.get(condition, {})
        results.conditions[condition] = {name: scores[name] for name in PIPELINES if scores.get(name)}
        for row in comparison_report.table_rows(condition, results.conditions[condition]):
            print(row, flush=True)
        if args.out:
            write(args, results)
    results.conditions = {condition: results.conditions[condition] for condition in CONDITIONS if results.conditions.get(condition)}
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    everybody = subject_names()
    parser.add_argument("--conditions", nargs="+", metavar="C", choices=list(CONDITIONS), default=list(CONDITIONS), help=", ".join(CONDITIONS))
    parser.add_argument("--subjects", nargs="+", metavar="S", choices=everybody, default=everybody, help=", ".join(everybody))
    parser.add_argument("--pipelines", nargs="*", metavar="P", default=list(PIPELINES), help=f"{', '.join(PIPELINES)}; none = only what --merge brings")
    parser.add_argument("--set", nargs="+", metavar="NAME=VALUE", default=[], help="settings of our pipeline, e.g. noise.robust_scale=4")
    parser.add_argument("--seed", type=int, default=0, help="of offsets, calibration errors, detector noise and faults (default 0)")
    parser.add_argument("--skip-s", type=float, default=0.5, help="seconds at the walk's beginning that do not count (default 0.5)")
    parser.add_argument("--workers", type=int, default=1, help="processes, each compiles for itself (default 1)")
    parser.add_argument(
        "--peers-venv", type=Path, metavar="DIR", default=peers.DEFAULT_VENV, help="environment of Pose2Sim and OpenSim, made when absent (%(default)s)"
    )
    parser.add_argument("--merge", nargs="+", type=Path, metavar="FILE.json", default=[], help="figures of earlier runs; new ones of a pipeline replace them")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="JSON with all figures")
    parser.add_argument("--report", type=Path, metavar="PAGE.md", help="page that gets the table and a picture, for instance docs/accuracy.md")
    return parser


def main() -> None:
    args = _parser().parse_args()
    began = time.perf_counter()
    try:
        for name in args.pipelines:
            if name not in PIPELINES:
                raise InputError(f"Pipeline '{name}' is unknown; valid are {', '.join(PIPELINES)}.")
        results = run(args)
        print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
        if args.report:
            # Where the figures lay on this machine is nobody's business.
            command = f"python benchmark/compare_pipelines.py {shlex.join(Path(a).name if a.endswith('.json') else a for a in sys.argv[1:])}"
            comparison_report.write(args.report, results.conditions, f"Made by `{command.strip()}` on {os.cpu_count()} cores.")
    except InputError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
