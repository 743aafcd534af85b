"""What people type by habit or by mistake: each slip is understood, or answered with what was meant."""

from __future__ import annotations

import json
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from mlx_publish import cli
from mlx_publish.children.engine import Children
from mlx_publish.commands import _run as commands
from mlx_publish.recipes.read import recipe_from_file, recipe_from_flags
from mlx_publish.reviewed.cards import review_first

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "scripts/mlx_publish/schemas/error.schema.json").read_text(encoding="utf-8"))
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
HUB = "https://huggingface.co"
LINES = "source: acme/Tiny\nvariants: [4bit, 8bit]\nto: me/{source}-{variant}\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two recipes and no repo of git around it."""
    (tmp_path / "recipes").mkdir()
    for name in ("smollm2", "tiny"):
        (tmp_path / f"recipes/{name}.yaml").write_text(LINES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Namespace, dict[str, str]]]:
    """What the pipeline would be run with."""
    found: list[tuple[Namespace, dict[str, str]]] = []

    def run(options: Namespace, flags: dict[str, str], *_: object) -> int:
        found.append((options, flags))
        return 0

    monkeypatch.setattr(commands, "run_command", run)
    monkeypatch.setattr(Children, "start", lambda *_: None)
    return found


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that has to be bad input; return what it says."""
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    return shown.err


VARIANTS = {
    "4bits": "4bit",
    "q4": "4bit",
    "Q4_K_M": "4bit",
    "int4": "4bit",
    "4-bit": "4bit",
    "4b": "4bit",
    "4": "4bit",
    "w4a16": "4bit",
    "INT8": "8bit",
    "Q8_0": "8bit",
    "IQ3_XXS": "3bit",
    "fp4": "mxfp4 or nvfp4",
    "fp8": "mxfp8",
    "MXFP4": "mxfp4",
    "mixed-3-6": "mixed_3_6",
    "bf-16": "bf16",
    "BF16": "bf16",
    "16bit": "bf16",
    "half": "fp16",
    "Float16": "fp16",
    "f32": "fp32",
}


@pytest.mark.parametrize(("name", "meant"), VARIANTS.items())
def test_a_variant_by_another_tools_name_is_answered_with_ours(
    here: Path, name: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"--variants: no variant is called '{name}'; use {meant}\n" in said(
        capsys, "inspect", "--source", "acme/Tiny", "--variants", name
    )
    (here / "recipes/own.yaml").write_text(f"source: acme/Tiny\nvariants: ['{name}']\n")
    assert f"recipes/own.yaml:2: variants[0]: no variant is called '{name}'; use {meant}\n" in said(
        capsys, "inspect", "--recipe", "own"
    )


@pytest.mark.parametrize(("name", "meant"), [("float16", "fp16"), ("bfloat16", "bf16")])
def test_the_long_names_of_types_are_variants(name: str, meant: str) -> None:
    [variant] = recipe_from_flags({"source": "a/b", "variants": name}).variants
    assert variant.label == meant


FILES = {
    "varients: [4bit]": "2: varients: unknown key; did you mean variants?",
    "smoke: {max_token: 5}": "2: smoke.max_token: unknown key; did you mean max_tokens?",
    "max_token: 5": "2: max_token: unknown key; did you mean max_tokens below smoke?",
    "bits: 4": "2: bits: unknown key; did you mean bits below variants?",
    "notes: Good.": "2: notes: unknown key; did you mean notes below card?",
    "card: {license: mit}": "2: card.license: unknown key; did you mean license, not below card?",
    "licence: mit": "2: licence: unknown key; did you mean license?",
    "base-model: c/d": "2: base-model: unknown key; did you mean base_model?",
    "destination: me/x": "2: destination: unknown key; did you mean to?",
    "upload_repo: me/x": "2: upload_repo: unknown key; did you mean to?",
    "commit: abc": "2: commit: unknown key; did you mean revision?",
    "revision: 123": "Write the commit, 40 hex digits, in quotes. Run: mlx-publish pin recipes/own.yaml",
    "revision: 12e45": "Write the commit, 40 hex digits, in quotes. Run: mlx-publish pin recipes/own.yaml",
    "private: yes": "Write true, without quotes.",
    "private: 'off'": "Write false, without quotes.",
    "variants: 4bit,8bit": "Write a list: [4bit, 8bit].",
    "variants: [{bits: 4bit}]": "Write 4.",
    "variants: [{bits: '8'}]": "Write 8.",
    "variants: [{mode: mxfp}]": "Write mxfp4.",
    "variants: [{dtype: bfloat}]": "Write bfloat16.",
    "name: 7": 'Write it in quotes: "7".',
    "to: me/{sorce}-{bit}": "'me/{sorce}-{bit}': unknown placeholder {sorce}; did you mean {source}?, "
    "unknown placeholder {bit}; did you mean {bits}?",
    "to: me/{quant}": "unknown placeholder {quant}; did you mean {variant}?",
    f"base_model: {HUB}/datasets/a/b": "is the address of a dataset, not of a model",
}


@pytest.mark.parametrize(("line", "answer"), FILES.items())
def test_a_slip_in_a_recipe_is_answered_with_what_was_meant(
    here: Path, line: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "recipes/own.yaml").write_text(f"source: acme/Tiny\n{line}\n")
    assert answer in said(capsys, "inspect", "--recipe", "recipes/own.yaml")


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("yes", "Write keep."),
        ("true", "Write keep."),
        ("4", "Write 4bit."),
        ("q8", "Write 8bit."),
        ("8-bit", "Write 8bit."),
        ("no", "Remove the key: without it, multi-token heads are left out."),
        ("false", "Remove the key: without it, multi-token heads are left out."),
        ("[8bit]", "docs/recipe.md lists the allowed values."),
    ],
)
def test_a_slip_in_mtp_is_answered_with_what_to_write(
    here: Path, given: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "recipes/own.yaml").write_text(f"source: acme/Tiny\nmtp: {given}\n")
    message = said(capsys, "inspect", "--recipe", "own")
    assert "own.yaml:2: mtp: must be keep, a width such as 8bit, or a mapping with bits and group_size" in message
    assert answer in message


@pytest.mark.parametrize(
    ("revision", "answer"),
    [
        ("abc1234", "'abc1234' is a shortened commit; recipes here must give all 40 hex digits"),
        (COMMIT.upper(), "has upper-case letters; commits are written in lower case"),
        ("main", "'main' is a branch or a tag, which can move; recipes here must pin a commit"),
        ("", "no revision is set; recipes here must pin a commit"),
    ],
)
def test_a_revision_that_pins_nothing_is_answered_with_the_command_that_does(
    here: Path, revision: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mlx-publish.yaml").write_text("")
    (here / "recipes/own.yaml").write_text("source: acme/Tiny\n" + (f"revision: '{revision}'\n" if revision else ""))
    shown = said(capsys, "inspect", "--recipe", "recipes/own.yaml")
    assert answer in shown
    assert "Run: mlx-publish pin recipes/own.yaml" in shown


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("namespace: [me]", "unknown key; did you mean namespaces?"),
        ("licences: [mit]", "unknown key; did you mean licenses?"),
        ("publish: {rebuilt: true}", "unknown key; did you mean rebuild?"),
        ("rebuild: true", "unknown key; did you mean rebuild below publish?"),
    ],
)
def test_a_slip_in_the_policy_is_answered_likewise(
    here: Path, line: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mlx-publish.yaml").write_text(f"{line}\n")
    assert answer in said(capsys, "inspect", "--recipe", "tiny")


COMMAND_LINES: list[tuple[list[str], str]] = [
    (["inspct"], "unknown command inspct; did you mean inspect?"),
    (["--recipe", "x", "run"], "the command comes first, before --recipe"),
    (["run", "--bit", "4"], "mlx-publish run has no --bit; did you mean --bits?"),
    (["run", "--varient=4bit"], "mlx-publish run has no --varient; did you mean --variant?"),
    (["run", "--hf-path", "a/b"], "mlx-publish run has no --hf-path; did you mean --source?"),
    (["run", "--q-bits", "4"], "mlx-publish run has no --q-bits; did you mean --bits?"),
    (["run", "recipes/tiny.yaml"], "'recipes/tiny.yaml' belongs to no flag; did you mean --recipe recipes/tiny.yaml?"),
    (["run", "acme/Tiny"], "'acme/Tiny' belongs to no flag; did you mean --source acme/Tiny?"),
    (["run", "--recipe", "tiny", "--until", "fidlity"], "there is no stage fidlity; did you mean fidelity?"),
    (["run", "--recipe", "tiny", "--until"], "last stage: inspect, convert, smoke, fidelity, benchmark, card, upload"),
    (["run", "--recipe", "tiny", "--variant", "q4"], "there is no variant q4; did you mean 4bit?"),
    (["run", "--recipe", "tiny", "--variant", "8bti,6bit"], "there is no variant 8bti; did you mean 8bit?"),
    (["run", "--recipe", "tiny", "--variant", "4bit", "--variant", "6bit"], "The recipe tiny has: 4bit, 8bit."),
    (["run", "--recipe", "tiny", "--variants", "4bit"], "To run some of its variants: --variant 4bit."),
    (["run", "--source", "acme/Tiny", "--variant", "8bit"], "To make others: --variants 8bit."),
    (["run", "--recipe", "smolm2"], "recipe not found; did you mean recipes/smollm2.yaml?"),
    (["run", "--recipe", "recipes/tini.yaml"], "did you mean recipes/tiny.yaml?"),
    (["run", "--recipe", "recipes/zzz.yaml"], "Recipes in recipes: smollm2.yaml, tiny.yaml."),
    (["run", "--recipe", "recipes"], "this is a folder, not a recipe"),
    (["run"], "Recipes here: recipes/smollm2.yaml, recipes/tiny.yaml."),
    (["inspect", "--source", "a/b", "--to", "me/{sorce}"], "unknown placeholder {sorce}; did you mean {source}?"),
    (["inspect", "--source", f"{HUB}/datasets/a/b"], "is the address of a dataset, not of a model"),
    (["inspect", "--source", f"{HUB}/spaces/a/b"], "is the address of a Space, not of a model"),
    (["inspect", "--source", f"{HUB}/acme"], "is not a model's address: it must end with namespace/name"),
    (
        ["inspect", "--source", f"{HUB}/a/b/tree/{COMMIT}", "--revision", OTHER],
        f"the address contains the revision {COMMIT}, but 'revision' is different",
    ),
    (["hook", "mlx-recpie", "recipes/tiny.yaml"], "'mlx-recpie' is not known; did you mean mlx-recipe?"),
    (["smoke", "--template-only", "--source", "x/y", "--engines", "minijnja"], "did you mean minijinja?"),
    (["verify", f"{HUB}/datasets/a/b"], "is the address of a dataset, not of a model"),
    (["review-cards"], "is not in a git"),
]


@pytest.mark.parametrize(("words", "answer"), COMMAND_LINES)
def test_a_slip_on_the_command_line_is_answered_with_what_was_meant(
    words: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer in said(capsys, *words)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--variant", "4bit,8bit"], ["4bit", "8bit"]),
        (["--variant", "4bit", "--variant", "8bit"], ["4bit", "8bit"]),
        (["--variant", "8bit, 4bit", "--variant=6bit"], ["8bit", "4bit", "6bit"]),
    ],
)
def test_several_variants_are_all_taken(words: list[str], names: list[str], asked: list[Any]) -> None:
    assert cli.main(["run", "--recipe", "tiny", *words]) == 0
    [(options, _)] = asked
    assert options.variant == names


@pytest.mark.parametrize("name", ["tiny", "recipes/tiny.yaml"])
def test_a_recipe_may_be_named_alone(name: str, asked: list[Any]) -> None:
    assert cli.main(["run", "--recipe", name]) == 0
    assert asked[0][0].recipe == Path("recipes/tiny.yaml")


@pytest.mark.parametrize(
    ("text", "private"), [("yes", True), ("ON", True), ("true", True), ("no", False), ("off", False)]
)
def test_yes_and_no_are_true_and_false_on_a_command_line(text: str, private: bool) -> None:
    assert recipe_from_flags({"source": "a/b", "private": text}).spec.private is private


def test_cards_that_were_never_made_are_answered_with_the_command_that_makes_them(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_from_file(Path("recipes/tiny.yaml"))
    assert review_first(recipe, Path("crads")) == (
        "The folder crads does not exist. Name that of the reviewed cards, or run: mlx-publish run --recipe "
        "recipes/tiny.yaml --into crads; then have them reviewed: mlx-publish review --recipe recipes/tiny.yaml "
        "--cards crads"
    )


def test_review_cards_in_a_repo_without_the_base_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["git", "init", "-q"], cwd=here, check=True)
    assert "git cannot compare with it" in said(capsys, "review-cards", "--base", "no-such-branch")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "smollm2"], "did you mean --recipe smollm2?"),
        (["run", "y" * 5000], "belongs to no flag"),
        (["doctor", "github"], "did you mean --github?"),
        (["version"], "did you mean --version?"),
        (["init", f"{HUB}/acme/Tiny", "--yes", "--namespace", "me"], "mlx-publish init --model acme/Tiny"),
        (["init", "hf.co/acme/Tiny", "--yes", "--namespace", "me"], "mlx-publish init --model acme/Tiny"),
    ],
)
def test_a_word_in_the_wrong_place_is_answered_with_its_flag(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert cli.main(words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in here.iterdir()] == ["recipes"]
