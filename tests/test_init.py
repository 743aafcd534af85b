"""`mlx-publish init` makes a repo of models that everything else accepts; `recipe REPO` adds to it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from hub import Hub, Token
from mlx_publish.commands._placing import placing
from mlx_publish.converters import Support
from mlx_publish.converters.mlx_vlm import MlxVlm
from mlx_publish.recipes.policy import read_policy
from mlx_publish.recipes.read import recipe_from_file
from models import README, answer_table, make_model, make_scripted
from pipeline import User, digests
from samples import weight_file

KIT = f"lab/kit@{'a' * 40}"
WRITTEN = {
    ".github/workflows/card-review.yml",
    ".github/workflows/drift.yml",
    ".github/workflows/publish.yml",
    ".gitignore",
    ".pre-commit-config.yaml",
    "README.md",
    "mlx-publish.yaml",
}

LOUD = """\
---
license: other
license_name: "mine\\nto: eve/x\\u2028variants: [2bit]\\e[31m"
license_link: https://lab.example/licence
---
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = make_scripted(tmp_path_factory.mktemp("model") / "tiny", answer_table())
    files: dict[str, bytes | Path] = {path.name: path for path in folder.iterdir()}
    config = json.loads((folder / "config.json").read_bytes())
    with Hub(tmp_path_factory.mktemp("hub"), tokens=(Token("write", "ada", ("lab",)), Token("sole", "eve"))) as found:
        found.put("ada/tiny", files)
        found.put("ada/odd", {**files, "config.json": json.dumps(config | {"model_type": "llamma"}).encode()})
        seeing = {"config.json": json.dumps(config | {"vision_config": {"a": 1}}).encode()}
        tower = weight_file({"vision_tower.layer.weight": ("BF16", (64, 64))})
        weights = (folder / "model.safetensors").read_bytes()
        names = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
        placed = {name: "model.safetensors" for name in names if name != "__metadata__"}
        index = {"weight_map": placed | {"vision_tower.layer.weight": "model-tower.safetensors"}}
        processor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 56, "width": 56}}
        seeing |= {"preprocessor_config.json": json.dumps(processor).encode()}
        seeing |= {"model-tower.safetensors": tower, "model.safetensors.index.json": json.dumps(index).encode()}
        found.put("ada/seeing", {**files, **seeing})
        narrow = make_model(tmp_path_factory.mktemp("model") / "narrow", hidden=96, heads=3, kv_heads=3)
        found.put("ada/narrow", {path.name: path for path in narrow.iterdir()})
        found.put("ada/loud", {**files, "README.md": LOUD.encode()})
        found.put("ada/bare", {**files, "README.md": README.replace("license: apache-2.0\n", "").encode()})
        yield found


@pytest.fixture
def ada(hub: Hub, tmp_path: Path) -> User:
    return User(tmp_path, hub, more={"MLX_PUBLISH_KIT": KIT})


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def yaml(path: Path) -> dict[str, object]:
    data: dict[str, object] = YAML(typ="safe", pure=True).load(path)
    return data


def test_an_empty_folder_becomes_a_repo_of_models(ada: User, hub: Hub) -> None:
    said = ada.run("init", "models", "--model", "ada/tiny", "--namespace", "ada", "--git").text
    models = ada.home / "models"
    assert {name for name in written(models) if not name.startswith(".git/")} == WRITTEN | {"recipes/tiny.yaml"}
    git = ("git", "-C", str(models))
    assert subprocess.check_output([*git, "status", "--porcelain", "--branch"], text=True) == "## main\n"
    for name in ("publish", "card-review", "drift"):
        [job] = yaml(models / f".github/workflows/{name}.yml")["jobs"].values()  # type: ignore[attr-defined]
        assert job["uses"] == f"lab/kit/.github/workflows/{name}.yml@{'a' * 40}"
    [hooks] = yaml(models / ".pre-commit-config.yaml")["repos"]  # type: ignore[misc]
    assert (hooks["repo"], hooks["rev"]) == ("https://github.com/lab/kit", "a" * 40)  # type: ignore[has-type]
    policy = read_policy(models / "mlx-publish.yaml").spec
    assert (policy.namespaces, policy.licenses, policy.pinned) == (["ada"], ["apache-2.0", "mit"], True)
    recipe = recipe_from_file(models / "recipes/tiny.yaml")
    assert recipe.spec.revision == hub.head("ada/tiny")
    assert [variant.label for variant in recipe.variants] == ["4bit", "8bit", "bf16"]
    assert str(recipe.destinations["4bit"]) == "ada/tiny-MLX-4bit"
    assert "mlx-publish run --recipe recipes/tiny.yaml --into cards" in said
    assert "licence apache-2.0" in said


