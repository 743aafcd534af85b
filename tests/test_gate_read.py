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
            env=user.environment,
            cwd=root,
            check=True,
            timeout=300,
        )
    counted = read_json(root / "counted.json")
    assert counted["code"] == 0, counted["said"]
    outputs = [path.stat().st_size for path in root.glob("work/m/*/model/*.safetensors")]
    assert len(outputs) == len(variants)
    return Read(counted["read"], sum(path.stat().st_size for path in source.glob("*.safetensors")), sum(outputs))


def test_the_source_is_read_twice_whatever_the_number_of_variants(tmp_path: Path) -> None:
    """Some 90 MB are read each time that MLX is started, so that is taken off."""
    two: list[object] = [{"bits": 4}, {"bits": 2}]
    source = make_model(tmp_path / "m", hidden=512, layers=20)
    weights = source.joinpath("model.safetensors").stat().st_size
    one, both = beyond_the_programs(tmp_path, source, two[:1]), beyond_the_programs(tmp_path, source, two)
    told = json.dumps([vars(found) for found in (one, both)])
    assert weights > 35e6, told
    # An output is read for its digest, then once more before it is used, and by smoke and fidelity. That leaves
    # no room for one more reading of the source, for all variants or for one: not by the smoke test either, which
    # wants its answers, nor by fidelity.
    for found in (one, both):
        assert found.read < 2.1 * weights + 4.2 * found.outputs, told
    assert both.read - one.read < 0.2 * weights + 4.2 * (both.outputs - one.outputs), told


def beyond_the_programs(root: Path, source: Path, variants: list[object]) -> Read:
    """What was read of the model: with as many variants of next to nothing, the same programs are started."""
    places = [root / f"{name}-{len(variants)}" for name in ("small", "large")]
    for place in places:
        place.mkdir()
    small = run(places[0], make_model(places[0] / "m"), variants)
    large = run(places[1], source, variants)
    return Read(large.read - small.read, large.source - small.source, large.outputs - small.outputs)
