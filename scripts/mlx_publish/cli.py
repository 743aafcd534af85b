"""The command line: arguments -> stages -> exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mlx_publish.children.engine import Children
from mlx_publish.children.secrets import hide
from mlx_publish.commands.arguments import RECIPE_FLAGS, WANTED, cleaning, parser
from mlx_publish.errors import (
    NOWHERE,
    BadInput,
    Bug,
    Interrupted,
    PublishError,
    Refused,
    SurroundingsError,
    of_the_disk,
    of_the_surroundings,
)
from mlx_publish.hooks import run_hook
from mlx_publish.text.console import Console
from mlx_publish.text.harmless import harmless, one_line, plain
from mlx_publish.text.masking import without_secrets
from mlx_publish.text.streams import patient

if TYPE_CHECKING:
    from mlx_publish.signing.verifying import Wanted

_WITHOUT_STAGES = ("plan", "recipe", "review", "review-cards", "drift", "clean", "hook", "verify", "doctor")
_LONGEST = 1000
"""Characters of a library's words that are told; the log has all of them."""
CONVERTING = frozenset({"convert", "run", "publish"})
"""Commands that will probably convert: MLX is loaded by their child while this process loads the rest."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing is raised but the `SystemExit` of argparse."""
    _stop_cleanly_on_terminate()
    if arguments is None:
        hide()
    try:
        with patient() as lost:
            code = _judged(arguments)
    except SystemExit as end:  # --help, or wrong usage
        if not (lost.fault and end.code in (0, None)):
            raise
        code = 0
    if lost.fault is None or code != 0:
        return code
    with patient():
        return _told(of_the_disk(lost.fault))


def _judged(arguments: Sequence[str] | None) -> int:
    """Run one command and say what became of it; returns its exit code."""
    try:
        return _command(parser().parse_args(arguments))
    except PublishError as error:
        return _told(error)
    except KeyboardInterrupt:
        return _told(Interrupted("interrupted"))
    except Exception as error:  # noqa: BLE001  the last door: a bug becomes a log and exit code 3
        return _told(of_the_surroundings(error) or _bug(error, list(arguments or sys.argv[1:])))


def _bug(error: Exception, arguments: Sequence[str]) -> PublishError:
    """Write the log of an exception that nobody expected."""
    said = f"this is a bug in mlx-publish: {type(error).__name__}: {one_line(str(error), _LONGEST)}"
    try:
        from mlx_publish.commands.bug_log import write_log  # noqa: PLC0415  it looks for every library's version

        log = write_log(error, arguments)
    except (OSError, MemoryError, ImportError) as why:
        return Bug(said, remedy=f"report it; its log could not be written: {why}")
    return Bug(said, remedy=f"report it with the log {log}")


def _command(options: argparse.Namespace) -> int:
    if options.command in _WITHOUT_STAGES:
        return _command_without_stages(options)
    if getattr(options, "template_only", False):
        from mlx_publish.commands.chat_template import template_only  # noqa: PLC0415

        if not options.source:
            raise BadInput("--template-only looks at one model", place="--source", remedy="Give a folder or a repo.")
        console = Console(sys.stderr if options.json else sys.stdout)
        return template_only(options.source, options.revision, options.engines, console, as_json=options.json)
    if getattr(options, "engines", ""):
        raise BadInput(
            "other engines are for --template-only", place="--engines", remedy="Write smoke.engines in a recipe."
        )
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    flags = {key: value for key in RECIPE_FLAGS if (value := getattr(options, key)) is not None}
    if options.from_env:
        _fill_from_env(options, flags, os.environ)
    options.work = options.work or Path("work")
    if options.command == "run":
        options.until = options.until or "card"
    with Children() as children:
        if options.command in CONVERTING:
            children.start("convert")
        from mlx_publish.commands.run import run_command  # noqa: PLC0415  pydantic and the hub are loaded only now

        return run_command(options, flags, Console(sys.stderr if options.json else sys.stdout), children)


