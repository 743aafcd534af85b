"""What a person sees of a whole run: on a terminal, in a log, in a narrow window, in ASCII."""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlx_publish.evidence.stages import NAMES
from mlx_publish.stages import runner
from models import answer_table, make_scripted
from pipeline import Ended, User, write_recipe
from recording import ERASE, frames, on_terminal, screen

GOLDEN = Path(__file__).parent / "terminal"
# What is another number in every run: times, and how the machine was.
_VARYING = (
    (re.compile(r"\d+ (checks?( passed| skipped)|skipped)"), r"N \1"),
    (re.compile(r"\d+(\.\d+)?( (of|to) \d+(\.\d+)?)? (kB|MB)\b"), "0.0 kB"),
    (re.compile(r"\b0\.\d{3,}|\b\d(\.\d+)?e-\d+"), "0.000"),
)
# The findings of both stages say how steady the machine was.
MEASURED = re.compile(r"^benchmark .*?^card .*?(?=^  ok )", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory) -> User:
    """Somebody with a tiny model and two recipes: one passes, of the other two variants are too far away."""
    root = tmp_path_factory.mktemp("ada")
    user = User(root / "home")
    make_scripted(root / "m", answer_table())
    destination = "folder:../out/{variant}"
    write_recipe(user.home / "good.yaml", source="../m", to=destination, variants=["8bit", "4bit"])
    limits = {"tokens": 32, "max_mean_kld": 0.00001}
    variants = ["bf16", "4bit", "2bit"]
    write_recipe(user.home / "bad.yaml", source="../m", to=destination, variants=variants, fidelity=limits)
    return user


@pytest.fixture(scope="module")
def watched(ada: User) -> str:
    """A run on a terminal of 80 columns, as the terminal heard it."""
    code, text = terminal(ada, "run", "--recipe", "good.yaml", columns=80)
    assert code == 0, text
    return text


@pytest.fixture(scope="module")
def loud(ada: User) -> str:
    """A run with refused variants that prints every check."""
    return run(ada, "publish", "--recipe", "bad.yaml", "-v", code=1).out


def run(user: User, *words: str, code: int = 0, through: str = "", **environment: str) -> Ended:
    """Run a command with other variables than the user has, by default in a window of 100 columns."""
    there = User(user.home, more={"COLUMNS": "100", **environment})
    return there.run(*words, code=code, through=through)


