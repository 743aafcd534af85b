"""The child process from outside: what it is given, what is made of its answer and of its death."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Program
from mlx_publish.children import engine as process
from mlx_publish.children import environment, limits
from mlx_publish.children import jobs as child
from mlx_publish.children.engine import Children
from mlx_publish.children.environment import fast_blas
from mlx_publish.children.jobs import Bounds, Job, run_job, run_jobs
from mlx_publish.children.worker import Ended
from mlx_publish.errors import BadInput, Bug, Interrupted, PublishError, Refused, SurroundingsError
from mlx_publish.machine import resources
from mlx_publish.machine.resources import side_by_side
from mlx_publish.text.progress import Step


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("smoke", {"folder": "x"}, tmp_path / "logs" / "smoke.log", Bounds(30))


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Progress, on a machine that seems to have mlx-lm."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    return []


def answer(kind: str = "", **more: Any) -> dict[str, Any]:
    words = {"message": "it broke", "remedy": "Mend it.", "check": "converts", "place": ["", 0]}
    return {"ok": not kind, "kind": kind, **words} | more


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


def test_bad_input_that_the_child_finds_keeps_its_file_and_its_key(job: Job) -> None:
    with pytest.raises(BadInput) as caught:
        child._unpack(answer("BadInput", place=["plan.yaml", 7], key="modules.model.norm"), job)
    assert str(caught.value) == "plan.yaml:7: modules.model.norm: it broke"
    assert caught.value.remedy == "Mend it."


def test_where_there_is_no_remedy_the_log_is_named(job: Job) -> None:
    with pytest.raises(Bug) as caught:
        child._unpack(answer("Bug", remedy=""), job)
    assert caught.value.remedy == f"See the log: {job.log}."


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (-signal.SIGINT, Interrupted, "smoke was interrupted"),
        (130, Interrupted, "smoke was interrupted"),
        (-signal.SIGABRT, SurroundingsError, "smoke was killed by signal 6 twice: [METAL] out of memory"),
        (-signal.SIGKILL, SurroundingsError, "smoke was killed by signal 9 twice: [METAL] out of memory"),
        (limits.STOPPED, Interrupted, "smoke was stopped with the others"),
        (limits.TOO_LONG, Bug, "smoke wrote more than a result can contain"),
        (limits.GARBLED, Bug, "smoke did not write a valid result"),
        (0, Bug, "smoke exited with code 0 and no result: [METAL] out of memory"),
        (1, Bug, "smoke exited with code 1 and no result: [METAL] out of memory"),
    ],
)
def test_how_a_child_died(job: Job, code: int, error: type[PublishError], words: str) -> None:
    job.log.parent.mkdir()
    job.log.write_bytes(b"first \xff\n[METAL] out of memory\n\n")
    died = child._died(Ended(code), job)
    assert (type(died), died.message) == (error, words)


def test_a_child_that_said_nothing(job: Job) -> None:
    job.log.parent.mkdir()
    job.log.touch()
    assert child._died(Ended(1), job).message == "smoke exited with code 1 and no result"


def test_the_child_gets_no_token_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HF_READ_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "PIP_INDEX_URL", "COLOUR"):
        monkeypatch.setenv(name, "a-secret-value")
    variables = process.environment(tmp_path, 1)
    assert "a-secret-value" not in variables.values()
    assert (variables["HF_HUB_OFFLINE"], variables["TRANSFORMERS_OFFLINE"]) == ("1", "1")
    assert variables["CUDA_CACHE_PATH"] == str(environment.kernels() / "cuda")
    assert os.environ["HF_TOKEN"] == "a-secret-value"


def test_kernels_of_before_are_found_in_a_folder_that_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_PUBLISH_CACHE", str(tmp_path / "cache"))
    environment.kernels.cache_clear()
    try:
        (tmp_path / "child").mkdir()
        cache = Path(process.environment(tmp_path / "child", 1)["TMPDIR"]) / "mlx"
        assert cache.resolve() == tmp_path / "cache/kernels"
        assert cache.resolve().stat().st_mode & 0o777 == 0o700
    finally:
        environment.kernels.cache_clear()


def test_a_kernel_that_somebody_planted_in_tmpdir_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / "tmp" / "mlx" / "0.32.4" / "cpu"
    planted.mkdir(parents=True)
    (planted / "kernel_contiguous.so").write_bytes(b"theirs")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("MLX_PUBLISH_CACHE", str(tmp_path / "cache"))
    environment.kernels.cache_clear()
    try:
        temporary = Path(seen_by_a_child(tmp_path)["TMPDIR"])
        assert list(temporary.rglob("*.so")) == list((temporary / "mlx").resolve().rglob("*.so")) == []
    finally:
        environment.kernels.cache_clear()


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
        variables = seen_by_a_child(tmp_path, at_once)
        assert (variables["LD_PRELOAD"], variables["OPENBLAS_NUM_THREADS"]) == (str(library), threads)


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
    size = resources.memory_bytes()
    assert type(size) is int
    assert size > 1 << 28


def test_without_mlx_lm_it_is_said_what_to_install(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SurroundingsError, match="needs mlx-lm") as caught:
        run_job(job, print)
    assert "pip install" in caught.value.remedy
    assert not job.log.exists()


DONE = """echo '{"done": {"ok": true, "again": true, "result": {"a": 1}}}'"""


def test_progress_and_answer_come_line_by_line_and_what_is_printed_goes_to_the_log(
    job: Job, messages: list[str | Step], program: Program
) -> None:
    program(f"""read -r order; echo '{{"ok": false}}' >&2; echo '{{"said": "loading"}}'; sleep 0.4
        echo "$order" | grep -q '"op": "smoke"' && {DONE}; sleep 60""")
    assert run_job(job, messages.append) == {"a": 1}
    assert job.log.read_text() == '{"ok": false}\n'
    assert messages == ["loading"]


def test_a_killed_child_is_started_once_more(
    job: Job, messages: list[str | Step], program: Program, tmp_path: Path
) -> None:
    program(f"echo x >> {tmp_path}/starts; kill -9 $$")
    with pytest.raises(SurroundingsError, match="killed by signal 9 twice"):
        run_job(job, messages.append)
    assert messages == [Step("smoke was killed by signal 9; retrying", stays=True)]
    assert (tmp_path / "starts").read_text() == "x\nx\n"


def test_a_child_that_ends_by_itself_is_not_started_again(
    job: Job, messages: list[str | Step], program: Program, tmp_path: Path
) -> None:
    program(f"echo x >> {tmp_path}/starts; echo no module >&2; exit 1")
    with pytest.raises(Bug, match="exited with code 1 and no result: no module"):
        run_job(job, messages.append)
    assert (messages, (tmp_path / "starts").read_text()) == ([], "x\n")


def test_a_child_over_its_limit_is_ended_with_all_that_it_started(
    job: Job, messages: list[str | Step], program: Program, tmp_path: Path
) -> None:
    program(f"sleep 60 & echo $! > {tmp_path}/grandchild; wait")
    with pytest.raises(SurroundingsError, match="smoke was stopped after 0 s") as caught:
        run_job(Job(job.op, job.arguments, job.log, Bounds(0.3)), messages.append)
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


EACH = r"""echo x >> STARTS
while read -r order; do
    op=$(echo "$order" | sed "s/.*\"op\": \"\([a-z]*\)\".*/\1/"); [ $op = a ] && sleep 0.2
    [ $op = bad ] && exit 3
    [ $op = crash ] && [ ! -e CRASHED ] && : > CRASHED && kill -9 $$
    [ $op = long ] && sleep 60
    again=true; [ $op = last ] && again=false
    echo "{\"done\": {\"ok\": true, \"again\": $again, \"result\": {\"op\": \"$op\"}}}"