def _command_without_stages(options: argparse.Namespace) -> int:
    if options.command == "hook":
        return run_hook(options.name, options.files, fix=options.fix, recipes=options.recipes)
    if options.command == "doctor":
        from mlx_publish.commands.doctor import doctor  # noqa: PLC0415

        return doctor(options.work, Console(sys.stderr if options.json else sys.stdout), as_json=options.json)
    if options.command == "verify":
        from mlx_publish.commands.verify import verify  # noqa: PLC0415

        console = Console(sys.stderr if options.json else sys.stdout)
        again, source = options.rebuild or bool(options.work), options.source
        return verify(
            options.place, console, again=again, source=source, work=options.work, as_json=options.json,
            by=_signers(options),
        )  # fmt: skip
    if options.command == "clean":
        from mlx_publish.commands.clean import clean, days_of  # noqa: PLC0415

        work, days = cleaning(options, _given(os.environ) if options.from_env else {})
        return clean(work, days_of(days, alone=options.from_env), Console(), keep=options.dry_run)
    from mlx_publish.commands import review as reviewing  # noqa: PLC0415

    given = _given(os.environ) if options.from_env else {}
    return reviewing.command(options, given, RECIPE_FLAGS, Console())


def _signers(options: argparse.Namespace) -> Wanted:
    """Whose signatures are asked for."""
    from mlx_publish.signing.verifying import Wanted  # noqa: PLC0415

    given = {name: value for name in WANTED if (value := getattr(options, name)) is not None}
    if empty := [name for name, value in given.items() if not str(value).strip()]:
        raise BadInput("is empty, so nothing would be asked", place=f"--{empty[0]}", remedy="Give it, or leave it out.")
    return Wanted(**given)


def _fill_from_env(options: argparse.Namespace, flags: dict[str, str], environment: Mapping[str, str]) -> None:
    """Take the inputs of the composite action, which may not be pasted into a script."""
    given = _given(environment)
    for key in RECIPE_FLAGS:
        if key in given:
            flags.setdefault(key, given[key])
    options.recipe = options.recipe or (Path(given["recipe"]) if "recipe" in given else None)
    options.variant = options.variant or given.get("variant")
    options.work = options.work or (Path(given["work"]) if "work" in given else None)
    options.tag = getattr(options, "tag", None) or given.get("tag")
    options.force = options.force or given.get("force") == "true"
    if hasattr(options, "rebuild"):
        options.rebuild = options.rebuild or given.get("rebuild") == "true"
    for name in ("into", "cards"):
        if hasattr(options, name):
            setattr(options, name, getattr(options, name) or (Path(given[name]) if name in given else None))
    if hasattr(options, "until"):
        options.until = options.until or given.get("until")


def _given(environment: Mapping[str, str]) -> dict[str, str]:
    """Inputs of the composite action that were filled in, by name."""
    prefix = "MLX_PUBLISH_INPUT_"
    return {
        key.removeprefix(prefix).lower(): value.strip()
        for key, value in environment.items()
        if key.startswith(prefix) and value.strip()
    }


def _told(error: PublishError) -> int:
    """Print an error and its remedy; inside an action also as an annotation at its line, and in verdict and summary."""
    said = without_secrets(f"error: {error}" + (f"\n  next: {error.remedy}" if error.remedy else ""))
    print(harmless(plain(said)), file=sys.stderr)
    # What could not be told elsewhere, too, does not change what happened.
    with contextlib.suppress(SurroundingsError, OSError, MemoryError, ImportError):
        from mlx_publish.github import output  # noqa: PLC0415

        for fault in error.faults:
            # What a refusal names is a file of the model, which the repo does not hold.
            shown = str(fault) if isinstance(error, Refused) else fault.text
            output.annotate(without_secrets(shown), NOWHERE if isinstance(error, Refused) else fault.place)
        output.stopped(said, "refused" if isinstance(error, Refused) else "error")
    return error.exit_code


def _stop_cleanly_on_terminate() -> None:
    """A job that is cancelled ends like ctrl-c, so that half-done folders are removed."""

    def stop(_signal: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # not in the main thread, as in tests
        signal.signal(signal.SIGTERM, stop)


if __name__ == "__main__":
    sys.exit(main())
