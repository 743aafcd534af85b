"""The survey of architectures, made into docs/architectures.md: `nox -s architectures`.

Every model type that mlx-lm and transformers both know, by transformers' own default config, and the published configs
in tests/configs: each is made small and random by transformers, read by mlx-lm as a source is read, and compared.
Arguments name some of them. It takes a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.checks.twin import TwinFacts, judge
from mlx_publish.children.torch import find_torch
from mlx_publish.converters.mlx_lm import CONVERTER
from mlx_publish.errors import PublishError
from mlx_publish.machine.packages import versions
from mlx_publish.source.twin import Prover
from mlx_publish.text.markdown import Markdown, table
from mlx_publish.text.streams import patient
from mlx_publish.text.temporary import TemporaryFolder

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "tests" / "configs"
PAGE = ROOT / "docs" / "architectures.md"
DEFAULT = "default of transformers"
# Defaults of transformers that describe no model: keys that it computes nothing without, as published models have them.
COMPLETED: Mapping[str, Mapping[str, Any]] = {
    "dbrx": {"attn_config": {"clip_qkv": 8, "kv_n_heads": 8, "model_type": "", "rope_theta": 10000.0}},
    "deepseek_v2": {
        "n_routed_experts": 64, "num_experts_per_tok": 6, "topk_group": 1, "n_group": 1, "n_shared_experts": 2,
        "moe_intermediate_size": 1408,
    },
    "dots1": {"n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1,
              "norm_topk_prob": True, "sliding_window": None},
    "gemma2": {"sliding_window": 8192},
    "hunyuan_v1_dense": {
        "rope_parameters": {"rope_type": "dynamic", "alpha": 1000.0, "factor": 1.0, "rope_theta": 10000.0},
        "head_dim": 128,
    },
    "kimi_k25": {"tie_word_embeddings": False},
    "lfm2": {"layer_types": (["conv"] * 2 + ["full_attention"]) * 10 + ["conv"] * 2, "full_attn_idxs": None},
    "lfm2_moe": {"layer_types": (["conv"] * 2 + ["full_attention"]) * 10 + ["conv"] * 2},
    "mistral": {"sliding_window": None},
    "nemotron": {"num_key_value_heads": 8},
    "phimoe": {"attention_bias": True, "lm_head_bias": True},
    "recurrent_gemma": {"num_key_value_heads": 1},
}  # fmt: skip
_MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}}
NESTED: Mapping[str, Mapping[str, Any]] = {
    "minimax_m3_vl": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "partial_rotary_factor": 0.5},
    },
    "qwen2_vl": _MROPE,
    "qwen2_5_vl": _MROPE,
    "kimi_k25": {"tie_word_embeddings": False},
}
_LONGEST = 160
_HEAD = """\
# Architectures

<!-- Made by `nox -s architectures`; do not edit. -->

What mlx-lm {mlx_lm} (mlx {mlx}) computes of a `config.json`, held against transformers {transformers}: transformers
makes a small random model of it, mlx-lm reads that as a source is read, and the logits are compared in float32,
position by position, on a short and on a long text. `inspect` does the same with the config of every source, before
its weights are downloaded.

- *proven*: the normalised squared error of the logits is below 5e-6.
- *proven but for*: there is a difference that is told and does not refuse.
- *refused*: `inspect` refuses it, unless the recipe accepts `twin-equal` with a reason.
- *not proven*: transformers cannot make it here; the checks by hand remain.

Of {types} model types of mlx-lm, transformers knows {known}. {proven} of these are proven by at least one config.

"""
_DETAIL = """
## Every config

"""


@dataclass(frozen=True)
class Row:
    """One config and what is said of it; `status` is that of the check twin-equal."""

    model_type: str
    name: str
    status: str
    said: str
    error: float | None

    def to_json(self) -> dict[str, Any]:
        """For the file of results."""
        return vars(self)


def main(arguments: Sequence[str] | None = None) -> int:
    """Survey, print each result, write the page where everything was looked at."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="model types, or names of files in tests/configs; all where none")
    parser.add_argument("--results", type=Path, help="a JSON file that results are also written to")
    options = parser.parse_args(arguments)
    torch, support = find_torch(), CONVERTER.support()
    if torch.reason or support is None:
        sys.stderr.write(f"{torch.reason or 'mlx-lm is not installed'}; run: sh scripts/bootstrap.sh -s reference\n")
        return 4
    rows = []
    with (
        TemporaryFolder() as logs,
        Prover(torch, logs, lambda _: None) as prover,
    ):
        for kind, name, config in _wanted(options.names, support.types):
            rows.append(_row(kind, name, config, prover))
            sys.stdout.write(f"{rows[-1].status:5} {kind:20} {name}: {rows[-1].said}\n")
            sys.stdout.flush()
    if options.results:
        options.results.write_text(json.dumps([row.to_json() for row in rows], indent=2), encoding="utf-8")
    if not options.names:
        PAGE.write_text(page(rows, support.types, torch.versions), encoding="utf-8")
    return 0


