"""The child process from outside: what it is given, what is made of its answer and of its death."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import Program
from mlx_publish.children import engine as process
from mlx_publish.children import jobs as child
from mlx_publish.children import private
from mlx_publish.children.engine import Children
from mlx_publish.children.environment import fast_blas
from mlx_publish.children.jobs import Bounds, Job, run_job, run_jobs
from mlx_publish.errors import BadInput, Bug, Interrupted, PublishError, Refused, SurroundingsError
from mlx_publish.machine import resources
from mlx_publish.machine.resources import side_by_side


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("smoke", {"folder": "x"}, tmp_path / "logs" / "smoke.log", Bounds(30))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Progress, on a machine that seems to have mlx-lm."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    return []


def answer(kind: str = "", **more: Any) -> dict[str, Any]:
    return {"ok": not kind, "kind": kind, "message": "it broke", "remedy": "Mend it.", "check": "converts"} | more


def test_a_result_is_handed_on(job: Job) -> None:
    assert child._unpack({"ok": True, "result": {"a": 1}}, job) == {"a": 1}


@pytest.mark.parametrize(
    ("kind", "error"),
    [("Refused", Refused), ("SurroundingsError", SurroundingsError), ("Bug", Bug), ("PublishError", Bug), ("X", Bug)],
)
def test_an_error_of_the_child_is_raised_here(job: Job, kind: str, error: type[PublishError]) -> None:
    with pytest.raises(error) as caught:
        child._unpack(answer(kind), job)
    assert type(caught.value) is error
    assert (caught.value.message, caught.value.remedy) == ("it broke", "Mend it.")
    if isinstance(caught.value, Refused):
        assert caught.value.check == "converts"


def test_where_there_is_no_remedy_the_log_is_named(job: Job) -> None:
    with pytest.raises(Bug) as caught:
        child._unpack(answer("Bug", remedy=""), job)
    assert caught.value.remedy == f"Its log is {job.log}."


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (-signal.SIGINT, Interrupted, "smoke was interrupted"),
        (130, Interrupted, "smoke was interrupted"),
        (-signal.SIGABRT, SurroundingsError, "smoke died twice of signal 6: [METAL] out of memory"),
        (-signal.SIGKILL, SurroundingsError, "smoke died twice of signal 9: [METAL] out of memory"),
        (0, Bug, "smoke ended with 0 and no result: [METAL] out of memory"),
        (1, Bug, "smoke ended with 1 and no result: [METAL] out of memory"),
    ],
)
def test_how_a_child_died(job: Job, code: int, error: type[PublishError], words: str) -> None:
    job.log.parent.mkdir()
    job.log.write_bytes(b"first \xff\n[METAL] out of memory\n\n")
    found = child._died(code, job)
    assert (type(found), found.message) == (error, words)


def test_a_child_that_said_nothing(job: Job) -> None:
    job.log.parent.mkdir()
    job.log.touch()
    assert child._died(1, job).message == "smoke ended with 1 and no result"


def test_the_child_gets_no_token_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HF_READ_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "PIP_INDEX_URL", "COLOUR"):
        monkeypatch.setenv(name, "a-secret-value")
    found = process.environment(tmp_path, 1)
    assert "a-secret-value" not in found.values()
    assert (found["HF_HUB_OFFLINE"], found["TRANSFORMERS_OFFLINE"]) == ("1", "1")
    assert os.environ["HF_TOKEN"] == "a-secret-value"


def test_kernels_of_before_are_found_in_a_folder_that_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_PUBLISH_CACHE", str(tmp_path / "cache"))
    private.kernels.cache_clear()
    try:
        (tmp_path / "child").mkdir()
        found = Path(process.environment(tmp_path / "child", 1)["TMPDIR"]) / "mlx"
        assert found.resolve() == tmp_path / "cache/kernels"
        assert found.resolve().stat().st_mode & 0o777 == 0o700
    finally:
        private.kernels.cache_clear()


def test_a_kernel_that_somebody_planted_in_tmpdir_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / "tmp" / "mlx" / "0.32.4" / "cpu"
    planted.mkdir(parents=True)
    (planted / "kernel_contiguous.so").write_bytes(b"theirs")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("MLX_PUBLISH_CACHE", str(tmp_path / "cache"))
    private.kernels.cache_clear()
    try:
        seen = Path(seen_by_a_child(tmp_path)["TMPDIR"])
        assert list(seen.rglob("*.so")) == list((seen / "mlx").resolve().rglob("*.so")) == []
    finally:
        private.kernels.cache_clear()


def seen_by_a_child(folder: Path, at_once: int = 1) -> dict[str, str]:
    return process.environment(Path(tempfile.mkdtemp(dir=folder)), at_once)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    path = tmp_path / "libopenblas.so.0"
    monkeypatch.setenv("MLX_PUBLISH_BLAS", str(path))
    return path


def test_a_library_is_loaded_only_where_it_is(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fast_blas() is None
    assert "LD_PRELOAD" not in seen_by_a_child(tmp_path)
    library.touch()
    assert fast_blas() == library
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for at_once, threads in ((1, "8"), (3, "2"), (99, "1")):
        found = seen_by_a_child(tmp_path, at_once)
        assert (found["LD_PRELOAD"], found["OPENBLAS_NUM_THREADS"]) == (str(library), threads)


def test_no_library_is_loaded_where_none_is_wanted(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.touch()
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert fast_blas() is None
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setenv("LD_PRELOAD", "/lib/other.so")
    assert fast_blas() is None
    assert seen_by_a_child(tmp_path)["LD_PRELOAD"] == "/lib/other.so"
    monkeypatch.delenv("LD_PRELOAD")
    monkeypatch.setenv("MLX_PUBLISH_BLAS", "")
    assert fast_blas() is None


@pytest.mark.parametrize(
    ("system", "count", "cores", "each", "together"),
    [
        ("Darwin", 4, 8, 1, 1),
        ("Linux", 4, 8, 1, 4),
        ("Linux", 4, 2, 1, 2),
        ("Linux", 4, 8, 25, 2),
        ("Linux", 4, 8, 999, 1),
        ("Linux", 4, 8, 0, 4),
        ("Linux", 0, 8, 1, 1),
    ],
)
def test_how_many_at_once(
    monkeypatch: pytest.MonkeyPatch, system: str, count: int, cores: int, each: int, together: int
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(resources, "memory_bytes", lambda: 100)
    assert side_by_side(count, each) == together


def test_memory_is_in_whole_bytes() -> None:
    found = resources.memory_bytes()
    assert type(found) is int
    assert found > 1 << 28


def test_without_mlx_lm_it_is_said_what_to_install(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SurroundingsError, match="needs mlx-lm") as caught:
        run_job(job, print)
    assert "pip install" in caught.value.remedy
    assert not job.log.exists()


def test_the_answer_comes_by_the_file_and_what_is_printed_goes_to_the_log(
    job: Job, said: list[str], program: Program
) -> None:
    program(
        'echo "{\\"ok\\": false}"; echo loading > "$folder/progress"; sleep 0.4\n'
        'grep -q \'"op": "smoke"\' "$folder/job.json" && echo "{\\"ok\\": true, \\"result\\": {\\"a\\": 1}}"'
        ' > "$folder/result.json"'
    )
    assert run_job(job, said.append) == {"a": 1}
    assert job.log.read_text() == '{"ok": false}\n'
    assert [text.strip() for text in said] == ["loading"]


def test_a_killed_child_is_started_once_more(job: Job, said: list[str], program: Program, tmp_path: Path) -> None:
    program(f"echo x >> {tmp_path}/starts; kill -9 $$")
    with pytest.raises(SurroundingsError, match="died twice of signal 9"):
        run_job(job, said.append)
    assert said == ["smoke died of signal 9; once more"]
    assert (tmp_path / "starts").read_text() == "x\nx\n"


def test_a_child_that_ends_by_itself_is_not_started_again(
    job: Job, said: list[str], program: Program, tmp_path: Path
) -> None:
    program(f"echo x >> {tmp_path}/starts; echo no module; exit 1")
    with pytest.raises(Bug, match="ended with 1 and no result: no module"):
        run_job(job, said.append)
    assert (said, (tmp_path / "starts").read_text()) == ([], "x\n")


def test_a_child_over_its_limit_is_ended_with_all_that_it_started(
    job: Job, said: list[str], program: Program, tmp_path: Path
) -> None:
    program(f"sleep 60 & echo $! > {tmp_path}/grandchild; wait")
    with pytest.raises(SurroundingsError, match="smoke was ended after 0 s") as caught:
        run_job(Job(job.op, job.arguments, job.log, Bounds(0.3)), said.append)
    assert str(job.log) in caught.value.remedy
    assert gone(int((tmp_path / "grandchild").read_text()))


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet is a zombie."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_jobs_side_by_side_keep_their_order(said: list[str], program: Program, tmp_path: Path) -> None:
    program('op=$(sed "s/.*\\"op\\": \\"\\([a-z]*\\)\\".*/\\1/" "$folder/job.json"); [ $op = a ] && sleep 0.2\n'
            'echo "{\\"ok\\": true, \\"result\\": {\\"op\\": \\"$op\\"}}" > "$folder/result.json"')  # fmt: skip
    jobs = [Job(op, {}, tmp_path / f"{op}.log") for op in "abc"]
    for at_once in (1, 3):
        assert [result["op"] for result in run_jobs(jobs, said.append, at_once=at_once)] == ["a", "b", "c"]


def test_no_job_outlives_the_first_that_fails(said: list[str], program: Program, tmp_path: Path) -> None:
    program('grep -q \'"op": "bad"\' "$folder/job.json" && exit 3; sleep 60')
    start = time.monotonic()
    with pytest.raises(Bug, match="bad ended with 3"):
        run_jobs([Job(op, {}, tmp_path / f"{op}.log") for op in ("bad", "good")], said.append, at_once=2)
    assert time.monotonic() - start < 10


def test_a_child_started_ahead_does_the_job_that_comes(
    job: Job, said: list[str], program: Program, tmp_path: Path
) -> None:
    program(f'echo x >> {tmp_path}/starts; until [ -f "$folder/job.json" ]; do sleep 0.02; done\n'
            'grep -q \'"folder": "x"\' "$folder/job.json" && echo "{\\"ok\\": true, \\"result\\": {\\"a\\": 1}}"'
            ' > "$folder/result.json"')  # fmt: skip
    children = Children()
    for _ in range(2):
        children.start("smoke")
    ready = children.take("smoke")
    assert ready is not None
    assert children.take("smoke") is None
    assert run_job(dataclasses.replace(job, child=ready), said.append) == {"a": 1}
    assert (tmp_path / "starts").read_text() == "x\n"


def test_a_child_that_died_before_its_job_came_is_replaced(
    job: Job, said: list[str], program: Program, tmp_path: Path
) -> None:
    program(f'echo x >> {tmp_path}/starts; [ -f "$folder/job.json" ] || exit 1\n'
            'echo "{\\"ok\\": true, \\"result\\": {}}" > "$folder/result.json"')  # fmt: skip
    children = Children()
    children.start("smoke")
    ready = children.take("smoke")
    assert ready is not None
    ready.process.wait()
    assert run_job(dataclasses.replace(job, child=ready), said.append) == {}
    assert (tmp_path / "starts").read_text() == "x\nx\n"


def test_children_that_nobody_took_are_ended(job: Job, said: list[str], program: Program) -> None:
    program("sleep 60")
    children = Children()
    children.start("smoke")
    pid = children._waiting["smoke"].process.pid
    children.end()
    assert gone(pid)
    assert said == []


def test_without_mlx_lm_none_is_started_ahead(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    children = Children()
    children.start("smoke")
    assert children.take("smoke") is None
    assert not job.log.exists()


def test_an_unknown_operation_is_a_bug(job: Job, said: list[str]) -> None:
    with pytest.raises(Bug, match="KeyError: 'dance'"):
        run_job(Job("dance", {}, job.log), said.append)
    assert "KeyError" in job.log.read_text()


def test_bad_input_cannot_come_from_a_child(job: Job) -> None:
    with pytest.raises(PublishError) as caught:
        child._unpack(answer("BadInput"), job)
    assert not isinstance(caught.value, BadInput)
