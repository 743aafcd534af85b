"""The text to calibrate on: the recipe's keys, files of the user's, what is left out of them, what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mlx_publish.context import Context
from mlx_publish.errors import BadInput, Refused
from mlx_publish.evidence.digests import digest_of
from mlx_publish.evidence.quantization import Calibration
from mlx_publish.methods import rtn
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import RecipeSpec
from mlx_publish.source.calibration import (
    calibration_facts,
    calibration_inputs,
    calibration_order,
    calibration_record,
    calibration_texts,
    package_texts,
)
from mlx_publish.source.calibration_file import MOST_BYTES
from mlx_publish.source.logits import texts
from mlx_publish.text.console import Console
from mlx_publish.work import Work
from models import make_model
from pipeline import User, read_json, write_recipe

OWN = "The ferry was late, and the gulls had eaten everything that was not nailed to the quay by noon.\n"
HELD_OUT: list[str] = texts()["prose"]


def context(root: Path, **calibration: object) -> Context:
    (root / "m").mkdir(exist_ok=True)
    write_recipe(root / "m.yaml", source="./m", variants=["4bit"], calibration=calibration)
    recipe = recipe_from_file(root / "m.yaml")
    return Context(recipe, recipe.variants, Work(root / "work", recipe.name), Console(io.StringIO()))


def with_file(root: Path, content: str | bytes, name: str = "mine.txt") -> Context:
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return context(root, file=name)


def lines(*entries: object) -> str:
    return "".join(f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in entries)


def wrong(root: Path, content: str | bytes, name: str = "mine.txt") -> BadInput:
    with pytest.raises(BadInput) as caught:
        calibration_order(with_file(root, content, name))
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("method", "samples", "length"),
    [("plan", 64, 128), ("awq", 64, 256), ("gptq", 96, 256), ("dwq", 224, 128), ("toy", 64, 128)],
)
def test_without_keys_each_method_reads_what_is_usual_for_it(method: str, samples: int, length: int) -> None:
    spec = RecipeSpec.model_validate({"source": "a/b"})
    assert spec.calibration.amount(method) == (samples, length)
    asked = RecipeSpec.model_validate({"source": "a/b", "calibration": {"samples": 7, "length": 99}}).calibration
    assert asked.amount(method) == (7, 99)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("https://example.org/text.txt", "is an address, but no method reads from the network"),
        ("file:///etc/text.txt", "is an address, but no method reads from the network"),
        ("hf://datasets/acme/words", "is an address, but no method reads from the network"),
        ("acme/words", "data sets of the Hub are not downloaded, because no method reads from the network"),
        ("./words.parquet", "must be a local file that ends in .txt, .md or .jsonl"),
        ("words", "must be a local file that ends in .txt, .md or .jsonl"),
    ],
)
def test_nothing_is_fetched(tmp_path: Path, file: str, reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RecipeSpec.model_validate({"source": "a/b", "calibration": {"file": file}})
    assert reason in caught.value.errors()[0]["msg"]
    with pytest.raises(BadInput) as read:
        context(tmp_path, file=file)
    assert (read.value.place.name, read.value.key) == (str(tmp_path / "m.yaml"), "calibration.file")
    assert read.value.place.line > 1
    assert reason in read.value.message


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"length": 16}, {"seed": -1}, {"samples": "64"}, {"url": "x"}])
def test_numbers_have_bounds(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RecipeSpec.model_validate({"source": "a/b", "calibration": wrong})


def test_without_a_file_it_is_the_text_of_the_package(tmp_path: Path) -> None:
    own = context(tmp_path, seed=5)
    order = calibration_order(own, "dwq")
    assert set(order.texts) == {"prose", "code", "dialogue", "scripts"}
    assert order.texts == package_texts()
    assert (order.sha256, order.samples, order.length, order.seed) == (digest_of(package_texts()), 224, 128, 5)
    assert order.place == ""
    assert calibration_record(own, "dwq") == Calibration("package", order.sha256, 224, 128, 5)
    assert calibration_record(own, "dwq", samples=90).samples == 90
    assert calibration_facts(own) is None
    assert calibration_inputs(own, "awq") == {"sha256": order.sha256, "samples": 64, "length": 256, "seed": 5}


def test_the_package_has_all_kinds_in_many_documents() -> None:
    found = package_texts()
    assert {kind: len(documents) >= 15 for kind, documents in found.items()} == dict.fromkeys(found, True)
    roles = [[turn["role"] for turn in dialogue] for dialogue in found["dialogue"] if not isinstance(dialogue, str)]
    assert len(roles) == len(found["dialogue"])
    assert sum(turns[0] == "system" for turns in roles) >= 5
    for turns in roles:
        spoken = turns[turns[0] == "system" :]
        assert spoken == ["user", "assistant"] * (len(spoken) // 2)
    assert sum(len(turns) >= 4 for turns in roles) >= 12


def test_a_plain_file_is_read_in_documents_of_whole_paragraphs(tmp_path: Path) -> None:
    paragraphs = [f"{number}. {'x' * 2500}" for number in range(6)]
    found = calibration_texts(with_file(tmp_path, "\ufeff" + "\r\n\r\n".join(paragraphs), "mine.md"))
    joined = "\n\n".join
    assert found.texts == {"text": [joined(paragraphs[:3]), joined(paragraphs[3:])]}
    assert found.name == "mine.md"
    assert found.sha256 == digest_of(found.texts)


def test_a_paragraph_of_any_length_is_divided(tmp_path: Path) -> None:
    found = calibration_texts(with_file(tmp_path, "word " * 5000)).texts["text"]
    assert "".join(map(str, found)) == "word " * 5000
    assert max(map(len, found)) <= 8000


def test_lines_of_json_hold_texts_and_dialogues(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    content = lines({"text": OWN, "id": 7}, {"messages": [{**turn, "weight": 1} for turn in turns]}, {"text": "  "})
    found = calibration_texts(with_file(tmp_path, f"\n{content}\n", "mine.jsonl"))
    assert found.texts == {"text": [OWN, turns]}
    assert found.facts is not None
    assert (found.facts.parts, found.facts.left_out) == (2, 0)


@pytest.mark.parametrize("name", ["mine.txt", "mine.jsonl"])
def test_what_is_also_in_the_text_of_the_comparison_is_left_out(tmp_path: Path, name: str) -> None:
    stolen = HELD_OUT[2].split("\n\n")[0]
    parts = [OWN.strip(), stolen.upper().replace(" ", " -- "), "And so home, by the lower path.", stolen]
    content = "\n\n".join(parts) if name == "mine.txt" else lines(*({"text": part} for part in parts))
    found = calibration_texts(with_file(tmp_path, content, name))
    assert found.texts == {"text": [parts[0], parts[2]]}
    assert found.facts is not None
    assert (found.facts.parts, found.facts.left_out) == (4, 2)


def test_a_run_over_two_paragraphs_counts_too(tmp_path: Path) -> None:
    words = HELD_OUT[0].split()
    halves = [" ".join(words[40:47]), " ".join(words[47:54])]
    found = calibration_texts(with_file(tmp_path, "\n\n".join([OWN.strip(), *halves]))).facts
    assert found is not None
    assert (found.parts, found.left_out) == (3, 2)


def test_dialogues_are_compared_as_well(tmp_path: Path) -> None:
    content = lines({"text": OWN}, {"messages": texts()["dialogue"][0]})
    assert calibration_texts(with_file(tmp_path, content, "mine.jsonl")).texts == {"text": [OWN]}


def test_where_nothing_is_left_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        calibration_order(with_file(tmp_path, "\n\n".join(HELD_OUT)))
    assert caught.value.check == "calibration-apart"


def test_a_file_that_is_not_there_is_named_with_the_line_of_the_key(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        calibration_order(context(tmp_path, file="texts/mine.txt"))
    assert caught.value.message == f"{tmp_path.resolve() / 'texts/mine.txt'} does not exist"
    assert (caught.value.place.name, caught.value.key) == (str(tmp_path / "m.yaml"), "calibration.file")
    assert caught.value.place.line > 1
    (tmp_path / "texts/mine.txt").mkdir(parents=True)
    with pytest.raises(BadInput, match="is not a file"):
        calibration_order(context(tmp_path, file="texts/mine.txt"))


def test_a_file_beside_the_recipe_is_found_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_file(tmp_path, OWN)
    monkeypatch.chdir("/")
    assert calibration_texts(found).texts == {"text": [OWN.strip()]}


def test_bytes_that_are_no_text_are_named_by_their_line(tmp_path: Path) -> None:
    error = wrong(tmp_path, b"one\ntwo\nthr\xe9e\n")
    assert str(error) == f"{tmp_path.resolve() / 'mine.txt'}:3: not UTF-8: byte 0xe9"


def test_a_file_has_bounds(tmp_path: Path) -> None:
    assert "10.0 MB" in wrong(tmp_path, b"x" * (MOST_BYTES + 1)).message
    for content in ("", " \n\n\t\n"):
        assert wrong(tmp_path, content).message == "the file contains no text"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "neither a text in 'text' nor a list in 'messages'"),
        ('{"text": 7}', "neither a text in 'text' nor a list in 'messages'"),
        ('{"messages": []}', "neither a text in 'text' nor a list in 'messages'"),
        (
            '{"messages": [{"role": "user"}]}',
            "messages[0] needs a role (system, user, assistant) and a text in 'content'",
        ),
        ('{"messages": ["Hi"]}', "messages[0] needs a role (system, user, assistant) and a text in 'content'"),
        ('{"text": "a", "text": "b"}', "text"),
        ('{"text": "a"', "not valid JSON"),
        ("[" * 50 + "]" * 50, "deep"),
    ],
)
def test_a_line_that_is_no_text_is_named(tmp_path: Path, line: str, message: str) -> None:
    error = wrong(tmp_path, f'{{"text": "fine"}}\n\n{line}\n', "mine.jsonl")
    assert error.place.line == 3
    assert message in error.message


def inspected(
    user: User, root: Path, content: str, monkeypatch: pytest.MonkeyPatch, code: int = 0
) -> tuple[str, dict[str, Any]]:
    """What is printed, and the report."""
    monkeypatch.setattr(rtn.Rounding, "learns", True)  # as a method that reads text
    make_model(root / "m")
    (root / "mine.txt").write_text(content, encoding="utf-8")
    write_recipe(root / "m.yaml", source="./m", variants=["4bit"], calibration={"file": "mine.txt"})
    ended = user.run("inspect", "--recipe", root / "m.yaml", "--work", root / "work", code=code)
    path = root / "work/m/4bit/inspect.json"
    return ended.text, read_json(path) if path.exists() else {}


def finding(report: dict[str, Any]) -> dict[str, Any]:
    (found,) = [check for check in report["checks"] if check["id"] == "calibration-apart"]
    return dict(found)


def test_inspect_warns_of_what_is_left_out(tmp_path: Path, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    _, report = inspected(user, tmp_path, f"{OWN}\n{HELD_OUT[0]}", monkeypatch)
    assert finding(report)["status"] == "warn"
    left_out = len(HELD_OUT[0].split("\n\n"))
    assert f"of {left_out + 1} paragraphs" in finding(report)["message"]
    assert report["inputs"]["calibration"] == {
        "place": str(tmp_path / "mine.txt"),
        "unit": "paragraph",
        "parts": left_out + 1,
        "left_out": left_out,
        "sha256": digest_of({"text": [OWN.strip()]}),
    }


def test_inspect_refuses_a_text_of_which_nothing_is_left(
    tmp_path: Path, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed, report = inspected(user, tmp_path, HELD_OUT[2], monkeypatch, code=1)
    assert finding(report)["status"] == "fail"
    assert "nothing is left to calibrate on" in printed


def test_inspect_names_a_file_that_is_wrong(tmp_path: Path, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    printed, report = inspected(user, tmp_path, "", monkeypatch, code=2)
    assert report == {}
    assert "mine.txt: the file contains no text" in printed


def test_a_variant_that_reads_no_text_reads_no_file(tmp_path: Path, user: User) -> None:
    make_model(tmp_path / "m")
    write_recipe(tmp_path / "m.yaml", source="./m", variants=["4bit"], calibration={"file": "not-there.txt"})
    user.run("inspect", "--recipe", tmp_path / "m.yaml", "--work", tmp_path / "work")
    report = read_json(tmp_path / "work/m/4bit/inspect.json")
    assert finding(report)["status"] == "pass"
    assert "calibration" not in report["inputs"]
