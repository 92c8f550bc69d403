"""biomech-fit: one command, a module for each sub-command."""

from __future__ import annotations

import _thread
import argparse
import importlib
import sys
import threading

from biomech_fit.config.version import version
from biomech_fit.core.errors import InputError

COMMANDS = ("track", "fit", "simulate", "skeleton", "evaluate", "bench", "demo")
"""Modules of this package, each with add_parser(subparsers) and run(args) -> exit code. They import what is heavy in `run`."""


def parser(wanted: str | None = None) -> argparse.ArgumentParser:
    """All sub-commands, or only `wanted` (quicker). One whose module cannot be imported is left out, with a word about what is missing."""
    front = argparse.ArgumentParser(
        prog="biomech-fit",
        description="Streaming markerless motion capture: multi-camera 2D keypoints in, joint angles out.",
        epilog="`biomech-fit COMMAND --help` says more about a command.",
    )
    front.add_argument("--version", action="version", version=f"biomech-fit {version()}")
    commands = front.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in [wanted] if wanted in COMMANDS else COMMANDS:
        try:
            module = importlib.import_module(f"biomech_fit.cli.{name}")
        except ImportError as error:
            if error.name != f"biomech_fit.cli.{name}":
                print(f"biomech-fit {name} is not available: {error}.", file=sys.stderr)
            continue
        module.add_parser(commands)
        commands.choices[name].set_defaults(run=module.run)
    return front


def _axes_joined(arguments: list[str]) -> list[str]:
    """`--world-up -y` as `--world-up=-y`: argparse would take -y for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--world-up":
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def main(arguments: list[str] | None = None) -> int:
    """Runs a command. Exit code: 0 = done, 2 = bad input (said in one sentence on stderr), 130 = interrupted."""
    arguments = _axes_joined(sys.argv[1:] if arguments is None else arguments)
    before = sys.unraisablehook
    again: list[threading.Timer] = []

    def unraisable(raised: sys.UnraisableHookArgs) -> None:
        """Ctrl-C during a callback that cannot raise (JAX has one in the garbage collection) would be lost: it is raised again a moment later."""
        if not issubclass(raised.exc_type, KeyboardInterrupt):
            return before(raised)
        again.append(threading.Timer(0.02, _thread.interrupt_main))
        again[-1].daemon = True
        again[-1].start()

    sys.unraisablehook = unraisable
    try:
        args = parser(arguments[0] if arguments else None).parse_args(arguments)
        return args.run(args) or 0
    except InputError as error:
        print(f"biomech-fit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # e.g. `biomech-fit bench | head`
        sys.stderr.close()
        return 141
    except OSError as error:
        if error.filename is None:
            raise
        print(f"biomech-fit: '{error.filename}' cannot be read or written: {error.strerror}.", file=sys.stderr)
        return 2
    finally:
        sys.unraisablehook = before
        for timer in again:
            timer.cancel()


if __name__ == "__main__":
    raise SystemExit(main())
