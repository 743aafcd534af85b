"""Make the files that follow from the code: JSON schemas, flags, inputs of the Action and of a workflow, and reference
pages.

`python scripts/generate.py` writes them; with `--check` it only says which are stale, and exits with 1.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

import compiled_templates
import key_blocks
from mlx_publish.checks import ids
from mlx_publish.checks.judged import JUDGED
from mlx_publish.checks.registry import BY_COMMAND, BY_STAGE, RAISED
from mlx_publish.cli import ERROR_SCHEMA
from mlx_publish.commands import registry
from mlx_publish.commands._repo_templates import WORKFLOWS, workflow
from mlx_publish.doctor.checks import MACHINE
from mlx_publish.doctor.github_checks import REPO
from mlx_publish.errors import BadInput, Bug, Interrupted, Refused, SurroundingsError
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.report import SCHEMA, Report
from mlx_publish.github.request import DISPATCH, MOST_KEYS, RequestSpec
from mlx_publish.github.running_kit import RunningKit
from mlx_publish.recipes import flags
from mlx_publish.recipes.recipe import RecipeSpec
from mlx_publish.text import kit
from mlx_publish.text.files import json_text
from mlx_publish.text.markdown import Markdown, table
from mlx_publish.text.yaml import parse_yaml

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT / "scripts" / "mlx_publish" / "schemas"
WORKFLOW = ROOT / ".github" / "workflows" / "publish.yml"
WORKFLOWS_PAGE = ROOT / "docs" / "workflows.md"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, for editors."""
    return {"$schema": DIALECT, **RecipeSpec.model_json_schema()}


def evidence_schema() -> dict[str, Any]:
    """JSON Schema of evidence: mlx-publish.json beside the weights, evidence.json beside a card in review."""
    return {"$schema": DIALECT, **Evidence.model_json_schema()}


def request_schema() -> dict[str, Any]:
    """JSON Schema of the client_payload of a repository_dispatch."""
    return {"$schema": DIALECT, "maxProperties": MOST_KEYS, **RequestSpec.model_json_schema()}


def report_schema() -> dict[str, Any]:
    """JSON Schema of a stage's report."""
    schema = TypeAdapter(Report).json_schema()
    schema["properties"]["schema"] = {"const": SCHEMA}
    schema["properties"]["stage"] = {"enum": list(BY_STAGE)}
    for part in (schema, *schema["$defs"].values()):
        part["additionalProperties"] = False
        part["required"] = list(part["properties"])
    return {"$schema": DIALECT, **schema}


def error_schema() -> dict[str, Any]:
    """JSON Schema of what `--json` prints of an error."""
    codes = {error.kind: error.exit_code for error in (Refused, BadInput, Bug, SurroundingsError, Interrupted)}
    text, nullable = {"type": "string"}, {"type": ["string", "null"]}
    fault = {"message": text, "file": nullable, "key": nullable, "remedy": nullable}
    line = {"type": ["integer", "null"], "minimum": 1, "description": "Line of the file, counted from 1."}
    return {
        "$schema": DIALECT,
        "title": "Error",
        "description": "What a failed command prints on standard output with --json.",
        **_closed(
            {
                "schema": {"const": ERROR_SCHEMA},
                "error": _closed(
                    {
                        "exit_code": {"enum": sorted(codes.values())},
                        "kind": {"enum": list(codes)},
                        "faults": {"type": "array", "minItems": 1, "items": _closed({**fault, "line": line})},
                    }
                ),
            }
        ),
    }


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that has these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def action_file() -> str:
    """action.yml with an input for each key of a recipe that has a flag, and with the commands that it runs alike."""
    text = key_blocks.action((ROOT / "action.yml").read_text(encoding="utf-8"))
    names = [
        name for name, command in registry().items() if command.of_the_action and f"\n          {name})\n" not in text
    ]
    return re.sub(r"(?m)^( +)[\w-]+(?: \| [\w-]+){3,}\)$", rf"\1{' | '.join(names)})", text)


def workflows_page(text: str) -> str:
    """docs/workflows.md with the workflows that init writes."""
    kit = RunningKit("OWNER/mlx-publish", "COMMIT", "the page")
    for name in WORKFLOWS:
        start = f"`.github/workflows/{name}.yml`:\n\n```yaml\n"
        head, _, rest = text.partition(start)
        text = f"{head}{start}{workflow(name, kit)}{rest[rest.index('```') :]}"
    return text


