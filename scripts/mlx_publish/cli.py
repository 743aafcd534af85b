"""The command line: arguments -> stages -> exit code."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from mlx_publish import __version__
from mlx_publish.console import Console, harmless, plain
from mlx_publish.engine.process import Children
from mlx_publish.errors import BadInput, Interrupted, PublishError, SurroundingsError
from mlx_publish.failure import without_secrets, write_log

STAGE_HELP = {
    "inspect": "look at the source's metadata: can it be converted, is there room",
    "convert": "download the pinned source and convert all variants",
    "smoke": "render the chat template and generate an answer",
    "fidelity": "compare with the source: KL divergence and first choices",
    "benchmark": "measure speed and memory",
    "card": "assemble the evidence and render the card",
    "upload": "publish what was converted, measured and reviewed",
    "run": "all stages up to --until (default: card)",
    "publish": "run, then upload",
}
# Flags of the contract first, then the other keys of a recipe that a form may fill in.
RECIPE_FLAGS: Mapping[str, tuple[str, str]] = {
    "source": ("REPO_OR_DIR", "namespace/name on the Hub, or a folder"),
    "revision": ("SHA", "commit, tag or branch of the source"),
    "bits": ("N", "2, 3, 4, 5, 6 or 8 (default: 4)"),
    "group_size": ("N", "32, 64 or 128 (default: 64)"),
    "mode": ("M", "affine, mxfp4, mxfp8 or nvfp4 (default: affine)"),
    "mixed": ("NAME", "mixed_2_6, mixed_3_4, mixed_3_6 or mixed_4_6"),
    "dtype": ("D", "bfloat16, float16 or float32; alone: unquantized"),
    "variants": ("NAMES", "several variants by short names, as 4bit,8bit,bf16"),
    "to": ("DEST", "namespace/name or folder:PATH; {source}, {variant} and {bits} may stand in it"),
    "name": ("NAME", "names the work folder (default: the source's name)"),
    "base_model": ("REPO", "what the card names as base model (default: the source repo)"),
    "license": ("ID", "licence, where the source's card has none or a wrong one"),
    "license_name": ("TEXT", "name of the licence 'other'"),
    "license_link": ("URL", "link to the licence 'other'"),
    "language": ("CODES", "languages, as en,de (default: the source's)"),
    "private": ("BOOL", "true makes a new repo private"),
    "adopt": ("BOOL", "true replaces a repo that was not made from this source"),
    "notes": ("MARKDOWN", "your own words for the card"),
}

CONVERTING = frozenset({"convert", "run", "publish"})
"""Commands that will probably convert: MLX is loaded by their child while this process loads the rest."""
_OF_THE_DISK = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENOTDIR, errno.EIO,
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    top = argparse.ArgumentParser(prog="mlx-publish", description=__import__("mlx_publish").__doc__)
    top.add_argument("--version", action="version", version=f"mlx-publish {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in STAGE_HELP.items():
        command = commands.add_parser(name, help=text, description=text)
        _add_recipe_flags(command)
        if name == "smoke":
            command.add_argument(
                "--template-only", action="store_true",
                help="look at the chat template of any --source, converted or not; needs neither MLX nor weights",
            )  # fmt: skip
            command.add_argument(
                "--engines", metavar="NAMES", default="", help="with --template-only: other template engines, or all"
            )
        if name == "run":
            command.add_argument("--until", metavar="STAGE", help="the last stage (default: card)")
        if name in ("card", "run"):
            command.add_argument(
                "--into", type=Path, metavar="DIR",
                help="also put card and evidence into DIR/<namespace>/<name>, to be reviewed in git",
            )  # fmt: skip
        if name == "upload":
            command.add_argument(
                "--cards", type=Path, metavar="DIR",
                help="publish what was reviewed in DIR; the bytes must be those of its evidence",
            )  # fmt: skip
        if name in ("upload", "publish"):
            command.add_argument("--tag", help="tag of the Hub repo (default: evidence-<digest>)")
    review = commands.add_parser("review", help="open or update the pull request with a recipe's cards")
    review.add_argument("--recipe", required=True, type=Path, metavar="FILE")
    review.add_argument("--cards", type=Path, default=Path("cards"), metavar="DIR", help="where the cards lie")
    review.add_argument("--base", default="main", metavar="BRANCH", help="the branch that they go to (default: main)")
    plan = commands.add_parser("plan", help="from a GitHub event to a plan, printed as JSON")
    plan.add_argument("--event-name", required=True, metavar="NAME")
    plan.add_argument("--event", required=True, type=Path, metavar="FILE")
    plan.add_argument("--ref", required=True, metavar="REF")
    plan.add_argument("--recipes", type=Path, default=Path("recipes"), metavar="DIR")
    return top


def _add_recipe_flags(command: argparse.ArgumentParser) -> None:
    what = command.add_argument_group("what to publish")
    what.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe; or the flags that follow")
    for name, (metavar, text) in RECIPE_FLAGS.items():
        what.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=text)
    command.add_argument("--variant", metavar="NAME", help="only this variant of the recipe")
    command.add_argument("--work", type=Path, metavar="DIR", help="work folder (default: work)")
    command.add_argument("--force", action="store_true", help="repeat although nothing changed")
    command.add_argument("--json", action="store_true", help="print the reports as JSON on standard output")
    command.add_argument(
        "--from-env", action="store_true", help="take flags that are not given from MLX_PUBLISH_INPUT_<FLAG>"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing is raised."""
    _stop_cleanly_on_terminate()
    options = parser().parse_args(arguments)
    code = 3
    try:
        with _as_ours():
            code = _command(options)
    except PublishError as error:
        code = _told(error)
    except KeyboardInterrupt:
        code = _told(Interrupted("interrupted"))
    except Exception as error:  # noqa: BLE001  the last door: a bug becomes a log and exit code 3
        log = write_log(error, list(arguments or sys.argv[1:]))
        _print(f"error: this is a bug in mlx-publish: {type(error).__name__}: {without_secrets(str(error))}")
        _print(f"  next: report it with the log {log}")
    return code


