"""Every fault keeps its own file, line and key until it is printed, whichever way it comes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chat_samples import MANNERS
from hook_trees import make_tree
from mlx_publish import cli
from mlx_publish.errors import BadInput, Fault, Place, Refused, in_file
from mlx_publish.hooks.faults import Options, faults_of
from mlx_publish.hooks.mlx_model_config import look as look_at_configs
from tiny_tokenizer import CHATML

THREE = {"license": "Apache 2.0", "language": "[en, english]", "colour": "blue"}
ANNOTATION = re.compile(
    r"^::error (?:title=[^,]*,)?file=(?P<file>[^,]+),line=(?P<line>\d+)::(?P<key>[\w.\[\]]+): ", re.MULTILINE
)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repo with one recipe, one card and one model, in a job."""
    make_tree(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "--recipe", "recipes/model-0.yaml"],
        ["hook", "mlx-recipe", "recipes/model-0.yaml"],
        ["hook", "mlx-card", "cards/lab/Model-0-MLX-4bit/README.md"],
    ],
    ids=lambda words: words[1] if words[0] == "hook" else words[0],
)
def test_each_error_of_a_recipe_is_annotated_at_its_file_line_and_key(
    words: list[str], tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["source: acme/Model-0", *(f"{key}: {value}" for key, value in THREE.items())]
    (tree / "recipes/model-0.yaml").write_text("\n".join(lines))
    assert cli.main(words) != 0
    told = capsys.readouterr()
    found = {(one["file"], int(one["line"]), one["key"]) for one in ANNOTATION.finditer(told.out + told.err)}
    assert found == {
        ("recipes/model-0.yaml", line, key) for line, key in ((2, "license"), (3, "language[1]"), (4, "colour"))
    }


def test_a_refused_file_lies_in_the_model_s_folder_and_bad_input_where_it_says() -> None:
    file = Path("models/m/config.json")
    (refused,) = faults_of(Refused("is broken", place=in_file("chat/x.jinja", 3), remedy="Mend it."), file)
    assert (refused.place, refused.remedy) == (Place("models/m/chat/x.jinja", 3), "Mend it.")
    others = (Fault("is also wrong", in_file("r.yaml", 9), "to", "Never shown."),)
    first, second = faults_of(BadInput("is wrong", place=in_file("r.yaml", 4), key="source", others=others), file)
    assert (first.place, first.key, second.place, second.key) == (
        Place("r.yaml", 4),
        "source",
        Place("r.yaml", 9),
        "to",
    )
    assert second.remedy == ""


def test_what_a_template_says_of_itself_is_no_line(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tree / "models/m0/chat_template.jinja"
    path.write_text("\n\n{{ raise_exception('line 9: no') }}")
    assert cli.main(["hook", "mlx-chat-template", str(path)]) == 1
    assert capsys.readouterr().out.startswith(f"{path}:1: it cannot be rendered: line 9: no")
    path.write_text("\n\n{{ nobody.knows.it }}")
    assert cli.main(["hook", "mlx-chat-template", str(path)]) == 1
    assert capsys.readouterr().out.startswith(f"{path}:3: it cannot be rendered: line 3: UndefinedError")


Damage = Callable[[dict[str, Any]], object]
IN_TOKENIZER: dict[str, tuple[Damage, str]] = {
    "state of a machine": (lambda data: data.update(zeta=1, cache_dir="/a", is_local=True), "cache_dir"),
    "tokens that are none": (lambda data: data.update(extra_special_tokens=None), "extra_special_tokens"),
    "tokens as a list": (lambda data: data.update(extra_special_tokens=["</s>"]), "extra_special_tokens"),
    "a class of one client": (lambda data: data.update(tokenizer_class="TokenizersBackend"), "tokenizer_class"),
    "code that is not there": (lambda data: data.update(auto_map=["a", "b"]), "auto_map"),
    "a space in front": (
        lambda data: data.update(tokenizer_class="LlamaTokenizer", add_prefix_space=True),
        "add_prefix_space",
    ),
    "a template for new clients": (lambda data: None, "chat_template"),
}


@pytest.mark.parametrize("fix", [False, True])
@pytest.mark.parametrize("name", IN_TOKENIZER)
def test_what_is_mended_in_a_tokenizer_s_config_names_its_key_and_line(name: str, fix: bool, tree: Path) -> None:
    damage, key = IN_TOKENIZER[name]
    path = tree / "models/m0/tokenizer_config.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["chat_template"] = [{"name": "default", "template": CHATML}]
    damage(data)
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")
    jinja = MANNERS["solar"].template if name == "a template for new clients" else CHATML
    path.with_name("chat_template.jinja").write_text(jinja, encoding="utf-8")
    path.with_name("tokenizer.json").write_text("{}", encoding="utf-8")
    (fault,) = look_at_configs([path], Options(fix))
    line = next(number for number, text in enumerate(json.dumps(data, indent=1).splitlines(), 1) if f'"{key}"' in text)
    assert (fault.place, fault.key, fault.fixed) == (Place(str(path), line), key, fix)


@pytest.mark.parametrize("fix", [False, True])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_an_end_that_is_added_names_the_file_that_lacked_it(file: str, fix: bool, tree: Path) -> None:
    path = tree / "models/m0" / file
    data = json.loads(path.read_text(encoding="utf-8"))
    data["eos_token_id"] = data["eos_token_id"][0]
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")
    (fault,) = look_at_configs([path], Options(fix))
    assert (Path(fault.place.name).name, fault.key, fault.fixed) == (file, "eos_token_id", fix)


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json"])
def test_a_byte_order_mark_is_told_of_its_own_file(file: str, tree: Path) -> None:
    path = tree / "models/m0" / file
    text = path.read_text(encoding="utf-8") if path.exists() else '{"eos_token": "</s>"}'
    path.write_text(f"\ufeff{text}", encoding="utf-8")
    places = [fault.place.name for fault in look_at_configs([path], Options()) if "byte order mark" in fault.message]
    assert set(places) == {str(path)}
