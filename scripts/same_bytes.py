"""Convert small models on x86-64 and on arm64, and compare every file: `nox -s portable`.

The first model is published on x86-64 in every mode, converted again in one run on arm64, and some of what was
published is verified there by `verify --rebuild`. The others are converted on both: an architecture has arithmetic of
its own, as norms that are stored less one, and a source in float32 is cast.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import arm64_environment  # noqa: E402  as the line above says
from mlx_publish.children import process  # noqa: E402
from mlx_publish.verify.published import CARD, CHART, EVIDENCE  # noqa: E402
from models import cast, make_model  # noqa: E402
from tensor_file import float32, read_tensors, write_tensors  # noqa: E402

VARIANTS = ("2bit", "3bit", "4bit", "5bit", "6bit", "8bit", "mxfp4", "nvfp4", "mxfp8", "bf16", "mixed_3_6")
VERIFIED = ("4bit", "nvfp4")
OTHERS = (("qwen3_moe", "float32", ("6bit", "mxfp4")), ("gemma2", "float16", ("4bit", "mxfp8", "bf16")))
"""More sources: architecture, type of the weights, variants."""
NOT_CONVERTED = frozenset({CARD, CHART, EVIDENCE})
"""Files that are published beside the converted ones."""
# As little measuring as a recipe allows, and no limit that rough weights would break.
_LENIENT: Mapping[str, Any] = {
    "smoke": {"max_tokens": 4},
    "fidelity": {"tokens": 32, "max_mean_kld": 1e6, "min_same_first_choice": 0.0, "max_perplexity_ratio": 1e9},
    "benchmark": {"prompt_tokens": 8, "generation_tokens": 4, "trials": 2},
}
_HOUR = 3600


class Failed(Exception):
    """A command that did not end as it should; has what it printed."""


@dataclass(frozen=True)
class Machine:
    """A Python with MLX, and a home for its commands."""

    name: str
    python: Path
    home: Path

    def run(self, *words: str | Path) -> str:
        """Run a command of the kit and return what it printed. Raises `Failed` where its exit code is not 0."""
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.home), "TMPDIR": str(self.home)}
        command = process.python("mlx_publish", *words, executable=self.python)
        ended = process.ask(command, environment, self.home, seconds=_HOUR)
        if ended.code:
            shown = f"{ended.out}\n{ended.err}".strip()
            raise Failed(f"`mlx-publish {words[0]}` exits with {ended.code} on {self.name}:\n{shown}")
        return ended.out


@dataclass(frozen=True)
class Compared:
    """The files of one variant on both machines."""

    source: str
    variant: str
    files: int
    size: int
    differences: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in one line of the table."""
        result = "equal" if not self.differences else f"DIFFERENT: {', '.join(self.differences)}"
        return f"{self.source:20} {self.variant:10} {self.files:5} {self.size:>10,}  {result}"


def compare_all(here: Machine, there: Machine, folder: Path) -> Iterator[Compared]:
    """Publish and convert on both machines and yield what is compared. Raises `Failed`."""
    tiny = make_model(folder / "Tiny")
    roughen(tiny)
    wanted = {"variants": list(VARIANTS), "to": "folder:" + str(folder / "out" / "{source}-MLX-{variant}"), **_LENIENT}
    recipe = write_recipe(tiny, wanted)
    sources = [make_model(folder / f"{arch}-{dtype}", arch, dtype=dtype) for arch, dtype, _ in OTHERS]
    recipes = [write_recipe(path, {"variants": list(of[2])}) for path, of in zip(sources, OTHERS, strict=True)]
    with ThreadPoolExecutor(2) as pool:
        published = pool.submit(here.run, "publish", "--recipe", recipe, "--work", folder / "published")
        converted = [pool.submit(_convert, there, path) for path in (recipe, *recipes)]
        others = [pool.submit(_convert, here, path) for path in recipes]
        published.result()
        for variant in VARIANTS:
            ours = folder / "out" / f"{tiny.name}-MLX-{variant}"
            yield compare("llama, bfloat16", variant, ours, model(converted[0].result(), variant))
        for of, mine, theirs in zip(OTHERS, others, converted[1:], strict=True):
            for variant in of[2]:
                both = model(mine.result(), variant), model(theirs.result(), variant)
                yield compare(f"{of[0]}, {of[1]}", variant, *both)


def verify(there: Machine, folder: Path) -> dict[str, str]:
    """Verify what was published by converting it again on the other machine: what that check says, by variant."""

    def made_again(variant: str) -> str:
        place, source = folder / "out" / f"Tiny-MLX-{variant}", folder / "Tiny"
        words = ("verify", place, "--rebuild", "--source", source, "--json")
        checks = json.loads(there.run(*words))["checks"]
        [check] = [check for check in checks if check["id"] == "made-again"]
        return f"{check['status']}: {check['message']}"

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(VERIFIED, pool.map(made_again, VERIFIED), strict=True))