def recipe_page() -> str:
    """docs/recipe.md: every key with its type, default and meaning."""
    schema = recipe_schema()
    lines = [
        "# The recipe",
        "",
        "A recipe is a YAML file that names a source model, the variants to make of it and where to publish them. Keep it",
        "in git, in `recipes/`; the file name is the recipe's name. Unknown keys and wrong types are errors that name file,",
        "line and key. For completion in an editor, start the file with",
        "`# yaml-language-server: $schema=PATH`, where PATH points to `scripts/mlx_publish/schemas/recipe.schema.json` in a",
        "checkout of mlx-publish. [Seven commented examples](../examples/README.md).",
        "",
        "Paths in a recipe are relative to its file. Every key is also a command-line flag and an input of the Action",
        "(`base_model` is `--base-model` and `base-model`), except mappings and lists of mappings.",
        "",
        "Generated from the code by `scripts/generate.py`.",
        "",
        _keys(schema, _notes(RecipeSpec)),
    ]
    for key, field in RecipeSpec.model_fields.items():
        model = flags.section_of(field.annotation)
        if model is None:
            continue
        lines += ["", f"## {key}", "", " ".join((model.__doc__ or "").split()), ""]
        if key == "variants":
            lines += [
                "A short name can replace a mapping, such as `4bit`, `mixed_3_6`, `4.6bpw`, `fits-16GB`, `4bit-gptq`, `bf16`.",
                "",
            ]
        lines.append(_keys(schema["$defs"][model.__name__], _notes(model)))
        for inner, entry in model.model_fields.items():
            if (part := flags.section_of(entry.annotation)) is not None:
                lines += ["", f"### {inner}", "", " ".join((part.__doc__ or "").split()), ""]
                lines.append(_keys(schema["$defs"][part.__name__], _notes(part)))
    return "\n".join(lines) + "\n"


def check_ids() -> dict[str, Any]:
    """Return the ids of the checks as checks/ids.py reads them."""
    checks = {stage: {check.id: check.safety for check in checks} for stage, checks in BY_STAGE.items()}
    return {"checks": checks, "judged": list(JUDGED), "raised": list(RAISED)}


def checks_page() -> str:
    """docs/checks.md: every check by stage."""
    lines = [
        "# The checks",
        "",
        "A failed check makes the stage's verdict `refused` and the exit code 1. To accept a failure, add",
        "`accept: [{check: <id>, reason: <why>}]` to the recipe; it becomes a warning, and the card prints the reason.",
        "Checks marked *safety* or *always* cannot be accepted.",
        "",
        "Generated from the code by `scripts/generate.py`.",
    ]
    for stage, checks in {**BY_STAGE, **BY_COMMAND, "doctor": MACHINE, "doctor --github": REPO}.items():
        lines += [
            "",
            f"## {stage}",
            "",
        ]
        rows = [(f"`{c.id}`", c.title, c.protects, "safety" if c.safety else "") for c in checks]
        rows += [(f"`{name}`", title, why, "always") for name, (of, title, why) in RAISED.items() if of == stage]
        lines.append(_table(("id", "checks that", "prevents", ""), rows))
    return "\n".join(lines) + "\n"


def action_page() -> str:
    """docs/action.md: inputs of the composite action under the headings that action.yml gives them, and outputs."""
    text = action_file()
    action, _ = parse_yaml(text, "action.yml")
    lines = ["# The Action", "", "Generated from action.yml by `scripts/generate.py`.", ""]
    lines += [
        "Most repos use [three workflow files](workflows.md), which call the Action for you. To call it yourself:",
        "",
        "```yaml",
        "on: workflow_dispatch",
        "jobs:",
        "  run:",
        "    runs-on: [self-hosted, macOS, ARM64]",
        "    permissions: {contents: read}",
        "    steps:",
        "      - uses: actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8  # v5.0.0",
        "        with: {persist-credentials: false}",
        f"      - uses: {kit.REPO}@COMMIT  # a commit that you have reviewed",
        "        with: {stage: run, recipe: recipes/my-model.yaml}",
        "```",
        "",
        "## Inputs",
    ]
    for heading, names in _input_groups(text):
        rows = [
            (f"`{name}`", entry["description"], _default(entry["default"]))
            for name in names
            for entry in [action["inputs"][name]]
        ]
        lines += ["", f"### {heading}", "", _table(("input", "meaning", "default"), rows)]
    outputs = [(f"`{name}`", entry["description"]) for name, entry in action["outputs"].items()]
    lines += ["", "## Outputs", "", _table(("output", "meaning"), outputs), "", *_ACTION_PERMISSIONS]
    return "\n".join(lines) + "\n"


_ACTION_PERMISSIONS = (
    "## Permissions",
    "",
    "The Action never needs more than its stage. [The workflows](workflows.md#permissions) grant each job exactly this:",
    "",
    "| stage | permission of the job | secret | why |",
    "| --- | --- | --- | --- |",
    "| `plan`, `review-cards` | `contents: read` | none | reads recipes, policy and cards from the checkout |",
    "| `inspect` to `card`, `run` | `contents: read` | `HF_TOKEN` that can only read, for gated or private sources | downloads the source; runs a model, so it gets nothing that can write |",
    "| `review` | `contents: write`, `pull-requests: write` | `GH_TOKEN` | pushes the branch `mlx-publish/<recipe>` and opens its pull request |",
    "| `upload`, `publish` | `contents: read`, plus `id-token: write` as a trusted publisher | `HF_TOKEN` that can write, unless a trusted publisher | writes to the Hub |",
    "| `drift` | `contents: read`, `issues: write` | `GH_TOKEN` | keeps one issue about what changed |",
    "| `recipe`, `clean` | `contents: read` | none | changes files on the runner only |",
)


