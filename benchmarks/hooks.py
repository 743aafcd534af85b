"""All hooks on 200 files and on one, and what their imports take.

    python benchmarks/hooks.py [--files N] [--rounds N]

makes a work tree of recipes, cards and small files of models, runs each hook as pre-commit does, and prints tables in
Markdown: the median of the rounds, which take turns, with the lowest and the highest. As in an installed package,
modules are compiled: the first round, which is not counted, keeps their byte code in a folder of this run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hook_trees import make_tree
from measuring import Spread, Taken, machine_line, measure, spread

ROOT = Path(__file__).parents[1]
AIM_MANY, AIM_ONE = 0.4, 0.25
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")
# What is worth a column of its own: it takes long, and not every hook needs it.
WATCHED = ("pydantic", "jinja2", "yaml", "rich", "huggingface_hub", "mlx_publish.checks")


@dataclass(frozen=True)
class Timed:
    """One hook on some files."""

    hook: str
    files: Sequence[Path]
    rounds: list[Taken] = field(default_factory=list)

    def run(self, tree: Path) -> Taken:
        """Start the hook. `RuntimeError` where it finds anything."""
        command = [sys.executable, "-m", "mlx_publish", "hook", self.hook]
        command += [str(path.relative_to(tree)) for path in self.files]
        return measure(command, env=environment(tree), cwd=tree, memory=False)

    @property
    def seconds(self) -> Spread:
        """Seconds on the clock."""
        return spread([taken.seconds for taken in self.rounds])

    @property
    def processor(self) -> Spread:
        """Seconds of processor time, of all its processes."""
        return spread([taken.processor for taken in self.rounds])


def imports(tree: Path, hook: str, files: Sequence[Path]) -> tuple[int, Mapping[str, int]]:
    """Milliseconds of all imports, and of those that are watched with what they bring along."""
    command = [sys.executable, "-X", "importtime", "-m", "mlx_publish", "hook", hook]
    command += [str(path.relative_to(tree)) for path in files]
    variables = os.environ | environment(tree)
    said = subprocess.run(command, cwd=tree, env=variables, capture_output=True, text=True, check=True).stderr
    found = [(int(own), int(whole), name) for own, whole, _, name in _IMPORT.findall(said)]
    whole: dict[str, int] = {}
    for _, taken, name in found:
        for watched in WATCHED:
            if name == watched or (name.startswith(f"{watched}.") and watched not in whole):
                whole[watched] = max(whole.get(watched, 0), taken)
    return sum(own for own, _, _ in found) // 1000, {name: taken // 1000 for name, taken in whole.items()}


def environment(tree: Path) -> dict[str, str]:
    """Return the variables of an installed package: its modules are compiled, and no runner is there."""
    without = dict.fromkeys((key for key in os.environ if key.startswith(("GITHUB_", "PYTHONDONTWRITE"))), "")
    return without | {"PYTHONPATH": str(ROOT / "scripts"), "PYTHONPYCACHEPREFIX": str(tree / ".bytecode")}


def verdict(taken: Spread, aim: float) -> str:
    return taken.text() if taken.median < aim else f"{taken.text()} (target: {aim:g} s)"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"{machine_line()}\n")
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        files = make_tree(tree, options.files)
        pairs = [(Timed(hook, paths), Timed(hook, paths[:1])) for hook, paths in files.items()]
        for number in range(options.rounds + 1):
            for timed in (each for pair in pairs for each in pair):
                taken = timed.run(tree)
                if number:
                    timed.rounds.append(taken)
        print(f"| hook | {options.files} files | processor time | one file | processor time |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for many, one in pairs:
            cells = (verdict(many.seconds, AIM_MANY), many.processor.text(), verdict(one.seconds, AIM_ONE))
            print(f"| `{many.hook}` | {' | '.join(cells)} | {one.processor.text()} |")
        print(f"\n| imports, ms | all | {' | '.join(WATCHED)} |\n| --- | ---: |{' ---: |' * len(WATCHED)}")
        for hook, paths in files.items():
            whole, watched = imports(tree, hook, paths)
            print(f"| `{hook}` | {whole} | {' | '.join(str(watched.get(one, '')) for one in WATCHED)} |", flush=True)


if __name__ == "__main__":
    main()
