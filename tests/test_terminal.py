"""What a person sees of a whole run: on a terminal, in a log, in a narrow window, in ASCII."""

from __future__ import annotations

import itertools
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
BENCHMARK = re.compile(r"^benchmark .*?(?=^card )", re.MULTILINE | re.DOTALL)


@pytest.fixture
def ada(user: User, tmp_path: Path) -> User:
    """Somebody with a tiny model and two recipes: one passes, of the other two variants are too far away."""
    make_scripted(tmp_path / "m", answer_table())
    destination = "folder:../out/{variant}"
    write_recipe(user.home / "good.yaml", source="../m", to=destination, variants=["8bit", "4bit"])
    limits = {"tokens": 32, "max_mean_kld": 0.00001}
    variants = ["bf16", "4bit", "2bit"]
    write_recipe(user.home / "bad.yaml", source="../m", to=destination, variants=variants, fidelity=limits)
    return user


def settled(text: str, user: User) -> str:
    """Return what is the same in every run."""
    text = BENCHMARK.sub("benchmark ...\n", text.replace(str(user.home.parent), ".."))
    lines = [line for line in text.splitlines() if ": speed: " not in line]
    # Variants are worked on side by side.
    groups = itertools.groupby(lines, lambda line: line.startswith("  ... "))
    text = "\n".join(line for progress, of in groups for line in (sorted(of) if progress else of))
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return re.sub(r" {3,}", "   ", text.replace("─", "")) + "\n"


def run(user: User, recipe: str, *more: str, columns: int = 100, code: int = 0, **environment: str) -> Ended:
    user.more.update(COLUMNS=str(columns), **environment)
    return user.run("publish", "--recipe", recipe, *more, code=code)


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize(("recipe", "code"), [("good.yaml", 0), ("bad.yaml", 1)])
def test_a_whole_run_reads_like_this(
    ada: User, recipe: str, code: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: 0.0))
    out = run(ada, recipe, columns=columns, code=code).out
    golden = GOLDEN / f"{recipe.removesuffix('.yaml')}-{columns}.txt"
    if "MLX_PUBLISH_NEW_GOLDEN" in os.environ:
        golden.write_text(settled(out, ada), encoding="utf-8")
    assert settled(out, ada) == golden.read_text(encoding="utf-8")
    copied = ("  ... ", "Next: mlx", "Next for", "  4bit: ", "  8bit: ", "  bf16: ", "  2bit: ")
    assert [line for line in out.splitlines() if len(line) > columns and not line.startswith(copied)] == []


def test_a_run_with_refused_variants_does_not_look_like_a_good_one(ada: User) -> None:
    out = run(ada, "bad.yaml", code=1).out
    assert re.search(r"^2 of 3 refused: 4bit \(mean KLD 0\.\d+ over the limit 1e-05\), 2bit \(mean KLD", out, re.M)
    assert "passed\n" not in out.rpartition("\n2 of 3 refused")[2]
    assert "Next for 4bit: Take more bits" in out
    assert re.search(r"^ 4bit +refused in fidelity", out, re.M)


def test_quiet_prints_failures_and_the_verdict_and_verbose_every_check(ada: User) -> None:
    quiet = run(ada, "bad.yaml", "--quiet", code=1).out.splitlines()
    assert len([line for line in quiet if line.startswith("  FAIL  mean-kld")]) == 2
    assert [line for line in quiet if line.startswith("2 of 3 refused: ")]
    others = ("inspect", "  ok", "  warn", "  ...", "Next", "    |", "  4bit: ", " variant")
    assert [line for line in quiet if line.startswith(others)] == []
    loud = run(ada, "bad.yaml", "-v", "--force", code=1).out
    assert len(re.findall(r"^  ok ", loud, re.M)) > 40
    assert len(re.findall(r"^  skip ", loud, re.M)) > 1


