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
    accept = [{"check": one, "reason": "its weights are random"} for one in ("answers", "same-first-choice")]
    ask = {"system": "Be.", "prompt": "Hi", "max_tokens": 4}
    recipe = write_recipe(root / "m.yaml", source=str(source), variants=variants, accept=accept, smoke=ask)
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


def test_the_source_is_read_twice_whatever_the_number_of_variants(tmp_path: Path) -> None:
    """The same run on next to nothing tells what the programs read: some 90 MB each time that MLX is started."""
    three: list[object] = [{"bits": 4}, {"bits": 3}, {"bits": 2}]
    for name in ("small", "one", "three"):
        (tmp_path / name).mkdir()
    source = make_model(tmp_path / "m", hidden=512, layers=20)
    small = run(tmp_path / "small", make_model(tmp_path / "small/m"), three)
    with_one = run(tmp_path / "one", source, three[:1])
    with_three = run(tmp_path / "three", source, three)
    told = json.dumps([vars(found) for found in (small, with_one, with_three)])
    assert with_three.source > 35e6, told
    # An output is read for its digest, then once more before it is used, and by smoke and fidelity. That leaves
    # no room for one more reading of the source, for all variants or for one.
    assert with_three.read - small.read < 2.1 * with_three.source + 4.2 * (with_three.outputs - small.outputs), told
    # Two more children for each variant beyond the first: half of the eight.
    more = with_three.read - with_one.read - small.read / 2
    assert more < 0.2 * with_three.source + 4.2 * (with_three.outputs - with_one.outputs), told
    assert with_one.read - small.read / 2 < 2.3 * with_one.source + 4.2 * with_one.outputs, told
