"""mlx-chat-template: a chat template renders, and safely, asks for an answer, and reads variables that are known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlx_publish.chat.asking import answer_head
from mlx_publish.chat.dialogues import QUESTION, TOOL
from mlx_publish.chat.look import Look
from mlx_publish.chat.properties import BYTE_ORDER_MARK, refusals, surprising_variables
from mlx_publish.errors import Refused
from mlx_publish.hooks.problem import Options, Problem, problems_of
from mlx_publish.hooks.rendered import Model, looks
from mlx_publish.hooks.template_files import Found, templates_in
from mlx_publish.model.template_places import JINJA

_LINE = re.compile(r"line (\d+): ")
_PAGE = "docs/hooks.md says what a template is tried with."


def look(files: Sequence[Path], _options: Options) -> Iterator[Problem]:
    """Yield what is wrong with templates in files of their own or in JSON; all are rendered by one child."""
    found: list[Found] = []
    for path in files:
        try:
            found += templates_in(path)
        except Refused as error:
            yield from problems_of(error, path)
    for one, seen in zip(found, looks([Model(one.beside, one.special_tokens) for one in found]), strict=True):
        yield from _judged(one, seen)


def _judged(one: Found, seen: Look) -> Iterator[Problem]:
    if one.text.startswith(BYTE_ORDER_MARK):
        yield _problem(
            one, "a byte order mark stands at its head, and so at the head of every prompt", "", "Remove it."
        )
    if wrong := _unusable(one, seen):
        yield wrong
        return
    if one.main and seen.text("user") is not None and answer_head(seen) is None:
        said = "add_generation_prompt changes nothing, and the prompt ends in front of what an answer begins with"
        yield _problem(one, said, "", "Write the beginning of an answer where add_generation_prompt is true.")
    yield from _slips(one, seen)


def _unusable(one: Found, seen: Look) -> Problem | None:
    if not one.text.strip():
        return _problem(one, "it is empty, and clients take it for the template all the same", "", "Remove or fill it.")
    if seen.unsafe:
        name, rendered = seen.unsafe[0]
        return _problem(one, f"it is not safe to render: {rendered.error}", name, "Have it mended by its authors.")
    if broken := _broken(one, seen) if one.main else _syntax(seen):
        return _problem(one, f"it cannot be rendered: {broken[0][1]}", broken[0][0], _PAGE)
    return None


def _slips(one: Found, seen: Look) -> Iterator[Problem]:
    for name in surprising_variables(seen):
        if one.lonely and name.endswith("_token"):
            continue  # transformers gives all of the tokenizer's, which no file here names
        # It may stand in another of the model's templates.
        if line := _line_with(one.text, name):
            said = f"it reads {name}, which no caller is known to give"
            remedy = "Correct its name, or set it in the template before it is read."
            yield Problem(one.path, said, one.line_of(line), one.key, remedy)


def _broken(one: Found, seen: Look) -> Sequence[tuple[str, str]]:
    """Dialogues that have to work and do not.

    A template for images beside texts may take texts as parts alone, and one that lies under a name of its own tools.
    """
    in_parts = QUESTION in (seen.text("text parts") or "") and QUESTION not in (seen.text("user") or "")
    for_tools = not one.key and one.path.name != JINJA and TOOL in (seen.text("tools") or "")
    return _syntax(seen) if in_parts or for_tools else refusals(seen, must=True)


def _syntax(seen: Look) -> list[tuple[str, str]]:
    """A template for tools or documents need not take every dialogue; one that cannot be parsed takes none."""
    errors = [(name, one.error or "") for name, one in seen.rendered.items() if one.kind == "broken"]
    return [found for found in errors if "TemplateSyntaxError" in found[1]]


def _problem(one: Found, said: str, dialogue: str, remedy: str) -> Problem:
    """At the line of the template that an error names."""
    named = _LINE.search(said)
    shown = f" (dialogue {dialogue!r})" if dialogue else ""
    return Problem(one.path, f"{said}{shown}", one.line_of(int(named[1]) if named else 1), one.key, remedy)


def _line_with(text: str, name: str) -> int | None:
    word = re.search(rf"\b{re.escape(name)}\b", text)
    return text.count("\n", 0, word.start()) + 1 if word else None