def test_in_a_job_the_log_holds_everything(ada: User) -> None:
    out = run(ada, "good.yaml", GITHUB_ACTIONS="true").out
    assert re.search(r"^::group::convert  good · 8bit.*: pass \(", out, re.M)
    assert len(re.findall(r"^  ok ", out, re.M)) > 40


def test_every_finding_names_its_variants(ada: User) -> None:
    out = run(ada, "bad.yaml", "-v", code=1).out
    findings = re.findall(r"^  (?:ok|warn|fixed|FAIL|skip) +(.*)$", out, re.M)
    assert len(findings) > 40
    assert [line for line in findings if not re.search(r"\b(bf16|4bit|2bit)\b", line)] == []


def test_ascii_alone_is_readable(ada: User) -> None:
    ada.more.update(COLUMNS="100", PYTHONIOENCODING="ascii", LC_ALL="C")
    ended = ada.run("publish", "--recipe", "bad.yaml", "-v", code=1, through="python")
    assert ended.out.isascii()
    assert "?" not in ended.out
    assert "inspect  bad - bf16, 4bit, 2bit" in ended.out
    assert re.search(r"mean KLD 0\.\d+ \+/- 0\.\d+ nats", ended.text)


def test_json_has_standard_output_to_itself(ada: User) -> None:
    ended = run(ada, "good.yaml", "--json")
    assert ended.out.startswith("{")
    assert ended.out.rstrip().endswith("}")
    assert "all 2 variants passed" in ended.err


@pytest.mark.parametrize("stage", ["inspect", "convert", "smoke", "card"])
def test_a_single_stage_ends_with_a_verdict_and_the_next_command(ada: User, stage: str) -> None:
    lines = ada.run(stage, "--recipe", "good.yaml", "--work", "w w").out.splitlines()
    assert "all 2 variants passed" in lines
    name = "upload" if stage == "card" else "run"
    assert lines[-1] == f"Next: mlx-publish {name} --recipe good.yaml --work 'w w'"


def terminal(user: User, *words: str, columns: int = 100, more: dict[str, str] | None = None) -> tuple[int, str]:
    given = user.environment | {"TERM": "xterm-256color"} | (more or {})
    return on_terminal(user.command(*words), given, user.home, columns)


@pytest.fixture
def watched(ada: User) -> str:
    """A run on a terminal of 80 columns."""
    code, text = terminal(ada, "run", "--recipe", "good.yaml", columns=80)
    assert code == 0, text
    return text


def test_the_line_of_progress_lives_on_a_terminal_and_is_gone_at_the_end(watched: str) -> None:
    live, lines = frames(watched), screen(watched)
    assert len(live) > 3
    assert [line for line in live if len(line) >= 80] == []
    assert {line[2:].split()[0] for line in live} <= {"source", *NAMES}
    assert ERASE in watched
    assert [line for line in lines if line in live or line.startswith("  ... ")] == []
    assert "all 2 variants passed" in lines
    assert lines[-2] == "Next: mlx-publish upload --recipe good.yaml"


def test_our_own_words_alone_have_colours(ada: User, watched: str) -> None:
    assert "\x1b[32mall 2 variants passed\x1b[0m" in watched
    assert re.sub(r"\x1b\[(\d{1,2}(;\d{1,2})*m|2K)", "", watched).count("\x1b") == 0
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        code, text = terminal(ada, "run", "--recipe", "good.yaml", "--force", more={name: value})
        assert code == 0
        assert "\x1b[3" not in text
        assert ("\x1b" in text) == (name == "NO_COLOR")
    ada.more["FORCE_COLOR"] = "1"
    assert "\x1b[32mall 2 variants passed\x1b[0m" in ada.run("run", "--recipe", "good.yaml", through="python").out


def test_no_command_writes_bars_of_libraries(ada: User, watched: str) -> None:
    for text in (watched, run(ada, "good.yaml", "--force").text):
        for word in ("it/s", "B/s]", "█", "Fetching", "Loading weights", "%|", "Some weights"):
            assert word not in text
