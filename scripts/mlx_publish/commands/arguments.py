"""The arguments of the command line, as argparse knows them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import mlx_publish
from mlx_publish.errors import BadInput
from mlx_publish.hooks import HOOKS
from mlx_publish.recipes.flags import recipe_flags
from mlx_publish.text.harmless import one_line

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
RECIPE_FLAGS = recipe_flags()
# Of `verify`: by whom what is signed.
WANTED: Mapping[str, tuple[Callable[[str], object], str, str]] = {
    "key": (Path, "FILE", "model.sig must be by this key: its public half in PEM"),
    "identity": (
        str,
        "NAME",
        "model.sig must be by this identity (sigstore): the address of a workflow, or of a person",
    ),
    "issuer": (str, "URL", "who vouches for --identity (default: GitHub, for jobs)"),
    "repository": (str, "OWNER/REPO", "with --identity: the job ran for this repo of GitHub's"),
    "signers": (Path, "FILE", "the evidence must be signed by one of these keys (OpenSSH's allowed signers)"),
    "github": (str, "OWNER/REPO", "the evidence must be attested by GitHub for this repo (needs gh)"),
    "workflow": (str, "PATH", "with --github: by this workflow, as OWNER/REPO/.github/workflows/publish.yml"),
}

_LONGEST = 400
"""Characters of an error of usage; the longest names all commands."""
_FROM_ENV = "take flags that are not given from MLX_PUBLISH_INPUT_<FLAG>"


class Parser(argparse.ArgumentParser):
    """A parser whose errors quote what was given as a part of one line, cut where it is long."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Make one without colours, which Python 3.14 writes and a door would take for commands to a terminal."""
        super().__init__(*arguments, **options)
        self.color = False

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments and end with 2."""
        super().error(one_line(message, _LONGEST))


def parser() -> Parser:
    """Build the parser of all commands."""
    top = Parser(prog="mlx-publish", description=mlx_publish.__doc__)
    top.add_argument("--version", action="version", version=f"mlx-publish {mlx_publish.__version__}")
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
            command.add_argument("--tag", help="tag of the Hub repo (default: content-<digest>)")
            command.add_argument(
                "--rebuild", action="store_true",
                help="first convert the source once more, in an empty folder, and compare every file",
            )  # fmt: skip
    _add_review_and_plan(commands)
    doctor = commands.add_parser("doctor", help="can this machine go the whole way, and what mends it")
    doctor.add_argument("--work", type=Path, default=Path("work"), metavar="DIR", help="where work will lie")
    doctor.add_argument("--json", action="store_true", help="print verdict and checks as JSON on standard output")
    _add_verify(commands.add_parser("verify", help="is what was published what its evidence says"))
    hook = commands.add_parser("hook", help="what pre-commit and prek call (docs/hooks.md)")
    hook.add_argument("name", choices=HOOKS, metavar="NAME", help=", ".join(HOOKS))
    hook.add_argument("files", nargs="+", type=Path, metavar="FILE")
    hook.add_argument("--fix", action="store_true", help="mend what can safely be mended")
    hook.add_argument("--recipes", type=Path, default=Path("recipes"), metavar="DIR", help="where recipes lie")
    return top


def _add_verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("place", metavar="REPO[@TAG]", help="namespace/name with a tag or commit, or a folder")
    command.add_argument("--rebuild", action="store_true", help="convert its source again and compare byte by byte")
    command.add_argument("--source", metavar="DIR", default="", help="the source, where it was a folder")
    command.add_argument("--work", type=Path, metavar="DIR", help="keep what --rebuild makes there")
    for name, (kind, metavar, text) in WANTED.items():
        command.add_argument(f"--{name}", type=kind, metavar=metavar, help=text)
    command.add_argument("--json", action="store_true", help="print verdict and checks as JSON on standard output")


def _add_review_and_plan(commands: argparse._SubParsersAction[Parser]) -> None:
    recipe = commands.add_parser("recipe", help="write a recipe from flags, or pin one to --revision")
    _add_flags(recipe)
    review = commands.add_parser("review", help="open or update the pull request with a recipe's cards")
    review.add_argument("--recipe", type=Path, metavar="FILE", help="the recipe whose cards they are")
    review.add_argument("--base", metavar="BRANCH", help="the branch that they go to (default: main)")
    review.add_argument("--callback", metavar="TEXT", help="what the asker knows the request by")
    judge = commands.add_parser("review-cards", help="is every card that a branch changes what its evidence gives")
    judge.add_argument("--base", metavar="REF", help="commit or branch to compare with (default: main)")
    plan = commands.add_parser("plan", help="from a GitHub event to a plan, printed as JSON")
    plan.add_argument("--event-name", required=True, metavar="NAME")
    plan.add_argument("--event", required=True, type=Path, metavar="FILE")
    plan.add_argument("--ref", required=True, metavar="REF")
    drift = commands.add_parser("drift", help="which sources and converters moved since recipes were pinned")
    drift.add_argument("--issue", action="store_true", help="open, update or close the issue about it, through gh")
    clean = commands.add_parser("clean", help="remove weights that nobody has needed for some days")
    clean.add_argument("--work", type=Path, metavar="DIR", help="work folder (default: work)")
    clean.add_argument("--older-than", metavar="DAYS", help="days since the last report (default: the policy's, or 14)")
    clean.add_argument("--dry-run", action="store_true", help="only name them")
    for command in (review, judge, plan, drift):
        command.add_argument("--cards", type=Path, default=Path("cards"), metavar="DIR", help="where the cards lie")
    for command in (recipe, judge, plan, drift):
        command.add_argument("--recipes", type=Path, default=Path("recipes"), metavar="DIR", help="where recipes lie")
    for command in (recipe, review, judge, plan, drift, clean):
        command.add_argument("--from-env", action="store_true", help=_FROM_ENV)


def _add_flags(command: argparse.ArgumentParser) -> None:
    what = command.add_argument_group("what to publish")
    what.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe; or the flags that follow")
    for name, (metavar, text) in RECIPE_FLAGS.items():
        what.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=text)


def _add_recipe_flags(command: argparse.ArgumentParser) -> None:
    _add_flags(command)
    command.add_argument("--variant", metavar="NAME", help="only this variant of the recipe")
    command.add_argument("--work", type=Path, metavar="DIR", help="work folder (default: work)")
    command.add_argument("--force", action="store_true", help="repeat although nothing changed")
    command.add_argument("--json", action="store_true", help="print the reports as JSON on standard output")
    command.add_argument("--from-env", action="store_true", help=_FROM_ENV)


def cleaning(options: argparse.Namespace, given: Mapping[str, str]) -> tuple[Path, float | None]:
    """Return work folder and days of `clean`, if any are given. Raises `BadInput` where they are no number."""
    folder, text = options.work or Path(given.get("work", "work")), options.older_than or given.get("keep_days")
    if not text:
        return folder, None
    try:
        days = float(text)
    except ValueError:
        days = -1
    if not 0 <= days <= 36500:
        raise BadInput(f"'{text}' is no number of days", place="--older-than", remedy="Write a number, as 14.")
    return folder, days