done
"""


@pytest.fixture
def starts(program: Program, messages: list[str | Step], tmp_path: Path) -> Callable[[], int]:
    """A child that does one job after the other; how often one was started."""
    path = tmp_path / "starts"
    program(EACH.replace("STARTS", str(path)).replace("CRASHED", str(tmp_path / "crashed")))
    return lambda: path.read_text().count("x")


def jobs(tmp_path: Path, children: Children | None, *ops: str) -> list[Job]:
    return [Job(op, {}, tmp_path / f"{number}.log", Bounds(30), children) for number, op in enumerate(ops)]


def test_jobs_side_by_side_keep_their_order(
    starts: Callable[[], int], messages: list[str | Step], tmp_path: Path
) -> None:
    for at_once in (1, 3):
        results = run_jobs(jobs(tmp_path, None, *"abc"), messages.append, at_once=at_once)
        assert [result["op"] for result in results] == ["a", "b", "c"]
    assert starts() == 6


def test_no_job_outlives_the_first_that_fails(
    starts: Callable[[], int], messages: list[str | Step], tmp_path: Path
) -> None:
    start = time.monotonic()
    with pytest.raises(Bug, match="bad exited with code 3"):
        run_jobs(jobs(tmp_path, None, "bad", "long"), messages.append, at_once=2)
    assert time.monotonic() - start < 10


def test_one_child_does_the_jobs_of_a_run_and_two_do_those_side_by_side(
    starts: Callable[[], int], messages: list[str | Step], tmp_path: Path
) -> None:
    with Children() as children:
        assert [run_job(job, messages.append)["op"] for job in jobs(tmp_path, children, "b", "c")] == ["b", "c"]
        assert starts() == 1
        for _ in range(2):
            run_jobs(jobs(tmp_path, children, "a", "b", "c"), messages.append, at_once=9)
        assert starts() == 2


def test_what_is_measured_is_measured_in_a_process_of_its_own_and_nobody_waits_meanwhile(
    starts: Callable[[], int], messages: list[str | Step], tmp_path: Path
) -> None:
    with Children() as children:
        first, *more = jobs(tmp_path, children, "b", "benchmark", "benchmark")
        run_job(first, messages.append)
        [waiting] = children._waiting
        for job in more:
            run_job(job, messages.append)
        assert not waiting.worker.lives()
        assert starts() == 2


HOLDING = r"""echo x >> STARTS
while read -r order; do
    model=$(echo "$order" | sed "s/.*\"model\": \"\([a-z0-9]*\)\".*/\1/"); held=$model
    echo "$order" | grep -q '"keeps": true' || held=
    echo "{\"done\": {\"ok\": true, \"again\": true, \"holds\": \"$held\", \"result\": {\"by\": $$}}}"