def test_the_hooks_accept_what_it_writes(ada: User) -> None:
    ada.run("init", "--model", "ada/tiny", "--namespace", "ada")
    ada.run("hook", "mlx-recipe", "recipes/tiny.yaml")


def test_the_same_again_changes_nothing(ada: User) -> None:
    words = ("init", "models", "--model", "ada/tiny", "--namespace", "ada")
    ada.run(*words)
    before = digests(ada.home / "models")
    assert "unchanged recipes/tiny.yaml" in ada.run(*words).text
    assert digests(ada.home / "models") == before


def test_a_file_that_exists_is_named_and_nothing_is_written(ada: User) -> None:
    (ada.home / "models").mkdir()
    (ada.home / "models/README.md").write_text("mine\n")
    said = ada.run("init", "models", "--model", "ada/tiny", "--namespace", "ada", code=2).text
    assert "models/README.md: exists with other content; nothing was written" in said
    assert "mlx-publish recipe REPO" in said
    assert written(ada.home / "models") == {"README.md"}


def test_of_a_refused_model_nothing_is_written(ada: User) -> None:
    said = ada.run("init", "models", "--model", "ada/odd", "--namespace", "ada", code=1).text
    assert "cannot load the model type llamma" in said
    assert "ada/odd is refused, so nothing is written" in said
    assert not (ada.home / "models").exists()


def test_what_fails_at_the_end_takes_back_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()

    def interrupted() -> None:
        with placing(tmp_path, {"kept/a": "a", "new/deep/b": "b"}, ""):
            assert written(tmp_path) == {"kept/a", "new/deep/b"}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def prepare(folder: Path, name: str, kind: str) -> None:
    """Put something that is no folder of ours where `init` would write."""
    path = folder / name
    targets = {"link": folder.parent / "elsewhere", "loop": path, "device": Path("/dev/zero")}
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        path.write_text("x")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(targets[kind])


@pytest.mark.parametrize(
    ("name", "kind", "said", "code"),
    [
        (".", "file", "models: is a file, not a folder; nothing was written", 2),
        (".", "loop", "exists", 4),
        (".github", "file", "models/.github: is a file, not a folder; nothing was written", 2),
        (".github", "link", "models/.github: is a link, not a folder; nothing was written", 2),
        (".github/workflows", "link", "models/.github/workflows: is a link, not a folder", 2),
        ("README.md", "link", "models/README.md: exists with other content; nothing was written", 2),
        ("README.md", "device", "models/README.md: exists with other content; nothing was written", 2),
        ("README.md", "pipe", "models/README.md: exists with other content; nothing was written", 2),
    ],
)
def test_what_is_in_the_way_is_named_and_neither_read_nor_followed(
    tmp_path: Path, name: str, kind: str, said: str, code: int
) -> None:
    user, models = User(tmp_path / "home"), tmp_path / "home/models"
    (tmp_path / "home").mkdir()
    (tmp_path / "home/elsewhere").mkdir()
    prepare(models, name, kind)
    assert said in user.run("init", "models", "--yes", "--namespace", "ada", code=code).text
    assert not written(tmp_path / "home/elsewhere")
    assert not list(models.rglob("*.y*ml")) if models.is_dir() else not models.is_dir()


def test_a_folder_that_cannot_be_made_is_no_bug(tmp_path: Path) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("there is no /proc")
    ended = User(tmp_path).run("init", "/proc/models", "--yes", "--namespace", "ada", code=4)
    assert "No such file or directory (/proc/models)" in ended.text


