"""The files of a new repo of models, from `templates/repo`."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from mlx_publish.github.running_kit import RunningKit

_FOLDER = files("mlx_publish").joinpath("templates/repo")
WORKFLOWS = ("publish", "card-review", "drift")


def render(template: str, kit: RunningKit, **values: object) -> str:
    """Return a template with its blanks filled in; `[[ ]]`, because workflows need the braces for themselves."""
    # The values are ours, or were judged by a pattern before; YAML and Markdown have no use for HTML's escapes.
    environment = Environment(
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701
    )
    text = _FOLDER.joinpath(f"{template}.j2").read_text(encoding="utf-8")
    blanks = {"kit": kit.repo, "ref": kit.ref, "address": kit.address, "page": kit.page, "schema": kit.schema}
    return environment.from_string(text).render(blanks | values)


def workflow(name: str, kit: RunningKit) -> str:
    """Return a workflow that calls the kit's of the same name."""
    return render(f"{name}.yml", kit)