done
"""


def test_a_child_with_a_model_does_the_jobs_with_this_model_and_no_other(
    program: Program, messages: list[str | Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PEAK_ANEW", True)
    program(HOLDING.replace("STARTS", str(tmp_path / "starts")))
    with Children() as children:

        def by(op: str, model: str = "", *, keeps: bool = False) -> int:
            job = Job(op, {}, tmp_path / "log", Bounds(30), children, model=model, keeps=keeps)
            return int(run_job(job, messages.append)["by"])

        plain = by("chat")
        first, second = by("answers", "4bit", keeps=True), by("answers", "8bit", keeps=True)
        assert len({plain, first, second}) == 3, "memory is measured later, so it is no child that did something else"
        assert by("reference") == plain
        assert (by("compare", "8bit", keeps=True), by("compare", "4bit", keeps=True)) == (second, first)
        assert by("benchmark", "4bit") == first
        assert [waiting.model for waiting in children._waiting] == ["8bit", ""]
        assert by("benchmark", "8bit") == second
        assert len(children._waiting) == 1, "nobody waits without a model while one measures"
        assert (tmp_path / "starts").read_text().count("x") == 3


def test_where_a_peak_cannot_be_counted_anew_a_benchmark_has_a_child_of_its_own(
    program: Program, messages: list[str | Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PEAK_ANEW", False)
    program(HOLDING.replace("STARTS", str(tmp_path / "starts")))
    with Children() as children:
        for op, keeps in (("chat", False), ("answers", True), ("compare", True), ("benchmark", False)):
            job = Job(op, {}, tmp_path / "log", Bounds(30), children, model="4bit", keeps=keeps)
            run_job(job, messages.append)
        assert (tmp_path / "starts").read_text().count("x") == 2
        assert len(children._waiting) == 1


def test_children_for_models_are_started_ahead_and_not_twice(
    program: Program, messages: list[str | Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PEAK_ANEW", True)
    program(HOLDING.replace("STARTS", str(tmp_path / "starts")))
    with Children() as children:
        children.start_clean("answers", 1)
        children.start_clean("answers", 2)
        jobs = [
            Job("answers", {}, tmp_path / f"{model}.log", Bounds(30), children, model=model, keeps=True)
            for model in ("4bit", "8bit")
        ]
        run_jobs(jobs, messages.append, at_once=2)
        assert (tmp_path / "starts").read_text().count("x") == 2


def test_after_a_crash_a_new_child_does_the_job(
    starts: Callable[[], int], messages: list[str | Step], tmp_path: Path
) -> None:
    with Children() as children:
        results = [run_job(job, messages.append)["op"] for job in jobs(tmp_path, children, "b", "crash", "c")]
    assert results == ["b", "crash", "c"]
    assert messages == [Step("crash was killed by signal 9; retrying", stays=True)]
    assert starts() == 2


@pytest.mark.parametrize("how", ["it says so", "its job fails", "it holds too much", "it died meanwhile"])
def test_a_child_that_is_no_good_any_more_does_no_other_job(
    starts: Callable[[], int], messages: list[str | Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    with Children() as children:
        first, second = jobs(tmp_path, children, {"it says so": "last", "its job fails": "bad"}.get(how, "b"), "b")
        with contextlib.suppress(Bug):
            run_job(first, messages.append)
        if how == "it holds too much":
            monkeypatch.setattr("mlx_publish.children.process.resident", lambda _: process.MOST_KEPT_BYTES + 1)
        if how == "it died meanwhile":
            children._waiting[0].worker._process.kill()
            children._waiting[0].worker._process.wait()
        assert run_job(second, messages.append) == {"op": "b"}
        assert starts() == 2


def test_a_child_started_ahead_does_the_job_that_comes(
    starts: Callable[[], int], messages: list[str | Step], tmp_path: Path
) -> None:
    with Children() as children:
        for _ in range(2):
            children.start("smoke")
        [job] = jobs(tmp_path, children, "smoke")
        assert run_job(job, messages.append) == {"op": "smoke"}
        assert starts() == 1


def test_children_that_nobody_took_are_ended(job: Job, messages: list[str | Step], program: Program) -> None:
    program("sleep 60")
    children = Children()
    children.start("smoke")
    [waiting] = children._waiting
    children.end()
    assert not waiting.worker.lives()
    assert messages == []


def test_without_mlx_lm_none_is_started_ahead(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    children = Children()
    children.start("smoke")
    assert not children._waiting
    assert not job.log.exists()


def test_an_unknown_operation_is_a_bug(job: Job, messages: list[str | Step]) -> None:
    with pytest.raises(Bug, match="KeyError: 'dance'"):
        run_job(Job("dance", {}, job.log), messages.append)
    assert "KeyError" in job.log.read_text()


def test_bad_input_that_names_no_file_cannot_come_from_a_child(job: Job) -> None:
    with pytest.raises(PublishError) as caught:
        child._unpack(answer("BadInput"), job)
    assert not isinstance(caught.value, BadInput)