def terminal(user: User, *words: str, columns: int = 100, more: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command on a terminal; returns its exit code and all that it wrote."""
    given = user.environment | {"TERM": "xterm-256color"} | (more or {})
    return on_terminal(user.command(*words), given, user.home, columns)


def settled(text: str, user: User) -> str:
    """Return what is the same in every run."""
    text = MEASURED.sub("benchmark ...\ncard ...\n", text.replace(str(user.home.parent), ".."))
    lines = [line for line in text.splitlines() if ": speed: " not in line]
    # Variants are worked on side by side.
    groups = itertools.groupby(lines, lambda line: line.startswith("  ... "))
    text = "\n".join(line for progress, of in groups for line in (sorted(of) if progress else of))
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return re.sub(r" {3,}", "   ", text.replace("─", "")) + "\n"


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize(("recipe", "code"), [("good.yaml", 0), ("bad.yaml", 1)])
def test_a_whole_run_reads_like_this(
    ada: User, recipe: str, code: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: 0.0))
    words = ("--recipe", recipe, "--work", f"work{columns}")
    out = run(ada, "publish", *words, code=code, COLUMNS=str(columns)).out
    golden = GOLDEN / f"{recipe.removesuffix('.yaml')}-{columns}.txt"
    if "MLX_PUBLISH_NEW_GOLDEN" in os.environ:
        golden.write_text(settled(out, ada), encoding="utf-8")
    assert settled(out, ada) == golden.read_text(encoding="utf-8")
    copied = ("  ... ", "Next: mlx", "Next for", "  4bit: ", "  8bit: ", "  bf16: ", "  2bit: ")
    assert [line for line in out.splitlines() if len(line) > columns and not line.startswith(copied)] == []


def test_a_run_with_refused_variants_does_not_look_like_a_good_one(loud: str) -> None:
    assert re.search(r"^2 of 3 refused: 4bit \(mean KLD 0\.\d+ over the limit 1e-05\), 2bit \(mean KLD", loud, re.M)
    assert "passed" not in loud.rpartition("\n2 of 3 refused")[2]
    assert "Next for 4bit: Use more bits" in loud
    assert re.search(r"^ 4bit +refused in fidelity", loud, re.M)


def test_every_finding_names_its_variants(loud: str) -> None:
    findings = re.findall(r"^  (?:ok|warn|fixed|FAIL|skip) +(.*)$", loud, re.M)
    assert len(findings) > 40
    assert [line for line in findings if not re.search(r"\b(bf16|4bit|2bit)\b", line)] == []


def test_quiet_prints_failures_and_the_verdict_and_verbose_every_check(ada: User, loud: str) -> None:
    assert len(re.findall(r"^  ok ", loud, re.M)) > 40
    assert len(re.findall(r"^  skip ", loud, re.M)) > 1
    quiet = run(ada, "publish", "--recipe", "bad.yaml", "--quiet", code=1).out.splitlines()
    assert len([line for line in quiet if line.startswith("  FAIL  mean-kld")]) == 2
    assert [line for line in quiet if line.startswith("2 of 3 refused: ")]
    others = ("inspect", "  ok", "  warn", "  ...", "Next", "    |", "  4bit: ", " variant")
    assert [line for line in quiet if line.startswith(others)] == []


def test_in_a_job_the_log_holds_everything(ada: User) -> None:
    out = run(ada, "convert", "--recipe", "good.yaml", "--force", GITHUB_ACTIONS="true").out
    assert re.search(r"^::group::convert  good · 8bit.*: pass \(", out, re.M)
    assert len(re.findall(r"^  ok ", out, re.M)) > 14


def test_ascii_alone_is_readable(ada: User, loud: str) -> None:
    words = ("fidelity", "--recipe", "bad.yaml", "-v", "--force")
    ended = run(ada, *words, code=1, through="python", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert "±" in loud
    assert ended.out.isascii()
    assert "?" not in ended.out
    assert "fidelity  bad - bf16, 4bit, 2bit" in ended.out
    assert re.search(r"mean KLD 0\.\d+ \+/- 0\.\d+ nats", ended.text)


def test_json_has_standard_output_to_itself(ada: User) -> None:
    ended = run(ada, "inspect", "--recipe", "good.yaml", "--json")
    assert set(json.loads(ended.out)) == {"8bit", "4bit"}
    assert "all 2 variants passed" in ended.err


@pytest.mark.parametrize("stage", ["inspect", "convert", "smoke", "card"])
def test_a_single_stage_ends_with_a_verdict_and_the_next_command(ada: User, stage: str) -> None:
    lines = run(ada, stage, "--recipe", "good.yaml", "--work", "w w").out.splitlines()
    assert "all 2 variants passed" in lines
    name = "upload" if stage == "card" else "run"
    assert lines[-1] == f"Next: mlx-publish {name} --recipe good.yaml --work 'w w'"


def test_the_line_of_progress_lives_on_a_terminal_and_is_gone_at_the_end(watched: str) -> None:
    live, lines = frames(watched), screen(watched)
    assert len(live) > 3
    assert [line for line in live if len(line) >= 80] == []
    assert {line[2:].split()[0] for line in live} <= {"source", *NAMES}
    assert ERASE in watched
    assert [line for line in lines if line in live or line.startswith("  ... ")] == []
    assert "all 2 variants passed" in lines
    assert lines[-2] == "Next: mlx-publish upload --recipe good.yaml"


def test_our_own_words_alone_have_colours(watched: str) -> None:
    assert "\x1b[32mall 2 variants passed\x1b[0m" in watched
    assert re.sub(r"\x1b\[(\d{1,2}(;\d{1,2})*m|2K)", "", watched).count("\x1b") == 0


@pytest.mark.parametrize(("name", "value", "live"), [("NO_COLOR", "1", True), ("TERM", "dumb", False)])
def test_a_terminal_without_colours_gets_none(ada: User, name: str, value: str, live: bool) -> None:
    code, text = terminal(ada, "convert", "--recipe", "good.yaml", "--force", more={name: value})
    assert code == 0
    assert ("\x1b" in text) == live
    assert text.replace(ERASE, "").count("\x1b") == 0


def test_colours_can_be_forced_into_a_log(ada: User) -> None:
    ended = run(ada, "inspect", "--recipe", "good.yaml", through="python", FORCE_COLOR="1")
    assert "\x1b[32mall 2 variants passed\x1b[0m" in ended.out
    assert "\x1b" not in run(ada, "inspect", "--recipe", "good.yaml", through="python").out


def test_no_command_writes_bars_of_libraries(watched: str, loud: str) -> None:
    for word in ("it/s", "B/s]", "█", "Fetching", "Loading weights", "%|", "Some weights"):
        assert word not in watched + loud
