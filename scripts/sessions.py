"""The sessions of the noxfile in groups, and what was meant by one that it lacks.

Standard library only: `sh scripts/bootstrap.sh` without arguments runs it before nox is there.
"""

from __future__ import annotations

import ast
import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from mlx_publish.commands import registry  # noqa: E402
from mlx_publish.commands._command import Group  # noqa: E402
from mlx_publish.text.harmless import one_line  # noqa: E402
from mlx_publish.text.nearest import did_you_mean  # noqa: E402

_TITLES = {**{group.name.lower(): group.value for group in Group}, "develop": "Work on mlx-publish"}
"""Headings by the tag of a session; a command's session stands below the command's group."""
_WANTED = (("demo", "convert a real 135M chat model into published/"), ("doctor", "check this machine, suggest fixes"))
_ASKS = frozenset({"-s", "-e", "--session", "--sessions"})


@dataclass(frozen=True)
class Session:
    """One session, as it is listed."""

    name: str
    help: str
    tag: str


def sessions(noxfile: Path = ROOT / "noxfile.py") -> list[Session]:
    """Return all sessions: one for each command that has one, and what the noxfile defines itself."""
    found = [
        Session(command.name, command.help, command.group.name.lower())
        for command in registry().values()
        if command.extras is not None
    ]
    defined = (
        node for node in ast.parse(noxfile.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
    )
    return [
        *found,
        *(
            Session(node.name, (ast.get_docstring(node) or "").split("\n")[0].rstrip("."), tag)
            for node in defined
            if (tag := _tag(node)) is not None
        ),
    ]


def listing(width: int = 100) -> str:
    """Return what is printed where no session is named."""
    known = sessions()
    widest = max(len(session.name) for session in known)
    lines = ["usage: sh scripts/bootstrap.sh -s SESSION... [-- ARGUMENTS]", "", "Most people want one of these:"]
    lines += [f"  sh scripts/bootstrap.sh -s {name:{widest}}  {text}" for name, text in _WANTED]
    for tag, title in _TITLES.items():
        listed = [session for session in known if session.tag == tag]
        lines += ["", f"{title}:"] if listed else []
        for session in listed:
            first = f"  {session.name:{widest}}  "
            text = session.help[:1].lower() + session.help[1:] if session.help[1:2].islower() else session.help
            lines += textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first))
    return "\n".join(lines) + "\n"


def unknown(words: Sequence[str]) -> str:
    """Return what to say of a session that a command line of nox names and nobody knows; empty where there is none."""
    names = [session.name for session in sessions()]
    for name in asked(words):
        if name not in names:
            ending = did_you_mean(name, names)
            return f"there is no session {one_line(name)}{ending}\n  next: sh scripts/bootstrap.sh lists the sessions\n"
    return ""


def asked(words: Sequence[str]) -> list[str]:
    """Return the sessions that a command line of nox names."""
    names, within = [], False
    for word in words:
        if word == "--":
            break
        if word.startswith("-"):
            within = word in _ASKS
        elif within:
            names.append(word)
    return names


def answer(arguments: Sequence[str]) -> None:
    """End with 0 and the list where nox is given no session, with 2 where one is unknown; `arguments` are its own."""
    if Path(arguments[0]).name not in ("nox", "__main__.py"):
        return
    words = list(arguments[1:])
    if "--noxfile" in words:
        at = words.index("--noxfile")
        del words[at : at + 2]
    if not words and not os.environ.get("NOXSESSION"):
        sys.stdout.write(listing())
        sys.exit(0)
    if wrong := unknown(words):
        sys.stderr.write(f"error: {wrong}")
        sys.exit(2)


def _tag(node: ast.FunctionDef) -> str | None:
    """Return the tag of a session's function, `other` without one; None for a function that is no session."""
    for decorator in node.decorator_list:
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        if not (isinstance(call, ast.Attribute) and call.attr == "session"):
            continue
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
            if keyword.arg == "tags" and isinstance(keyword.value, ast.List):
                return str(ast.literal_eval(keyword.value)[0])
        return "other"
    return None


if __name__ == "__main__":
    sys.stdout.write(listing())