def test_a_missing_flag_is_named_where_nobody_can_be_asked(ada: User) -> None:
    assert "--model: is required" in ada.run("init", "--namespace", "ada", code=2).text
    assert "--namespace: is required" in ada.run("init", "--model", "ada/tiny", code=2).text
    assert (
        "'64 apples' is not an amount of memory"
        in ada.run("init", "--model", "ada/tiny", "--namespace", "ada", "--memory", "64 apples", code=2).text
    )
    assert not (ada.home / "README.md").exists()


def test_the_namespace_is_that_of_the_token(ada: User) -> None:
    ada.token = "write"
    ada.run("init", "models", "--yes")
    assert written(ada.home / "models") == WRITTEN
    assert read_policy(ada.home / "models/mlx-publish.yaml").spec.namespaces == ["ada"]


def test_json_has_what_was_written_and_found(ada: User, hub: Hub) -> None:
    ended = ada.run("init", "models", "--model", "ada/tiny", "--namespace", "ada", "--json")
    found = json.loads(ended.out)
    assert set(found["written"]) == WRITTEN | {"recipes/tiny.yaml"}
    assert found["kit"]["ref"] == "a" * 40
    assert found["recipe"]["commit"] == hub.head("ada/tiny")
    assert found["recipe"]["licence"] == "apache-2.0"
    assert {check["status"] for check in found["recipe"]["checks"]} <= {"pass", "skip", "warn"}


def test_a_source_that_sees_is_proposed_whole(ada: User) -> None:
    said = ada.run("init", "models", "--model", "ada/seeing", "--namespace", "ada").text
    path = ada.home / "models/recipes/seeing.yaml"
    recipe = recipe_from_file(path)
    assert recipe.spec.modality is None
    assert str(recipe.destinations["4bit"]) == "ada/seeing-MLX-4bit"
    assert "# The source also takes images, which mlx-vlm keeps." in path.read_text()
    tower = 64 * 64 * 2
    assert f"({tower / 1e3:.1f} kB of it for images)" in said
    assert "parameters and 4k for images" in said


def test_its_text_part_is_proposed_under_its_own_name_where_that_is_asked_for(ada: User) -> None:
    ada.run("recipe", "ada/seeing", "--namespace", "ada", "--modality", "text")
    path = ada.home / "recipes/seeing.yaml"
    recipe = recipe_from_file(path)
    assert recipe.spec.modality == "text"
    assert str(recipe.destinations["4bit"]) == "ada/seeing-text-MLX-4bit"
    assert "modality: text  # the source also takes images; only its text part is published" in path.read_text()


@pytest.mark.parametrize(
    ("support", "modality"),
    [(Support("0.7.10", frozenset({"gemma3"})), "text"), (Support("0.7.10", frozenset({"llama"})), None), (None, None)],
)
def test_of_a_family_that_mlx_vlm_lacks_the_text_part_is_proposed(
    support: Support | None, modality: str | None, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MlxVlm, "support", lambda _: support)
    ada.run("init", "models", "--model", "ada/seeing", "--namespace", "ada")
    recipe = recipe_from_file(ada.home / "models/recipes/seeing.yaml")
    assert recipe.spec.modality == modality
    assert ("-text-" in str(recipe.destinations["4bit"])) == (modality == "text")


def test_a_source_without_a_licence_says_what_to_write(ada: User) -> None:
    said = ada.run("init", "models", "--model", "ada/bare", "--namespace", "ada").text
    assert "FAIL licence" in said
    text = (ada.home / "models/recipes/bare.yaml").read_text()
    assert "\n# license: apache-2.0\n" in text
    assert recipe_from_file(ada.home / "models/recipes/bare.yaml").spec.license is None
    ada.run("init", "named", "--model", "ada/bare", "--namespace", "ada", "--license", "mit")
    assert recipe_from_file(ada.home / "named/recipes/bare.yaml").spec.license == "mit"


def test_layers_that_groups_of_64_do_not_divide_get_groups_of_32(ada: User) -> None:
    ada.run("init", "models", "--model", "ada/narrow", "--namespace", "ada")
    recipe = recipe_from_file(ada.home / "models/recipes/narrow.yaml")
    assert [variant.form.group_size for variant in recipe.variants] == [32, 32, None]
    assert "because groups of 64 do not divide its layers" in (ada.home / "models/recipes/narrow.yaml").read_text()


