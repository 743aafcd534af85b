"""Nobody goes around the readers with bounds: whatever parses JSON or YAML elsewhere stands here with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import mlx_publish

ROOT = Path(mlx_publish.__file__).parent
PARSERS = {
    ("json", "loads"),
    ("json", "load"),
    ("json", "JSONDecoder"),
    ("yaml", "load"),
    ("yaml", "parse"),
    ("yaml", "safe_load"),
    ("tomllib", "loads"),
}
NAMES = {"loads", "YAML", "compose", "JSONDecoder", "literal_eval", "from_json", "model_validate_json"}

OURS = {
    # the readers
    "text/json_text.py": "the one of JSON",
    "text/yaml.py": "the one of YAML",
    "work.py": "Report.from_json takes parsed data",
    "engine/adapted_source.py": "from_json of records takes parsed data",
    "engine/adapter_fit.py": "from_json of records takes parsed data",
    "evidence/report.py": "Chain.from_json takes parsed data",
    "evidence/digests.py": "what was just written",
    "conversion/weights.py": "from_json of records takes parsed data",
    "source/kept.py": "from_json of records takes parsed data",
    "reviewed/assembling.py": "from_json of records takes parsed data",
    "source/twin.py": "from_json of records takes parsed data",
    "doctor/facts.py": "from_json of records takes parsed data",
    "verify/weights.py": "from_json of records takes parsed data",
    "verify/learned.py": "from_json of records takes parsed data",
    "conversion/pixels.py": "from_json of records takes parsed data",
    "conversion/sensitive.py": "from_json of records takes parsed data",
    "conversion/drafting.py": "from_json of records takes parsed data",
    "source/at_a_glance.py": "loads of facts tells what a converter can load",
    "stages/inspect_stage.py": "loads of facts tells what a converter can load",
    "engine/backends/mlx_vlm.py": "config.json that source/layout.py wrote",
    "source/perceived.py": "from_json of records takes parsed data",
    "source/drafted.py": "from_json of records takes parsed data",
    "source/logits.py": "from_json of records takes parsed data",
    "source/gains.py": "from_json of records takes parsed data",
    "source/rounding.py": "from_json of records takes parsed data",
    "stages/benchmark_stage.py": "from_json of records takes parsed data",
    "stages/fidelity_stage.py": "from_json of records takes parsed data",
    "stages/smoke_stage.py": "from_json of records takes parsed data",
    "hooks/json_lines.py": "the text of one key, of JSON that was read within bounds",
    "signing/keyless.py": "sigstore's parser of a bundle that was read within bounds, and the operator's own settings",
    "github/relay.py": "pydantic's parser, which has bounds of its own, on a body within LARGEST",
    # orders to our children, and what they leave in folders of ours
    "children/serving.py": "an order of ours",
    "hub/stream_folder.py": "lines that our child wrote",
    "engine/twin.py": "a config that we wrote for the child",
    "engine/unpacking.py": "how weights are packed, as our parent wrote it",
    "engine/logits_store.py": "passages that our child wrote",
    "engine/picture_passages.py": "passages that our child wrote",
    "children/other_python.py": "an answer of our child",
    "engine/speculating.py": "a config that we wrote",
    "chat/engines.py": "an answer of our child, and a package that the operator installed",
    # files of the package
    "engine/tokenizing.py": "data/probes.json",
    "recipes/flags.py": "data/flags.json",
    "checks/ids.py": "data/checks.json",
    "source/transformers_check.py": "data of the package",
    "chat/dialogues.py": "data/dialogues.json",
}


def parsers_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            if (called.value.id, called.attr) in PARSERS or called.attr in NAMES:
                yield f"{called.value.id}.{called.attr}"
        elif isinstance(called, ast.Name) and called.id in NAMES:
            yield called.id


def test_every_parser_of_json_and_yaml_is_the_one_with_bounds_or_has_a_reason() -> None:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        if calls := set(parsers_in(ast.parse(path.read_text(encoding="utf-8")))):
            found[path.relative_to(ROOT).as_posix()] = calls
    assert found.keys() - OURS.keys() == set(), "read it with mlx_publish.text.json_text, or say why not"
    assert OURS.keys() - found.keys() == set(), "these parse nothing any more"


def test_no_import_hides_a_parser_under_another_name() -> None:
    hidden = {
        (path.name, alias.name)
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module in ("json", "ast")
        for alias in node.names
    }
    assert hidden == set()
