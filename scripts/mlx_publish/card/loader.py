"""Where the templates of cards come from: a repo's own first, then ours, which the package brings compiled."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import jinja2
from jinja2 import Environment, FunctionLoader, Template

from mlx_publish.card.templates import PACKAGED, Templates, digest, packaged

REVIEW = "review/body.md.j2"
OURS = "mlx-publish/"
"""In front of a template's name it means ours, whatever the repo has of that name."""
_Source = tuple[str, str, Callable[[], bool]]
"""The text of a template, what errors call its file, and whether it is still the same."""


class TemplateLoader(FunctionLoader):
    """Loads templates; ours without compiling them, which takes longer than to render a card."""

    def __init__(self, own: Templates | None) -> None:
        super().__init__(lambda name: _source(own, name))
        self._own = own

    def load(
        self,
        environment: Environment,
        name: str,
        globals: MutableMapping[str, object] | None = None,  # noqa: A002  Jinja's
    ) -> Template:
        """Return a template, ready to be rendered."""
        source = _source(self._own, name)
        code = _code(source) if source else None
        if source is None or code is None:
            return super().load(environment, name, globals)
        module = {**code(environment), "__file__": source[1]}
        return environment.template_class.from_module_dict(environment, module, globals or {})


def _source(own: Templates | None, name: str) -> _Source | None:
    """Return a template: of cards the repo's own first, then ours."""
    room, _, file = name.removeprefix(OURS).partition("/")
    if name == REVIEW and own is None:
        return (PACKAGED / name).read_text(encoding="utf-8"), name, lambda: True
    if room != "card":
        return None
    theirs = None if name.startswith(OURS) or own is None else dict(own.texts).get(file)
    if theirs is not None and own is not None:
        return theirs, str(own.folder / file), lambda: True
    text = packaged().get(file)
    return None if text is None else (text, f"{OURS}card/{file}", lambda: True)


def _code(source: _Source) -> Callable[[Environment], dict[str, Any]] | None:
    """Return the code of one of our templates, None where this Jinja would make another one of this text."""
    text, file, _ = source
    if not file.startswith(f"{OURS}card/"):
        return None
    from mlx_publish.card import compiled  # noqa: PLC0415  it is as large as all templates

    code: Callable[[Environment], dict[str, Any]] | None
    of, code = compiled.TEMPLATES.get(file.removeprefix(f"{OURS}card/"), ("", None))
    return code if of == digest(text) and vars(jinja2).get("__version__") == compiled.JINJA else None
