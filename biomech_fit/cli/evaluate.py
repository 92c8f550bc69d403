"""`biomech-fit evaluate`: errors of an output against truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Adds the sub-command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="errors of an output against truth",
        description="Compares what track or fit wrote with truth, prints a table and writes OUT/evaluation.json.",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder written by track or fit")
    parser.add_argument("--truth", metavar="T", type=Path, required=True, help="simulated recording, or a folder or file with .trc or .mot truth")
    parser.add_argument("--skip-s", type=float, default=2.0, help="seconds at the beginning that do not count (default 2)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compares, writes evaluation.json and prints the table."""
    from biomech_fit.report.evaluate import evaluate
    from biomech_fit.report.evaluation_table import evaluation_table

    print(evaluation_table(evaluate(args.out, args.truth, args.skip_s)))
    print(f"Written: {args.out / 'evaluation.json'}")
    return 0
