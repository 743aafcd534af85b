"""The hooks as pre-commit calls them: good files pass, and what is wrong is named by file, line and key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from chat_samples import MANNERS
from hook_trees import evidence_of, make_tree, write_card, write_recipe_of
from mlx_publish.errors import BadInput
from mlx_publish.hooks import HOOKS, run_hook
from mlx_publish.recipes.read import recipe_from_file
from samples_that_see import make_seeing
from tiny_tokenizer import CHATML

Said = Callable[..., tuple[int, str]]
Files = Mapping[str, list[Path]]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Good files for each hook, in the folder that one stands in."""
    monkeypatch.chdir(tmp_path)
    made = make_tree(tmp_path, 8)
    return {hook: [path.relative_to(tmp_path) for path in paths] for hook, paths in made.items()}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Said:
    """The exit code, and what was said."""

    def call(hook: str, *files: Path, fix: bool = False) -> tuple[int, str]:
        code = run_hook(hook, files, fix=fix)
        return code, capsys.readouterr().out

    return call


def edit(path: Path, change: Callable[[dict[str, Any]], object], indent: int = 2) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def swap(path: Path, old: str, new: str) -> None:
    """Put one text in the place of another, where it first stands."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def line_of(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if text in line)


@pytest.mark.parametrize("hook", HOOKS)
def test_good_files_pass_in_silence(hook: str, tree: Files, run: Said) -> None:
    assert run(hook, *tree[hook]) == (0, "")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_file_that_is_not_there_is_bad_input(hook: str, tree: Files) -> None:
    with pytest.raises(BadInput, match="file not found"):
        run_hook(hook, [Path("nowhere.json")])


RECIPES = {
    "unknown key": ("license: apache-2.0", "licence: apache-2.0", "unknown key; did you mean license?"),
    "branch": (
        "revision: 0123456789abcdef0123456789abcdef01234567",
        "revision: main",
        "'main' is a branch or a tag, which can move; recipes here must pin a commit",
    ),
    "namespace": ("to: lab/", "to: somebody/", "the namespace somebody is not allowed"),
    "licence": ("license: apache-2.0", "license: mit", "the licence mit is not allowed"),
    "broken": ("variants:", "variants: [", "not valid YAML"),
    "no such check": (
        "license:",
        "accept: [{check: nonsense, reason: because I say so}]\nlicense:",
        "unknown check 'nonsense'",
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_wrong_with_a_recipe_is_named(name: str, tree: Files, run: Said) -> None:
    old, new, words = RECIPES[name]
    path = tree["mlx-recipe"][1]
    swap(path, old, new)
    code, said = run("mlx-recipe", *tree["mlx-recipe"])
    assert code == 1
    assert words in said
    assert f"{path}:" in said
    assert str(tree["mlx-recipe"][2]) not in said


CARD = {
    "a number": ("0.0451", "0.0351", "says 0.0351, but the evidence has 0.0451"),
    "a word": ("hard to tell apart", "easy to tell apart", "but recipe and evidence give"),
    "a line more": ("## Use\n", "## Use\n\nBest of all.\n", "which comes from neither recipe nor evidence"),
    "a line less": ("- mlx\n", "", "is missing here"),
    "a key more": ("library_name: mlx", "library_name: mlx\nmodel-index: []", "mlx-publish does not write this key"),
    "a language": ("- en\n", "- no\n", "says '- no'"),
}


@pytest.mark.parametrize("name", CARD)
def test_a_card_that_was_edited_is_refused_and_says_where(name: str, tree: Files, run: Said) -> None:
    old, new, words = CARD[name]
    path = tree["mlx-card"][0]
    swap(path, old, new)
    code, said = run("mlx-card", *tree["mlx-card"])
    assert code == 1
    assert words in said
    assert f"{path}:" in said
    assert "renders it again" in said or "docs/card.md" in said


def _in(*keys: Any) -> Callable[[dict[str, Any]], Any]:
    """Change the number at the end of a path by a little."""

    def change(data: Any) -> None:
        *parents, last = keys
        for key in parents:
            data = data[key]
        data[last] = data[last] * 2 if data[last] else 1

    return change


NUMBERS = (
    ("fidelity", "mean_kld"),
    ("fidelity", "same_first_choice_error"),
    ("fidelity", "p99_kld"),
    ("fidelity", "perplexity"),
    ("fidelity", "by_kind", "code", "mean_kld"),
    ("benchmark", "lengths", 0, "prompt_tps", "median"),
    ("benchmark", "lengths", 1, "first_token_s", "median"),
    ("benchmark", "machine", "memory_bytes"),
    ("model", "weight_bytes"),
    ("model", "bits_per_weight"),
    ("model", "parameters"),
    ("ladder", 0, "weight_bytes"),
    ("ladder", 1, "mean_kld"),
    ("ladder", 1, "memory_bytes"),
    ("variant", "bits"),
    ("config", "context"),
    ("model", "files", 0, "size"),
)


@pytest.mark.parametrize("keys", NUMBERS, ids=lambda keys: ".".join(map(str, keys)))
def test_a_changed_number_of_the_evidence_is_refused(keys: tuple[Any, ...], tree: Files, run: Said) -> None:
    folder = tree["mlx-card"][0].parent
    edit(folder / "evidence.json", _in(*keys))
    code, said = run("mlx-card", folder / "evidence.json")
    assert code == 1
    assert f"{folder}/" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("fidelity"),
        lambda data: data["model"].pop("files"),
        lambda data: data.update(score=99),
        lambda data: data["source"].update(repo="x/other"),
        lambda data: data.update(recipe="../../etc"),
        lambda data: data.update(recipe="nobody"),
        lambda data: data["model"]["files"][0].update(sha256="0" * 64),
        lambda data: data["variant"].update(label="3bit"),
        lambda data: data.update(schema="mlx-publish/evidence/9"),
    ],
)
def test_other_evidence_is_refused_and_no_bug(
    change: Callable[[dict[str, Any]], object], tree: Files, run: Said
) -> None:
    path = tree["mlx-card"][0].parent / "evidence.json"
    edit(path, change)
    code, said = run("mlx-card", path)
    assert code == 1
    assert str(path) in said or "no recipe nobody" in said


def test_a_card_alone_or_a_chart_of_other_numbers_is_refused(tree: Files, run: Said) -> None:
    first, second = (path.parent for path in tree["mlx-card"][:2])
    (first / "evidence.json").unlink()
    assert "no evidence.json next to it" in run("mlx-card", first / "README.md")[1]
    chart = second / "ladder.svg"
    chart.write_text(chart.read_text(encoding="utf-8").replace("8.5", "9.5").replace("75.7", "85.7"), encoding="utf-8")
    code, said = run("mlx-card", chart)
    assert (code, f"{chart}:" in said) == (1, True)


def test_the_picture_of_a_card_is_the_one_that_its_evidence_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Said
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = write_recipe_of(tmp_path, 98)
    seen, spec = make_seeing(), recipe_from_file(recipe, elsewhere=True).spec
    words = spec.card.model_dump(mode="json")
    data = evidence_of(recipe.stem, spec.source, words=words, tools=seen["tools"], proof=seen["proof"])
    data["smoke"]["pictures"], data["model"]["towers"] = seen["smoke"]["pictures"], seen["model"]["towers"]
    folder = write_card(tmp_path, recipe, data)
    path = folder / "picture.png"
    drawn = path.read_bytes()
    assert not [line for line in run("mlx-card", path)[1].splitlines() if "picture" in line]
    path.write_bytes(drawn[:-1] + b"x")
    assert "is not the picture that the evidence names" in run("mlx-card", path)[1]
    path.unlink()
    assert "no picture.png next to it" in run("mlx-card", folder / "README.md")[1]


def test_a_picture_beside_the_card_of_a_language_model_is_refused(tree: Files, run: Said) -> None:
    path = tree["mlx-card"][0].parent / "picture.png"
    path.write_bytes(b"\x89PNG")
    assert "the card shows no picture" in run("mlx-card", path)[1]


def test_a_card_of_another_recipe_lies_elsewhere(tree: Files, run: Said, tmp_path: Path) -> None:
    recipe = write_recipe_of(tmp_path, 99)
    folder = write_card(tmp_path, recipe).relative_to(tmp_path)
    moved = folder.with_name("Other")
    folder.rename(moved)
    assert "Move the card" in run("mlx-card", moved / "README.md")[1]


TEMPLATES = {
    "syntax": ("{% if %}", "it cannot be rendered"),
    "empty": ("\n", "it is empty"),
    "a byte order mark": ("\ufeff" + CHATML, "it starts with a byte order mark"),
    "a name misspelt": (
        CHATML.replace("if add_generation_prompt", "if add_generation_promt"),
        "it reads add_generation_promt",
    ),
    "unsafe": ("{{ ''.__class__.__mro__ }}", "it is not safe to render"),
    "no prompt": (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}",
        "add_generation_prompt changes nothing",
    ),
    "a name that nobody gives": (
        "{{ my_own }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
        "it reads my_own, which no known caller passes",
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("where", ["json", "jinja"])
def test_what_is_wrong_with_a_template_is_named(name: str, where: str, tree: Files, run: Said) -> None:
    text, words = TEMPLATES[name]
    path = tree["mlx-chat-template"][0]
    if where == "json":
        edit(path, lambda data: data.update(chat_template=text))
    else:
        path = path.with_name("chat_template.jinja")
        path.write_text(text, encoding="utf-8")
    code, said = run("mlx-chat-template", path, *tree["mlx-chat-template"][1:3])
    assert code == 1
    assert words in said
    assert f"{path}:" in said


PUBLISHED = {
    **{name: manner.template for name, manner in MANNERS.items()},
    "options and macros": (
        "{% macro line(text) %}{{ text }}\n{% endmacro %}{% if response_format is defined %}{{ line('JSON') }}{% endif %}"
        "{{ my_tone | default('') }}{{ line(my_house_rules) if my_house_rules }}{{ safety_mode }}" + CHATML
    ),
    "for images beside texts": (
        "{% for m in messages %}<{{ m.role }}>{% for part in m.content %}{{ part.text if part.type == 'text' else '<img>' }}"
        "{% endfor %}</s>{% endfor %}{{ '<assistant>' if add_generation_prompt }}"
    ),
    "turns of which none is closed": (
        "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}### assistant:\n"
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_template_as_models_are_published_with_passes(name: str, run: Said, tmp_path: Path) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_text(PUBLISHED[name], encoding="utf-8")
    assert run("mlx-chat-template", path) == (0, "")


def test_a_template_for_tools_may_stand_alone_under_a_name_of_its_own(run: Said, tmp_path: Path) -> None:
    text = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}" + CHATML
    for name, code in (("m-tool_use.jinja", 0), ("chat_template.jinja", 1)):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert run("mlx-chat-template", tmp_path / name)[0] == code


def test_a_token_that_only_the_tokenizer_can_name_is_no_slip_where_it_lies_elsewhere(run: Said, tmp_path: Path) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_text("{{ image_token }}" + CHATML, encoding="utf-8")
    assert run("mlx-chat-template", path) == (0, "")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}', encoding="utf-8")
    assert "it reads image_token" in run("mlx-chat-template", path)[1]


CONFIGS: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "no model type": ("config.json", lambda data: data.pop("model_type"), "model_type"),
    "no architectures": ("config.json", lambda data: data.pop("architectures"), "architectures"),
    "no bits": ("config.json", lambda data: data["quantization"].pop("bits"), "quantization.bits"),
    "odd bits": ("config.json", lambda data: data["quantization"].update(bits=7), "quantization.bits"),
    "odd mode": ("config.json", lambda data: data["quantization"].update(mode=[]), "quantization.mode"),
    "copies differ": (
        "config.json",
        lambda data: data["quantization_config"].update(group_size=32),
        "quantization_config",
    ),
    "narrower stop": ("generation_config.json", lambda data: data.update(eos_token_id=0), "eos_token_id"),
    "class of one client": (
        "tokenizer_config.json",
        lambda data: data.update(tokenizer_class="TokenizersBackend"),
        "tokenizer_class",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_wrong_with_a_config_is_named(name: str, tree: Files, run: Said) -> None:
    file, change, key = CONFIGS[name]
    folder = tree["mlx-model-config"][0].parent
    edit(folder / file, change)
    code, said = run("mlx-model-config", folder / file)
    assert code == 1
    assert key in said
    assert f"{folder}/" in said


@pytest.mark.parametrize(("closing", "code"), [("", 0), ("###", 1)])
def test_an_answer_may_be_ended_by_the_end_token_alone_and_not_by_plain_text(
    closing: str, code: int, tree: Files, run: Said
) -> None:
    folder = tree["mlx-model-config"][0].parent
    text = MANNERS["solar"].template.replace("message.content + '\\n", f"message.content + '{closing}\\n")
    edit(folder / "tokenizer_config.json", lambda data: data.update(chat_template=text))
    assert run("mlx-model-config", folder / "config.json")[0] == code


@pytest.mark.parametrize("name", ["narrower stop", "class of one client"])
def test_what_can_be_mended_is_and_once_is_enough(name: str, tree: Files, run: Said) -> None:
    file, change, key = CONFIGS[name]
    folder = tree["mlx-model-config"][0].parent
    path = folder / file
    before = json.loads(path.read_text(encoding="utf-8"))
    edit(path, change)
    code, said = run("mlx-model-config", path, fix=True)
    assert code == 1
    assert "fixed" in said
    mended = path.read_text(encoding="utf-8")
    assert json.loads(mended).keys() >= before.keys() - {key}
    assert run("mlx-model-config", path, fix=True) == (0, "")
    assert path.read_text(encoding="utf-8") == mended


def test_a_config_of_some_other_program_is_let_alone(tree: Files, run: Said, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    path = tmp_path / "app/config.json"
    path.write_text('{"port": 80}')
    assert run("mlx-model-config", path) == (0, "")


def test_lines_are_those_of_the_keys(tree: Files, run: Said) -> None:
    path = tree["mlx-model-config"][0].parent / "config.json"
    edit(path, lambda data: data["quantization"].update(bits=7))
    line = line_of(path, '"bits": 7')
    assert f"{path}:{line}: " in run("mlx-model-config", path)[1]


def test_two_recipes_for_one_destination_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        to = "lab/c" if name == "c" else "lab/same"
        Path(f"{name}.yaml").write_text(f"source: x/{name}\nrevision: {'a' * 40}\nto: {to}\n")
    assert run_hook("mlx-recipe", [Path("a.yaml"), Path("b.yaml"), Path("c.yaml")]) == 1
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "b.yaml:3: to: a.yaml also publishes to lab/same"
    assert "c.yaml" not in said
