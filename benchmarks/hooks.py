"""All hooks on 200 files and on one, and what their imports take.

    python benchmarks/hooks.py [--files N] [--rounds N]

makes a work tree of recipes, cards and small files of models, runs each hook as pre-commit does, and prints tables in
Markdown. Times are the best of the rounds, for whatever else the machine does only adds to them.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hook_trees import make_tree

ROOT = Path(__file__).parents[1]
AIM_MANY, AIM_ONE = 0.4, 0.25
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")
# What is worth a column of its own: it takes long, and not every hook needs it.
WATCHED = ("pydantic", "jinja2", "yaml", "rich", "huggingface_hub", "mlx_publish.checks")


@dataclass(frozen=True)
class Row:
    """What one hook takes, in seconds."""

    hook: str
    files: int
    many: float
    one: float


def seconds(tree: Path, hook: str, files: Sequence[Path], rounds: int) -> float:
    """The best time of several runs. `RuntimeError` where the hook finds anything."""
    command = [sys.executable, "-m", "mlx_publish", "hook", hook, *(str(path.relative_to(tree)) for path in files)]
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        done = subprocess.run(command, cwd=tree, env=environment(), capture_output=True, text=True, check=False)
        best = min(best, time.perf_counter() - start)
        if done.returncode:
            raise RuntimeError(f"{hook} ended with {done.returncode}:\n{(done.stdout + done.stderr)[:2000]}")
    return best


def imports(tree: Path, hook: str, files: Sequence[Path]) -> tuple[int, Mapping[str, int]]:
    """Milliseconds of all imports, and of those that are watched with what they bring along."""
    command = [sys.executable, "-X", "importtime", "-m", "mlx_publish", "hook", hook]
    command += [str(path.relative_to(tree)) for path in files]
    said = subprocess.run(command, cwd=tree, env=environment(), capture_output=True, text=True, check=True).stderr
    found = [(int(own), int(whole), name) for own, whole, _, name in _IMPORT.findall(said)]
    whole: dict[str, int] = {}
    for _, taken, name in found:
        for watched in WATCHED:
            if name == watched or (name.startswith(f"{watched}.") and watched not in whole):
                whole[watched] = max(whole.get(watched, 0), taken)
    return sum(own for own, _, _ in found) // 1000, {name: taken // 1000 for name, taken in whole.items()}


def environment() -> dict[str, str]:
    """Without what a runner adds."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GITHUB_")}
    return kept | {"PYTHONPATH": str(ROOT / "scripts")}


def verdict(taken: float, aim: float) -> str:
    return f"{taken:.2f} s" if taken < aim else f"{taken:.2f} s (target: {aim:g} s)"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        files = make_tree(tree, options.files)
        print(f"| hook | files | {options.files} files | one file |\n| --- | ---: | ---: | ---: |")
        for hook, paths in files.items():
            many, one = (seconds(tree, hook, chosen, options.rounds) for chosen in (paths, paths[:1]))
            print(f"| `{hook}` | {len(paths)} | {verdict(many, AIM_MANY)} | {verdict(one, AIM_ONE)} |", flush=True)
        print(f"\n| imports, ms | all | {' | '.join(WATCHED)} |\n| --- | ---: |{' ---: |' * len(WATCHED)}")
        for hook, paths in files.items():
            whole, watched = imports(tree, hook, paths)
            print(f"| `{hook}` | {whole} | {' | '.join(str(watched.get(one, '')) for one in WATCHED)} |", flush=True)


if __name__ == "__main__":
    main()
