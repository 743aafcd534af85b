"""The command line: arguments -> command -> exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mlx_publish.children.secrets import hide
from mlx_publish.commands._arguments import fault_record, inputs_of
from mlx_publish.commands._parser import Commands, wants_json
from mlx_publish.errors import (
    Bug,
    Interrupted,
    PublishError,
    Refused,
    SurroundingsError,
    of_the_disk,
    of_the_surroundings,
)
from mlx_publish.github.runner import Runner
from mlx_publish.text.console import Console, Level
from mlx_publish.text.harmless import harmless, one_line, plain, shown_json
from mlx_publish.text.masking import without_secrets
from mlx_publish.text.streams import patient

ERROR_SCHEMA = "mlx-publish/error/1"
_LONGEST = 1000
"""Characters of a library's words that a message quotes; the log has all of them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing is raised but the `SystemExit` of argparse."""
    _stop_cleanly_on_terminate()
    if arguments is None:
        hide()
        _without_plugins()
    try:
        with patient() as lost:
            code = _exit_code(arguments)
    except SystemExit as end:  # --help, or wrong usage
        if not (lost.fault and end.code in (0, None)):
            raise
        code = 0
    if lost.fault is None or code != 0:
        return code
    with patient():
        return _failed(of_the_disk(lost.fault))


def parser(words: Sequence[str] = ()) -> Commands:
    """Build the parser of all commands, or of the one that `words` begin with."""
    return Commands(words)


def _exit_code(arguments: Sequence[str] | None) -> int:
    """Run one command, and say why where it fails; return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    as_json = wants_json(words)
    try:
        return _run(parser(words).parse_args(words))
    except PublishError as error:
        return _failed(error, as_json=as_json)
    except KeyboardInterrupt:
        return _failed(Interrupted("interrupted"), as_json=as_json)
    except Exception as error:  # noqa: BLE001  the last door: a bug becomes a log and exit code 3
        return _failed(of_the_surroundings(error) or _bug(error, list(words)), as_json=as_json)


def _run(options: argparse.Namespace) -> int:
    _judge_current_folder()
    if getattr(options, "from_env", False):
        options.own.fill(options, inputs_of(os.environ), options.chosen.inputs)
    # With --json standard output holds nothing else.
    out = sys.stderr if getattr(options, "json", False) else sys.stdout
    runner = Runner.from_env()
    exit_code: int = options.chosen.run(options, Console(out, runner.group, _level(options, runner), runner.obeys))
    return exit_code


def _judge_current_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise SurroundingsError(
            "the current folder does not exist any more", remedy="Change to a folder that exists, as with: cd ~"
        ) from error


def _level(options: argparse.Namespace, runner: Runner) -> Level:
    """Return how much is printed: in a job everything, because its log is folded."""
    if getattr(options, "quiet", False):
        return Level.QUIET
    return Level.VERBOSE if getattr(options, "verbose", False) or runner.obeys else Level.NORMAL


def _bug(error: Exception, arguments: Sequence[str]) -> PublishError:
    """Write the log of an exception that nobody expected."""
    message = f"this is a bug in mlx-publish: {type(error).__name__}: {one_line(str(error), _LONGEST)}"
    try:
        from mlx_publish.commands._bug_log import write_log  # noqa: PLC0415  it looks for every library's version

        log = write_log(error, arguments)
    except (OSError, MemoryError, ImportError) as why:
        return Bug(message, remedy=f"report it; the log could not be written: {why}")
    return Bug(message, remedy=f"report it with the log {log}")


def _failed(error: PublishError, *, as_json: bool = False) -> int:
    """Print an error and its remedy; in a job also as an annotation at its line, and in verdict and summary."""
    if as_json:
        print(shown_json(_record(error)))
    message = without_secrets(f"error: {error}" + (f"\n  next: {error.remedy}" if error.remedy else ""))
    print(harmless(plain(message)), file=sys.stderr)
    # What cannot be written elsewhere, too, does not change what happened.
    with contextlib.suppress(SurroundingsError, OSError, MemoryError, ImportError):
        runner, title = Runner.from_env(), f"mlx-publish: {error.kind.replace('-', ' ')}"
        for fault in error.faults:
            if isinstance(error, Refused):  # it names a file of the model, which the repo does not hold
                runner.annotate(without_secrets(str(fault)), title=title)
            else:
                runner.annotate(without_secrets(fault.text), fault.place, title=title)
        runner.stop(message, "refused" if isinstance(error, Refused) else "error")
    return error.exit_code


def _record(error: PublishError) -> dict[str, object]:
    """Return an error as `--json` prints it; `schemas/error.schema.json` describes it."""
    faults = [fault_record(fault) for fault in error.faults]
    return {"schema": ERROR_SCHEMA, "error": {"exit_code": error.exit_code, "kind": error.kind, "faults": faults}}


def _without_plugins() -> None:
    """Keep pydantic from running what other packages of this environment plug into it, and from looking for it."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def _stop_cleanly_on_terminate() -> None:
    """Let a job that is cancelled end like ctrl-c, so that half-done folders are removed."""

    def stop(_signal: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # not in the main thread, as in tests
        signal.signal(signal.SIGTERM, stop)