def _command(options: argparse.Namespace) -> int:
    if options.command == "plan":
        from mlx_publish.github.plan import print_plan  # noqa: PLC0415

        print_plan(options.event_name, options.event, options.ref, options.recipes)
        return 0
    if options.command == "review":
        from mlx_publish.commands import review_command  # noqa: PLC0415

        return review_command(options.recipe, options.cards, options.base, Console())
    if getattr(options, "template_only", False):
        from mlx_publish.template_only import template_only  # noqa: PLC0415

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
        from mlx_publish.commands import run_command  # noqa: PLC0415  pydantic and the hub are loaded only now

        return run_command(options, flags, Console(sys.stderr if options.json else sys.stdout), children)


def _fill_from_env(options: argparse.Namespace, flags: dict[str, str], environment: Mapping[str, str]) -> None:
    """Take the inputs of the composite action, which may not be pasted into a script."""
    prefix = "MLX_PUBLISH_INPUT_"
    given = {
        key.removeprefix(prefix).lower(): value.strip()
        for key, value in environment.items()
        if key.startswith(prefix) and value.strip()
    }
    for key in RECIPE_FLAGS:
        if key in given:
            flags.setdefault(key, given[key])
    options.recipe = options.recipe or (Path(given["recipe"]) if "recipe" in given else None)
    options.variant = options.variant or given.get("variant")
    options.work = options.work or (Path(given["work"]) if "work" in given else None)
    options.tag = getattr(options, "tag", None) or given.get("tag")
    options.force = options.force or given.get("force") == "true"
    if hasattr(options, "until"):
        options.until = options.until or given.get("until")


@contextlib.contextmanager
def _as_ours() -> Iterator[None]:
    """Errors of the disk are the surroundings' fault, wherever they come up."""
    try:
        yield
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            name = f" ({error.filename})" if error.filename else ""
            raise SurroundingsError(
                f"{os.strerror(error.errno)}{name}",
                remedy="Free or unlock it, then run the same command again.",
            ) from error
        raise


def _told(error: PublishError) -> int:
    """Print an error and its remedy; inside an action also as an annotation at its file and line."""
    from mlx_publish.github import output  # noqa: PLC0415

    _print(f"error: {error}")
    if error.remedy:
        _print(f"  next: {error.remedy}")
    output.annotate(error.message, error.place if isinstance(error, BadInput) else "")
    return error.exit_code


def _print(text: str) -> None:
    print(harmless(plain(text)), file=sys.stderr)


def _stop_cleanly_on_terminate() -> None:
    """A job that is cancelled ends like ctrl-c, so that half-done folders are removed."""

    def stop(_signal: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # not in the main thread, as in tests
        signal.signal(signal.SIGTERM, stop)


if __name__ == "__main__":
    sys.exit(main())
