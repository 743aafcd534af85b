"""A child and its parent: orders and answers line by line, bounds on both, and nothing that outlives either."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.children.environment import of_a_child
from mlx_publish.children.limits import GARBLED, OUT_OF_MEMORY, STOPPED, TOO_LONG, TOO_SLOW
from mlx_publish.children.process import python
from mlx_publish.children.worker import Bounds, Ended, Worker
from mlx_publish.text.temporary import TemporaryFolder
from pipeline import ROOT, wait_for

CHILD = f"""
import os, sys, time
sys.path.insert(1, {str(ROOT / "scripts")!r})
from mlx_publish.children.serving import serve

def do(order, tell):
    print("to the log")
    exec(order["code"], {{"tell": tell, "order": order, "os": os, "time": time, "sys": sys}})
    sys.stdout.flush()
    return order["code"]

serve(do)
"""
Start = Callable[[], Worker]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def start(tmp_path: Path, log: Path) -> Iterator[Start]:
    """Start a child that runs what it is ordered to."""
    (tmp_path / "child.py").write_text(CHILD)
    started: list[Worker] = []

    def make() -> Worker:
        aside = TemporaryFolder()
        started.append(Worker(aside, python("child", root=tmp_path), of_a_child(aside.path), log))
        return started[-1]

    yield make
    for worker in started:
        worker.end()
        assert not worker._aside.path.exists()


def run(worker: Worker, code: str, seconds: float = 30, stop: threading.Event | None = None, **more: Any) -> list[Any]:
    heard: list[Any] = []
    assert worker.do({"code": code}, Bounds(seconds, **more), heard.append, stop) == code
    return heard


def ended(worker: Worker, code: str, **more: Any) -> int:
    with pytest.raises(Ended) as caught:
        run(worker, code, **more)
    return caught.value.code


def test_one_child_does_many_orders_and_tells_how_they_go(start: Start, log: Path) -> None:
    worker = start()
    assert run(worker, "tell('half'); tell({'a': [1, None, '\\ud800']})") == ["half", {"a": [1, None, "\ud800"]}]
    assert run(worker, "tell(len(order['code']))" + " " * 10**6) == [10**6 + 24]
    assert run(worker, "tell('x' * 10**6)") == ["x" * 10**6]
    assert log.read_text() == "to the log\n" * 3


def test_what_a_library_or_a_program_prints_is_no_answer(start: Start, log: Path) -> None:
    lie = '{"done": "a lie"}'
    assert run(start(), f"print({lie!r}, flush=True); os.system('''echo '{lie}' ''')") == []
    assert log.read_text().count("a lie") == 2


def test_the_pipes_are_shown_to_nobody_else(start: Start) -> None:
    code = "tell(os.popen('read line && echo an order; ls /proc/self/fd | wc -l').read().split())"
    [shown] = run(start(), code)
    assert "order" not in shown


@pytest.mark.parametrize(
    ("code", "more", "how"),
    [
        ("time.sleep(60)", {"seconds": 0.5}, TOO_SLOW),
        ("while True: tell('x')", {"seconds": 1}, TOO_SLOW),
        ("while True: pass", {"seconds": 0.5}, TOO_SLOW),
        ("while True: tell('x' * 1000)", {"written_bytes": 10**6}, TOO_LONG),
        ("x = 'x' * 10**8; time.sleep(60)", {"memory_bytes": 50 * 10**6}, OUT_OF_MEMORY),
        ("os.kill(os.getpid(), 11)", {}, -signal.SIGSEGV),
        ("os._exit(7)", {}, 7),
        ("raise KeyError('ours')", {}, 1),
        ("raise KeyboardInterrupt", {}, 130),
    ],
)
def test_whatever_ends_it_has_a_code(start: Start, code: str, more: dict[str, Any], how: int) -> None:
    begun = time.monotonic()
    assert ended(start(), code, **more) == how
    assert time.monotonic() - begun < 20


def test_it_is_ended_with_others(start: Start) -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    assert ended(start(), "time.sleep(60)", stop=stop) == STOPPED


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[1]", "{}", '{"done": 1, "said": 2}', "3", '{"done": NaN', '{"done": ' + "[" * 999 + "]" * 999 + "}"],
)
def test_a_line_that_is_none_of_ours_ends_it(tmp_path: Path, log: Path, line: str) -> None:
    aside = TemporaryFolder()
    (tmp_path / "line").write_text(line + "\n")
    with Worker(
        aside, ["/bin/sh", "-c", f"cat {tmp_path}/line; sleep 60"], {"PATH": os.environ["PATH"]}, log
    ) as worker:
        with pytest.raises(Ended) as caught:
            worker.do({}, Bounds(30))
        assert caught.value.code == GARBLED


def test_an_order_that_nobody_reads_is_given_up_in_time(log: Path) -> None:
    with Worker(TemporaryFolder(), ["/bin/sleep", "60"], {}, log) as worker, pytest.raises(Ended) as caught:
        worker.do({"long": "x" * 10**7}, Bounds(0.5))
    assert caught.value.code == TOO_SLOW


def test_a_child_that_left_others_behind_has_ended(log: Path) -> None:
    with Worker(TemporaryFolder(), ["/bin/sh", "-c", "sleep 60 & exit 5"], {}, log) as worker:
        with pytest.raises(Ended) as caught:
            worker.do({}, Bounds(30))
        assert caught.value.code == 5


@pytest.mark.parametrize("code", ["time.sleep(60)", "while True: pass", "while True: tell('x')"])
def test_it_ends_with_its_parent_also_in_the_midst_of_an_order(start: Start, tmp_path: Path, code: str) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    writes = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))"
    order = json.dumps({"code": f"{writes}\n{code}"}).encode() + b"\n"
    words = python("child", root=tmp_path)
    parent = f"""
import subprocess, sys, time
child = subprocess.Popen({words!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write({order!r}); child.stdin.flush()
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    pid = int((tmp_path / "pid").read_text())

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"

    wait_for(gone, 10)


def test_what_it_wrote_before_it_died_is_heard_though_it_reads_no_order(log: Path) -> None:
    aside = TemporaryFolder()
    words = ["sh", "-c", """echo '{"said": "first"}'; echo '{"said": "second"}'; exit 3"""]
    with Worker(aside, words, of_a_child(aside.path), log) as worker:
        wait_for(lambda: not worker.lives())
        heard: list[Any] = []
        with pytest.raises(Ended) as caught:
            worker.do({}, Bounds(10), heard.append)
        assert caught.value.code == 3
        assert heard == ["first", "second"]
