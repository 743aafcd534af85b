"""How often the source is read: once to judge and convert it, once for its digests, whatever the number of variants."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gate import untouched
from models import make_model
from pipeline import User, read_json, write_recipe

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel counts in /proc/self/io")

# Linux adds what a child has read to its parent once that has waited for it, grandchildren included.
WRAPPER = """
import json, pathlib, subprocess, sys
def read():
    lines = pathlib.Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])
before = read()
done = subprocess.run(sys.argv[2:], capture_output=True, text=True)
pathlib.Path(sys.argv[1]).write_text(json.dumps({"read": read() - before, "code": done.returncode,
                                                 "said": done.stdout + done.stderr}))
"""


@dataclass(frozen=True)
class Read:
    """What one run read, of what size the source is and what it made."""

    read: int
    source: int
    outputs: int


def run(root: Path, source: Path, variants: list[object]) -> Read:
    """Run all until fidelity and count."""
    user = User(root / "home")
    recipe = write_recipe(root / "m.yaml", source=str(source), base_model="a/b", variants=variants)
    words = user.command("run", "--recipe", recipe, "--work", root / "work", "--until", "fidelity")
    with untouched(source):
        subprocess.run(
            [sys.executable, "-c", WRAPPER, str(root / "counted.json"), *words],
            env=user.environment, cwd=root, check=True, timeout=300,
        )  # fmt: skip
    counted = read_json(root / "counted.json")
    assert counted["code"] == 0, counted["said"]
    outputs = [path.stat().st_size for path in root.glob("work/m/*/model/*.safetensors")]
    assert len(outputs) == len(variants)
    return Read(counted["read"], sum(path.stat().st_size for path in source.glob("*.safetensors")), sum(outputs))


def idle(root: Path) -> int:
    """What the programs themselves read, Python's modules above all: the same for a model of next to nothing."""
    return run(root, make_model(root / "m"), [{"bits": 4}]).read


def test_the_source_is_read_about_twice_whatever_the_number_of_variants(tmp_path: Path) -> None:
    source = make_model(tmp_path / "big/m", hidden=512, layers=24)
    for name in ("none", "one", "three"):
        (tmp_path / name).mkdir()
    programs = idle(tmp_path / "none")
    one = run(tmp_path / "one", source, [{"bits": 4}])
    three = run(tmp_path / "three", source, [{"bits": 4}, {"bits": 8}, {"bits": 6}])
    told = json.dumps({"programs": programs, "one": vars(one), "three": vars(three)})
    assert one.source > 35e6, told
    # Of an output are read: its digest after the conversion, before it is used, and its weights by smoke and fidelity.
    assert one.read - programs < 2.1 * one.source + 6 * one.outputs, told
    # The difference is explained by the outputs and by two more children each for smoke and fidelity.
    more = three.read - one.read
    assert more < 0.2 * one.source + 6 * (three.outputs - one.outputs) + 2 * programs, told
    print(told)