def _input_groups(text: str) -> list[tuple[str, list[str]]]:
    """Return the inputs of action.yml by the comment above each group."""
    groups: list[tuple[str, list[str]]] = []
    for comment, name in re.findall(
        r"(?m)^  (?:# (?!</?\w+>)(.+)|([\w-]+):)$", text.split("\noutputs:", maxsplit=1)[0].split("\ninputs:")[1]
    ):
        if comment:
            groups.append((comment, []))
        else:
            groups[-1][1].append(name)
    return groups


def request_page() -> str:
    """docs/request.md: what a form, a dispatch or a calling workflow can ask for."""
    schema = request_schema()
    lines = [
        "# Requests",
        "",
        f"The keys of the `client_payload` of a `repository_dispatch` of the type `{DISPATCH}`, ten at most, and",
        "[their JSON Schema](../scripts/mlx_publish/schemas/request.schema.json). The form and `workflow_call` have the same",
        "keys with hyphens (`dry-run`). Unknown keys, keys that contradict each other, and text with a meaning to a shell, a",
        "path or YAML end the plan with exit code 2 and a message that names the key; no other job starts.",
        "[Workflows](workflows.md) describes the jobs.",
        "",
        "Generated from the code by `scripts/generate.py`.",
        "",
        _keys(schema, _meanings(RequestSpec)),
    ]
    return "\n".join(lines) + "\n"


def _keys(schema: Mapping[str, Any], notes: Mapping[str, str]) -> str:
    """Return the table of a model's keys."""
    required = schema.get("required", [])
    rows = []
    for key, entry in schema["properties"].items():
        default = "**required**" if key in required else _default(entry.get("default"))
        rows.append((f"`{key}`", _kind(entry), default, notes.get(key, "")))
    return _table(("key", "value", "default", "meaning"), rows)


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of cells in which Markdown works."""
    return table(
        headings, ([Markdown(" ".join(str(text).split()).replace("|", "\\|")) for text in row] for row in rows)
    )


def _default(value: object) -> str:
    if value is None or isinstance(value, (list, dict)) or value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(entry: Mapping[str, Any]) -> str:
    """A few words for a piece of JSON Schema."""
    if "enum" in entry:
        return ", ".join(map(str, entry["enum"]))
    if "anyOf" in entry:
        return " or ".join(_kind(part) for part in entry["anyOf"] if part.get("type") != "null")
    if "$ref" in entry:
        return "mapping (see below)"
    if entry.get("type") == "array":
        return f"list of {_kind(entry['items']).replace('mapping', 'mappings')}"
    if "const" in entry:
        return f"`{entry['const']}`"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    low, high = entry.get("minimum"), entry.get("maximum")
    limits = f", {low} to {high}" if low is not None and high is not None else ""
    return f"{words.get(entry.get('type', ''), 'text')}{limits}"


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the fields of a model say of themselves where they are asked for."""
    asked = {name: flags.marker_of(field, flags.Asked) for name, field in model.model_fields.items()}
    return {name: entry.meaning for name, entry in asked.items() if entry}


def _notes(model: type[BaseModel]) -> dict[str, str]:
    """Return the strings below the fields of a model, of its bases too: a variant has its keys from its methods."""
    notes = {}
    for base in model.__mro__:
        if not base.__module__.startswith("mlx_publish") or base.__name__ not in inspect.getsource(
            sys.modules[base.__module__]
        ):
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except OSError:  # made of its bases
            continue
        if isinstance(body, ast.ClassDef):
            for field, note in zip(body.body, body.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(note):
                    notes[field.target.id] = " ".join(ast.literal_eval(note.value).split())  # type: ignore[attr-defined]
    return notes


def _is_text(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def made_files() -> dict[Path, str]:
    """All files that are made, by path."""
    return {
        SCHEMAS / "recipe.schema.json": json_text(recipe_schema()),
        SCHEMAS / "evidence.schema.json": json_text(evidence_schema()),
        SCHEMAS / "report.schema.json": json_text(report_schema()),
        SCHEMAS / "error.schema.json": json_text(error_schema()),
        SCHEMAS / "request.schema.json": json_text(request_schema()),
        flags.FILE: json_text(key_blocks.recipe_flags()),
        compiled_templates.FILE: compiled_templates.compiled(),
        ids.FILE: json_text(check_ids()),
        ROOT / "action.yml": action_file(),
        WORKFLOW: key_blocks.publish_workflow(WORKFLOW.read_text(encoding="utf-8")),
        WORKFLOWS_PAGE: workflows_page(WORKFLOWS_PAGE.read_text(encoding="utf-8")),
        ROOT / "docs" / "recipe.md": recipe_page(),
        ROOT / "docs" / "checks.md": checks_page(),
        ROOT / "docs" / "action.md": action_page(),
        ROOT / "docs" / "request.md": request_page(),
    }


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    stale = [
        path for path, text in made_files().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if "--check" in arguments:
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale: run python scripts/generate.py\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made_files()[path], encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
