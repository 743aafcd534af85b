"""How templates of Markdown are read: strict about names, and with a filter for every text that is not ours."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlx_publish.card import markdown


def environment() -> Environment:
    """A new environment over the package's templates; text of others goes through `md`, `code`, `fenced` or `py`."""
    made = Environment(
        loader=PackageLoader("mlx_publish"), undefined=StrictUndefined, autoescape=False,  # noqa: S701  Markdown
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters.update(md=markdown.escape, code=markdown.code, fenced=markdown.fenced, py=markdown.quoted)
    return made
