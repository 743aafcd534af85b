"""mlx-chat-template: a chat template renders, and safely, asks for an answer, and reads variables that are known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlx_publish.chat.asking import answer_head
from mlx_publish.chat.dialogues import QUESTION, TOOL
from mlx_publish.chat.look import Look
from mlx_publish.chat.properties import BYTE_ORDER_MARK, refusals, surprising_variables
from mlx_publish.errors import Fault, Refused, in_file
from mlx_publish.hooks.faults import Options, faults_of
from mlx_publish.hooks.rendered import Model, looks
from mlx_publish.hooks.template_files import Template, templates_in
from mlx_publish.model.template_places import JINJA

_PAGE = "docs/hooks.md lists the dialogues that templates are tested with."


def look(files: Sequence[Path], _options: Options) -> Iterator[Fault]:
    """Yield faults in templates in files of their own or in JSON; all are rendered by one child."""
    templates: list[Template] = []
    for path in files:
        try:
            templates += templates_in(path)
        except Refused as error:
            yield from faults_of(error, path)
    models = [Model(template.beside, template.special_tokens) for template in templates]
    for template, rendered in zip(templates, looks(models), strict=True):
        yield from _judged(template, rendered)


def _judged(template: Template, look: Look) -> Iterator[Fault]:
    if template.text.startswith(BYTE_ORDER_MARK):
        message = "it starts with a byte order mark, and so does every prompt"
        yield _fault(template, message, "Remove it.")
    if fault := _unusable(template, look):
        yield fault
        return
    if template.main and look.text("user") is not None and answer_head(look) is None:
        message = "add_generation_prompt changes nothing, so the prompt ends before the beginning of the answer"
        yield _fault(template, message, "Write the beginning of the answer when add_generation_prompt is true.")
    yield from _slips(template, look)


def _unusable(template: Template, look: Look) -> Fault | None:
    if not template.text.strip():
        return _fault(template, "it is empty, and clients use it as the template anyway", "Remove or fill it.")
    if look.unsafe:
        dialogue, rendered = look.unsafe[0]
        message = f"it is not safe to render: {rendered.error} (dialogue {dialogue!r})"
        return _fault(template, message, "Have the template fixed upstream.", rendered.line)
    if dialogues := _broken(template, look) if template.main else _syntax(look):
        rendered = look.rendered[dialogues[0]]
        message = f"it cannot be rendered: {rendered.error or ''} (dialogue {dialogues[0]!r})"
        return _fault(template, message, _PAGE, rendered.line)
    return None


def _slips(template: Template, look: Look) -> Iterator[Fault]:
    for name in surprising_variables(look):
        if template.lonely and name.endswith("_token"):
            continue  # transformers gives all of the tokenizer's, which no file here names
        # It may stand in another of the model's templates.
        if word := re.search(rf"\b{re.escape(name)}\b", template.text):
            line = template.text.count("\n", 0, word.start()) + 1
            message = f"it reads {name}, which no known caller passes"
            yield _fault(template, message, "Correct its name, or set it in the template before it is read.", line)


def _broken(template: Template, look: Look) -> Sequence[str]:
    """Return the dialogues that have to work and do not.

    A template for images beside texts may take texts as parts alone, and one that lies under a name of its own tools.
    """
    in_parts = QUESTION in (look.text("text parts") or "") and QUESTION not in (look.text("user") or "")
    for_tools = not template.key and template.path.name != JINJA and TOOL in (look.text("tools") or "")
    return _syntax(look) if in_parts or for_tools else [dialogue for dialogue, _ in refusals(look, must=True)]


def _syntax(look: Look) -> list[str]:
    """Return the dialogues that stumble over syntax: a template for tools or documents need not take every one."""
    return [dialogue for dialogue, rendered in look.rendered.items() if rendered.syntax]


def _fault(template: Template, message: str, remedy: str, line: int = 0) -> Fault:
    """Return a fault at a line of the template, the first where an error names none."""
    return Fault(message, in_file(template.path, template.line_of(line or 1)), template.key, remedy)
