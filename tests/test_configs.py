"""The published config files the survey reads: whole, named, told apart by source, with nothing private in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parent / "configs"
FILES = sorted(CONFIGS.glob("*.json"))
ROW = re.compile(r"^\| `(?P<file>[^`]+\.json)` \| (?P<model>[^|]+) \| `(?P<type>[^`]+)` \| [^|]+ \| [^|]+ \|$")
MACHINE_PATH = re.compile(r"^(/|~|\.{1,2}/|file:|[A-Za-z]:[\\/]|\\\\)|/(home|Users|mnt|root|tmp|workspace|scratch)/")
SECRET = re.compile(r"hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|-----BEGIN ")

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, object]:
    config = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(config, dict)
    return config


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)


def sections(config: dict[str, object]) -> list[dict[str, object]]:
    """The config and the part that describes its text model, where it nests one."""
    nested = config.get("text_config")
    return [config, nested] if isinstance(nested, dict) else [config]


@pytest.fixture(scope="module")
def table() -> dict[str, str]:
    """The table of the README: each file and its type."""
    lines = (CONFIGS / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    matches = [match for match in map(ROW.match, rows) if match]
    assert len(matches) == len(rows), "a row of the table lacks a file, a model, a type, a source or a state"
    assert len({match["file"] for match in matches}) == len(matches), "a file stands in the table twice"
    return {match["file"]: match["type"] for match in matches}


@each_file
def test_a_config_names_its_type_as_the_table_does(path: Path, table: dict[str, str]) -> None:
    assert read(path)["model_type"] == table[path.name]


@each_file
def test_a_config_is_pretty_printed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


@each_file
def test_a_config_lists_a_type_for_every_layer(path: Path) -> None:
    for section in sections(read(path)):
        kinds, layers = section.get("layer_types"), section.get("num_hidden_layers")
        if isinstance(kinds, list) and isinstance(layers, int):
            predicted = section.get("num_nextn_predict_layers") or 0
            assert isinstance(predicted, int)
            assert len(kinds) in {layers, layers + predicted}


@each_file
def test_a_config_holds_no_path_of_a_machine_and_no_secret(path: Path) -> None:
    assert [text for text in texts(read(path)) if MACHINE_PATH.search(text) or SECRET.search(text)] == []


@pytest.mark.parametrize(
    "text",
    ["/data/models/x", "~/x", "./x", "C:\\x", "file:///x", "see /home/ada/x", "hf_" + "a" * 34, "sk-" + "a" * 40],
)
def test_a_path_and_a_secret_would_be_seen(text: str) -> None:
    assert MACHINE_PATH.search(text) or SECRET.search(text)


def test_the_table_lists_every_file_and_no_other(table: dict[str, str]) -> None:
    assert set(table) == {path.name for path in FILES}


def test_both_spellings_of_the_rotary_settings_are_there() -> None:
    keys = {key for path in FILES for section in sections(read(path)) for key in section}
    assert {"rope_theta", "rope_scaling", "rope_parameters"} <= keys


def test_the_files_with_a_bare_infinity_are_named() -> None:
    readme = (CONFIGS / "README.md").read_text(encoding="utf-8").split("| File |")[0]
    holders = [path.name for path in FILES if re.search(r"-?\bInfinity\b|\bNaN\b", path.read_text(encoding="utf-8"))]
    assert holders
    assert [name for name in holders if f"`{name}`" not in readme] == []