def _wanted(names: Sequence[str], types: Iterable[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Model type, name and config of all that is surveyed."""
    for kind, config in _defaults(types):
        if not names or kind in names:
            yield kind, DEFAULT, config
    for path in sorted(CONFIGS.glob("*.json"), key=lambda path: path.name.lower()):
        config = json.loads(path.read_text(encoding="utf-8"))
        if not names or path.stem in names or config.get("model_type") in names:
            yield str(config.get("model_type")), path.stem, config


def _defaults(types: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    from transformers import CONFIG_MAPPING  # noqa: PLC0415, TID251

    for kind in sorted(set(types) & set(CONFIG_MAPPING)):
        config = json.loads(CONFIG_MAPPING[kind]().to_json_string(use_diff=False))
        config |= {"model_type": kind, "architectures": None, **COMPLETED.get(kind, {})}
        if kind in NESTED:
            config["text_config"] |= NESTED[kind]
        yield kind, config


def _row(kind: str, name: str, config: Mapping[str, Any], prover: Prover) -> Row:
    try:
        facts = prover.prove(config)
    except PublishError as error:
        facts = TwinFacts(None, error.message)
    says = judge(facts, config)
    errors = [text.nmse for text in facts.proof.texts] if facts.proof else []
    numbers = [error for error in errors if error is not None]
    worst = max(numbers) if numbers and len(numbers) == len(errors) else None
    return Row(kind, name, says.status, _shortly(facts, says.message), worst)


def _shortly(facts: TwinFacts, message: str) -> str:
    """The cell of the table: what differs, or why nothing is known."""
    proof = facts.proof
    if proof is None:
        return _short(facts.reason)
    if proof.problem:
        return _short(proof.problem)
    if proof.lost and not message.startswith("mlx-lm computes what"):
        return _short(f"has no place for {proof.lost[0]}")
    if proof.blame:
        place = f" from position {proof.boundary.position:,}" if proof.boundary else ""
        return _short(f"computes {proof.blame} otherwise{place}")
    return "" if message.startswith("mlx-lm computes what") else _short(message)


def _short(text: str) -> str:
    plain = " ".join(text.split()).replace("|", "\\|")
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}..."


_WORDS = {"pass": "proven", "warn": "proven but for", "fail": "**refused**", "skip": "not proven"}


def page(rows: Sequence[Row], types: frozenset[str], torch: Mapping[str, str]) -> str:
    """The page: what is proven by type, and every config that was tried."""
    tools = versions("mlx", "mlx-lm")
    by_type: dict[str, list[Row]] = {}
    for row in rows:
        by_type.setdefault(row.model_type, []).append(row)
    known = sorted({row.model_type for row in rows if row.name == DEFAULT})
    proven = [kind for kind, some in by_type.items() if any(row.status in ("pass", "warn") for row in some)]
    head = _HEAD.format(
        mlx_lm=tools["mlx-lm"],
        mlx=tools["mlx"],
        transformers=torch["transformers"],
        types=len(types),
        known=len(known),
        proven=len(set(proven) & set(known)),
    )
    type_rows = [_type_row(kind, by_type.get(kind, []), kind in known) for kind in sorted(types | by_type.keys())]
    rows = sorted(rows, key=lambda row: (row.model_type, row.name))
    config_rows = [(row.name, row.model_type, _WORDS[row.status], _error(row), row.said) for row in rows]
    by_type_table = _table(("model type", "in transformers", "result", "configs that were tried"), type_rows)
    by_config_table = _table(("config", "model type", "result", "error", "what differs"), config_rows)
    return f"{head}{by_type_table}\n{_DETAIL}{by_config_table}\n"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return table(headings, ([Markdown(text) for text in row] for row in rows))


def _type_row(kind: str, rows: Sequence[Row], known: bool) -> tuple[str, ...]:
    order = ("pass", "warn", "fail", "skip")
    best = min((row.status for row in rows), key=order.index, default="")
    result = _WORDS[best] if best else "no config tried"
    names = ", ".join(f"{row.name}{'' if row.status == best else f' ({_WORDS[row.status]})'}" for row in rows)
    return f"`{kind}`", "yes" if known else "no", result, names


def _error(row: Row) -> str:
    return "" if row.error is None else f"{row.error:.0e}"


if __name__ == "__main__":
    with patient():
        sys.exit(main())