def test_words_of_a_card_stay_a_comment_in_the_recipe(ada: User) -> None:
    ada.run("init", "models", "--model", "ada/loud", "--namespace", "ada")
    text = (ada.home / "models/recipes/loud.yaml").read_text()
    assert [line for line in text.splitlines() if "eve/x" in line] == [text.splitlines()[1]]
    recipe = recipe_from_file(ada.home / "models/recipes/loud.yaml")
    assert (recipe.spec.to, len(recipe.variants)) == ("ada/{source}-MLX-{variant}", 3)
    assert read_policy(ada.home / "models/mlx-publish.yaml").spec.licenses == ["other", "apache-2.0", "mit"]


def typed(user: User, answers: bytes, *words: str) -> str:
    """What `init` prints on a terminal at which somebody types these answers."""
    ours, theirs = pty.openpty()
    environment = user.environment | {"HF_TOKEN": user.hub.token("write") if user.hub else "", "TERM": "dumb"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mlx_publish", "init", *words],
        env=environment,
        cwd=user.home,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, answers)
    said = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    assert process.wait(60) == 0, said.decode()
    return said.decode()


def test_on_a_terminal_it_asks_and_takes_defaults(ada: User) -> None:
    text = typed(ada, b"ada/tiny\n\nmany\n24GB\n", "models")
    assert "Namespace on the Hub [ada]: " in text
    assert "'many' is not an amount of memory" in text
    assert recipe_from_file(ada.home / "models/recipes/tiny.yaml").spec.to == "ada/{source}-MLX-{variant}"


def test_with_the_model_as_a_flag_a_pasted_line_is_no_answer(ada: User) -> None:
    text = typed(ada, b"cd models\n", "models", "--model", "ada/tiny")
    assert "[16GB]" not in text
    assert (ada.home / "models/recipes/tiny.yaml").exists()


@pytest.fixture
def models(ada: User) -> User:
    """Somebody in a repo that init wrote."""
    ada.run("init", "--yes", "--namespace", "ada")
    return ada


def test_one_more_recipe_keeps_to_the_policy(models: User, hub: Hub) -> None:
    said = models.run("recipe", f"{hub.endpoint}/ada/tiny/tree/main").text
    assert "wrote recipes/tiny.yaml" in said
    recipe = recipe_from_file(models.home / "recipes/tiny.yaml")
    assert (recipe.spec.revision, recipe.spec.to) == (hub.head("ada/tiny"), "ada/{source}-MLX-{variant}")
    said = models.run("recipe", "ada/tiny", "--namespace", "eve", "--name", "other", code=2).text
    assert "the namespace eve is not allowed" in said
    assert written(models.home / "recipes") == {"tiny.yaml"}


def test_flags_replace_what_is_proposed(models: User) -> None:
    models.run("recipe", "ada/tiny", "--variants", "8bit,mxfp4", "--name", "two", "--notes", 'Mine: "good" # yes')
    spec = recipe_from_file(models.home / "recipes/two.yaml").spec
    assert [variant.label for variant in spec.variants] == ["8bit", "mxfp4"]
    assert spec.card.notes == 'Mine: "good" # yes'
    models.run("recipe", "ada/tiny", "--bits", "5", "--group-size", "32", "--name", "five")
    [variant] = recipe_from_file(models.home / "recipes/five.yaml").variants
    assert (variant.form.bits, variant.form.group_size) == (5, 32)


def test_another_recipe_of_the_name_stays(models: User) -> None:
    models.run("recipe", "ada/tiny")
    before = digests(models.home / "recipes")
    said = models.run("recipe", "ada/tiny", "--notes", "x", code=2).text
    assert "--name tiny-2" in said
    assert digests(models.home / "recipes") == before


def test_a_word_that_is_no_model_is_refused_at_once(models: User, hub: Hub) -> None:
    calls = len(hub.log)
    assert "'tiny' is not a model on the Hub" in models.run("recipe", "tiny", code=2).text
    assert len(hub.log) == calls
