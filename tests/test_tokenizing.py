"""The tokenizer of a converted folder, loaded by mlx-lm in the child, beside the source's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.tokenizer_output import TOKENIZER_OUTPUT, TokenizerOutput
from mlx_publish.conversion import tokenizer as mending
from mlx_publish.engine.tokenizing import probe_texts, tokenizer
from mlx_publish.evidence.conversion import TokenizerComparison
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.portable import PLAIN, Repaired
from mlx_publish.model.stopping import Stopping
from models import make_model
from tiny_tokenizer import TURN_END, write_json

ROWS = 320
SPLIT = {"type": "Split", "pattern": {"String": "oon"}, "behavior": "Isolated", "invert": False}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


def edit(folder: Path, name: str, **keys: Any) -> None:
    path = folder / name
    write_json(path, {**(json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}), **keys})


def compare(folder: Path, source: Path, rows: int = ROWS) -> TokenizerComparison:
    return tokenizer(str(folder), None, str(source), rows, lambda _: None)


def mend(folder: Path, source: Path) -> tuple[TokenizerOutput, dict[str, str]]:
    mended = mending.mend(folder, Metadata(FolderFiles(source)))
    compared = tokenizer(**mended.order(source, ROWS), progress=lambda _: None)
    output = mended.finish(compared, ROWS)
    return output, {finding.id: finding.status for finding in run_checks(TOKENIZER_OUTPUT, output)}


def split_words(folder: Path) -> None:
    """Give tokenizer.json a pre-tokenizer that transformers 5 drops for many classes."""
    before = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["pre_tokenizer"]
    edit(folder, "tokenizer.json", pre_tokenizer={"type": "Sequence", "pretokenizers": [SPLIT, before]})


def test_the_same_files_give_the_same_ids(model: Path) -> None:
    found = compare(model, model)
    assert found.error is None
    assert found.reference == "tokenizer.json"
    assert found.probes == len(probe_texts()) + 6 == found.round_trip
    assert found.different == 0
    assert found.warnings == []
    assert found.largest_id == 285
    assert found.stop_ids == [TURN_END]


def test_the_probes_cover_what_tokenizers_disagree_about() -> None:
    texts = "".join(probe_texts().values())
    for part in (*"月\u0627कทЛה한", "\u200d", "\t\t", "    ", "\r\n", "\n\n", "²", "\u00a0", "e\u0301"):
        assert part in texts
    assert "" in probe_texts().values()


def test_other_ids_are_found_and_the_first_is_shown(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "made")
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    vocab = json.loads(text)["model"]
    vocab["vocab"]["a"], vocab["vocab"]["b"] = vocab["vocab"]["b"], vocab["vocab"]["a"]
    edit(folder, "tokenizer.json", model=vocab)
    found = compare(folder, model)
    assert found.different > 10
    assert found.first
    assert found.first.probe == "English"
    assert found.first.ids != found.first.source_ids
    output = TokenizerOutput(found, Repaired(), Stopping(2, None, (2,)), ROWS)
    finding = run_checks(TOKENIZER_OUTPUT, output, accepted=lambda _: "I know")[0]
    assert finding.status == "fail"
    assert "'English' at token" in finding.message


def test_what_cannot_be_loaded_is_said(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "made")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    found = compare(folder, model)
    assert str(found.error).startswith("the tokenizer as mlx-lm reads it cannot be loaded")
    assert str(compare(model, folder).error).startswith("the tokenizer of the source cannot be loaded")
    output = TokenizerOutput(found, Repaired(), Stopping(2, None, (2,)), ROWS)
    statuses = {finding.id: finding.status for finding in run_checks(TOKENIZER_OUTPUT, output)}
    assert statuses["tokenizer-ids"] == statuses["ids-in-embedding"] == "fail"


def test_truncation_and_padding_of_the_source_cut_nothing(model: Path) -> None:
    edit(
        model,
        "tokenizer.json",
        truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 64},
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "<|endoftext|>",
        },
    )
    assert compare(model, model).different == 0


def test_ids_without_a_row_are_found_where_text_reaches_them(model: Path) -> None:
    added = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    edit(model, "tokenizer.json", added_tokens=[*added, {**added[0], "id": 400, "content": "<far>"}])
    found = compare(model, model)
    assert found.largest_id >= 286
    output = TokenizerOutput(found, Repaired(), Stopping(2, None, (2,)), 286)
    assert run_checks(TOKENIZER_OUTPUT, output)[3].status == "fail"


def test_a_word_of_the_vocabulary_without_a_row_is_found(model: Path) -> None:
    vocab = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    word = {"vocab": {**vocab["vocab"], "qz": 286}, "merges": [*vocab["merges"], ["q", "z"]]}
    edit(model, "tokenizer.json", model={**vocab, **word})
    found = compare(model, model, rows=286)
    assert (found.largest_id, found.largest_probe) == (286, "id 286")
    unreachable = {"vocab": {**vocab["vocab"], "qz": 286}}
    edit(model, "tokenizer.json", model={**vocab, **unreachable})
    output = TokenizerOutput(compare(model, model, rows=286), Repaired(), Stopping(2, None, (2,)), 286)
    assert run_checks(TOKENIZER_OUTPUT, output)[3].status == "warn"


def test_a_good_folder_passes_and_keeps_its_bytes(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "made")
    _, statuses = mend(folder, model)
    assert set(statuses.values()) == {"pass"}
    for path in model.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_a_class_that_gives_other_ids_is_replaced(model: Path, tmp_path: Path) -> None:
    split_words(model)
    edit(model, "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    folder = shutil.copytree(model, tmp_path / "made")
    assert compare(folder, model).different
    output, statuses = mend(folder, model)
    assert output.compared.plain
    assert output.compared.different == 0
    assert compare(folder, model).different == 0
    assert "ids differ" in output.repaired.changes[-1].message
    assert statuses == {
        "tokenizer-ids": "pass",
        "tokenizer-portable": "fixed",
        "stop-complete": "pass",
        "ids-in-embedding": "pass",
    }
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["tokenizer_class"] == PLAIN


def test_ends_are_completed_in_all_files(model: Path, tmp_path: Path) -> None:
    edit(model, "config.json", eos_token_id=0)
    (model / "generation_config.json").write_text('{"eos_token_id": 0', encoding="utf-8")
    edit(model, "tokenizer_config.json", eos_token="<|endoftext|>", tokenizer_class="TokenizersBackend")
    folder = shutil.copytree(model, tmp_path / "made")
    _, statuses = mend(folder, model)
    assert statuses["stop-complete"] == "fixed"
    for name in ("config.json", "generation_config.json"):
        assert json.loads((folder / name).read_text(encoding="utf-8"))["eos_token_id"] == [0, 2]
    text = (folder / "tokenizer_config.json").read_text(encoding="utf-8")
    assert json.loads(text)["tokenizer_class"] == PLAIN


def test_a_model_that_cannot_stop_is_refused(model: Path, tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}###\n\n{% endfor %}"
    edit(model, "tokenizer_config.json", chat_template=template)
    _, statuses = mend(shutil.copytree(model, tmp_path / "made"), model)
    assert statuses["stop-complete"] == "fail"
