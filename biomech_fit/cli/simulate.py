"""`biomech-fit simulate`: a recording of a walking person with ground truth. Its options come from `sim.config.SimConfig`."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields
from pathlib import Path

from tqdm import tqdm

from biomech_fit.config.load import from_mapping
from biomech_fit.config.setting import default_of, valid_values
from biomech_fit.core.errors import InputError
from biomech_fit.formats.folder import make_folder
from biomech_fit.sim.config import SimConfig


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Registers the command; the parser's default `run` is the function to call with the parsed arguments. It returns the exit code."""
    parser = subparsers.add_parser(
        "simulate",
        help="write a simulated recording with ground truth",
        description="Writes a Pose2Sim recording of a simulated walking person, seen by a ring of cameras, with the truth beside it (docs/simulator.md).",
    )
    parser.add_argument("output", metavar="OUT", help="folder to write; an earlier simulation in it is replaced")
    parser.add_argument("--bag", action="store_true", help="also write the packets as a rosbag2 (OUT/bag)")
    for entry in fields(SimConfig):
        default = default_of(entry)
        parser.add_argument(
            "--" + entry.name.replace("_", "-"),
            dest=entry.name,
            metavar="|".join(entry.metadata["choices"]) or (entry.metadata["unit"] or {int: "N", str: "NAME"}.get(type(default), "X")).upper(),
            default=None,
            help=_percent(f"{entry.metadata['doc']} Default {default}; {valid_values(entry)}."),
        )
    parser.set_defaults(run=run)
    return parser


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def config_from_arguments(arguments: argparse.Namespace) -> SimConfig:
    """The settings of the given options over the defaults. Raises InputError that names the option's setting and its valid values."""
    changed = {}
    for entry in fields(SimConfig):
        text = getattr(arguments, entry.name)
        if text is not None:
            changed[entry.name] = _parsed(text, type(default_of(entry)), entry.name, valid_values(entry))
    return from_mapping(changed, SimConfig())


def _parsed(text: str, kind: type, name: str, valid: str) -> object:
    if kind is str:
        return text
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"{name} is {text!r}; it must be {valid}.") from None


def run(arguments: argparse.Namespace) -> int:
    """Simulates and writes; returns 0. Raises InputError for a bad option."""
    from biomech_fit.sim.simulate import simulate  # MuJoCo and OpenCV take a second to load: not for --help
    from biomech_fit.sim.write import write

    config = config_from_arguments(arguments)
    make_folder(Path(arguments.output))
    begin = time.monotonic()
    simulation = simulate(config)
    with tqdm(desc="writing", unit="packet", disable=not sys.stderr.isatty(), leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        folder = write(simulation, arguments.output, bag=arguments.bag, progress=progress)
    size = dict(zip(simulation.subject.segment_names, simulation.subject.segment_lengths_m, strict=True))
    print(
        f"{folder}: {config.seconds:g} s, {config.cameras} cameras, {len(simulation.keypoint_set)} keypoints at {config.frame_rate_hz:g} Hz, "
        f"{len(simulation.truth.events)} gait events, thigh {size.get('thigh_r', float('nan')):.3f} m; {time.monotonic() - begin:.1f} s."
    )
    return 0