def _convert(machine: Machine, recipe: Path) -> Path:
    """Convert on a machine and return the work folder of the recipe."""
    work = recipe.parent / machine.name
    machine.run("convert", "--recipe", recipe, "--work", work)
    return work / recipe.stem


def model(work: Path, variant: str) -> Path:
    """Return the folder of a converted model."""
    return work / variant / "model"


def compare(source: str, variant: str, ours: Path, theirs: Path) -> Compared:
    """Compare two folders of a model, without what is made from measurements."""
    mine, other = files_of(ours), files_of(theirs)
    differences = []
    for name in sorted(mine.keys() | other.keys()):
        if name not in mine or name not in other:
            differences.append(f"{name} is missing on one side")
        elif digest(mine[name]) != digest(other[name]):
            differences.append(" ".join([name, *different_tensors(mine[name], other[name])]))
    return Compared(source, variant, len(mine), sum(path.stat().st_size for path in mine.values()), tuple(differences))


def files_of(model: Path) -> dict[str, Path]:
    """Return the files of a model by name, without card, chart and evidence."""
    found = {str(path.relative_to(model)): path for path in model.rglob("*") if path.is_file()}
    return {name: path for name, path in found.items() if name not in NOT_CONVERTED}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def different_tensors(ours: Path, theirs: Path) -> list[str]:
    """Name the tensors of two files of weights whose bytes differ, and how many values of each do."""
    if ours.suffix != ".safetensors":
        return []
    mine, other = read_tensors(ours), read_tensors(theirs)
    named = []
    for name in sorted(mine.keys() & other.keys()):
        if mine[name].dtype != other[name].dtype or mine[name].shape != other[name].shape:
            named.append(f"{name} (other type or shape)")
        elif count := int((mine[name].view(np.uint8) != other[name].view(np.uint8)).sum()):
            named.append(f"{name} ({count:,} of {mine[name].nbytes:,} bytes)")
    return named


def roughen(source: Path) -> None:
    """Give the rows of all matrices what rounding is hard on: ties, zeros, constants, outliers, and far scales."""
    path = source / "model.safetensors"
    chance = np.random.default_rng(21)
    tensors = {name: float32(bits) for name, bits in read_tensors(path).items()}
    rough = {name: _rough(values, chance) if values.ndim > 1 else values for name, values in tensors.items()}
    write_tensors(path, {name: cast(values, "bfloat16") for name, values in rough.items()})


def _rough(values: NDArray[np.float32], chance: np.random.Generator) -> NDArray[np.float32]:
    kind = chance.integers(0, 8, len(values))
    made: NDArray[np.float32] = values.copy()
    made[kind == 0] *= np.exp2(chance.integers(-20, 3, (int((kind == 0).sum()), 1))).astype(np.float32)
    made[kind == 1] = np.round(made[kind == 1] * 64) / 64
    made[kind == 2] = 0
    made[kind == 3] = made[kind == 3][:, :1]
    made[kind == 4] *= np.where(chance.random(made[kind == 4].shape) < 0.02, 50, 1).astype(np.float32)
    return made


def write_recipe(source: Path, more: Mapping[str, Any]) -> Path:
    """Write the recipe of a source beside it."""
    path = source.with_name(f"{source.name.lower()}-recipe") / f"{source.name.lower()}.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"source": str(source), "license": "apache-2.0", **more}), encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns 1 where a byte differs, 4 without an environment for arm64."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the models in this new folder")
    options = parser.parse_args(arguments)
    python = arm64_environment.python()
    if python is None:
        print("error: no environment for arm64; run: nox -s portable", file=sys.stderr)
        return 4
    with tempfile.TemporaryDirectory() as aside:
        folder = (options.keep or Path(aside) / "models").resolve()
        folder.mkdir(parents=True)
        try:
            return report(folder, python)
        except Failed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1


def report(folder: Path, python: Path) -> int:
    """Compare in a new folder and print as it goes; returns the exit code."""
    homes = [folder / "home" / name for name in ("x86-64", "arm64")]
    for home in homes:
        home.mkdir(parents=True)
    here, there = Machine("x86-64", Path(sys.executable), homes[0]), Machine("arm64", python, homes[1])
    began = time.monotonic()
    print(f"{'source':20} {'variant':10} {'files':>5} {'bytes':>10}  x86-64 and arm64")
    different = 0
    for compared in compare_all(here, there, folder):
        print(compared, flush=True)
        different += bool(compared.differences)
    for variant, result in verify(there, folder).items():
        print(f"verify --rebuild on arm64 of {variant}, published on x86-64: {result}")
        different += not result.startswith("pass")
    print(f"{'equal' if not different else f'{different} different'}; {time.monotonic() - began:.0f} s")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
