"""What is made from the keys of a recipe and of a request: flags, and blocks of action.yml and of the workflow.

A block stands between two comments, `# <name> …` and `# </name>`. Its entries are generated; an entry keeps its place
and the comments above it, which are headings, and a new one comes last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mlx_publish.github.request import ASKED, RequestSpec
from mlx_publish.recipes.flags import Asked, keys_of, marker_of
from mlx_publish.recipes.recipe import RecipeSpec
from mlx_publish.text.yaml import scalar

Entries = Mapping[str, str]
"""Entries of a mapping by their keys: what stands after the colon, with its line breaks."""
NEXT_JOB = "fromJSON(needs.plan.outputs.review)"


def recipe_flags() -> dict[str, dict[str, str | list[str]]]:
    """Return the flags that describe a recipe, for the command line, which loads no pydantic to know them."""
    return {
        key.name: {
            "metavar": key.flag.metavar,
            "help": key.flag.help,
            "group": key.group,
            "choices": list(key.choices),
        }
        for key in keys_of(RecipeSpec)
    }


def action(text: str) -> str:
    """Return action.yml with an input for each key that has a flag, and with the variable that hands it on."""
    keys = {key.outside.replace("_", "-"): key for key in keys_of(RecipeSpec)}
    inputs = {name: f"\n  description: {plain(key.flag.description)}\n  default: ''" for name, key in keys.items()}
    variables = {f"MLX_PUBLISH_INPUT_{key.name.upper()}": f" ${{{{ inputs.{name} }}}}" for name, key in keys.items()}
    return filled(filled(text, "inputs", inputs), "variables", variables)


def publish_workflow(text: str) -> str:
    """Return publish.yml with the fields of a request in its form, in `workflow_call`, and in what its jobs hand on."""
    form, call = dict(fields(form=True)), dict(fields(form=False))
    text = filled(filled(text, "form", form), "call", call)
    text = filled(text, "asked", {name: f" ${{{{ inputs.{name} }}}}" for name in call})
    for block, job in (("job", "matrix.job"), ("review", NEXT_JOB)):
        handed = {name.replace("_", "-"): f" ${{{{ {job}.{name} }}}}" for name in ASKED}
        text = filled(text, block, handed)
    return text


def fields(*, form: bool) -> Iterator[tuple[str, str]]:
    """Yield the inputs of a workflow that a person fills in, or that another one gives."""
    for name, field in RequestSpec.model_fields.items():
        asked = marker_of(field, Asked)
        if asked is None or not asked.form:
            continue
        yes_or_no = field.annotation is bool
        lines = [f"description: {plain(asked.form if form else asked.call or asked.form)}"]
        if form and asked.choices:
            options = ", ".join(plain(choice, inside_list=True) for choice in asked.choices)
            lines += ["type: choice", f"options: [{options}]", f"default: {plain(asked.choices[0])}"]
        else:
            lines += ["type: boolean", "default: false"] if yes_or_no else ["type: string", "default: ''"]
        yield name.replace("_", "-"), "".join(f"\n  {line}" for line in lines)


def filled(text: str, block: str, entries: Entries) -> str:
    """Return the text with the entries of a block made anew."""
    parts = re.search(rf"(?ms)^(?P<indent> *)# <{block}>.*?\n(?P<body>.*?)^ *# </{block}>$", text)
    if parts is None:
        raise ValueError(f"there is no block between '# <{block}>' and '# </{block}>'")
    indent = parts["indent"]
    there = re.findall(rf"(?m)^((?:{indent}#.*\n)*){indent}([\w-]+):", parts["body"])
    above = {name: re.sub("(?m)^ +", "", comments) for comments, name in there}
    names = [*(name for name in above if name in entries), *(name for name in entries if name not in above)]
    body = "".join(f"{above.get(name, '')}{name}:{entries[name]}\n" for name in names)
    return text[: parts.start("body")] + re.sub("(?m)^(?=.)", indent, body) + text[parts.end("body") :]


def plain(text: str, *, inside_list: bool = False) -> str:
    """Return a text as YAML, in quotes only where it would be read as something else."""
    bare = text[:1].isalnum() and not re.search(r": |:$| #|\s$|\n" + (r"|[][{},]" if inside_list else ""), text)
    return text if bare and scalar(text) == text else "'" + text.replace("'", "''") + "'"
