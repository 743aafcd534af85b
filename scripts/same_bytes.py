"""Convert small models on x86-64 and on arm64, and compare every file: `nox -s portable`.

The first model is published on x86-64 in every mode, converted again in one run on arm64, and some of what was
published is verified there by `verify --rebuild`. Others are converted on both: an architecture has arithmetic of its
own, as norms that are stored less one, and a source in float32 is cast.
"""

from __future__ import annotations

import argparse
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
from compared_files import Compared, compare  # noqa: E402
from families import FAMILIES  # noqa: E402
from mlx_publish.children import process  # noqa: E402
from mlx_publish.recipes.plan import Plan  # noqa: E402
from mlx_publish.recipes.plan_text import write_plan  # noqa: E402
from models import ARCHITECTURES, cast, make_model  # noqa: E402
from tensor_file import float32, read_tensors, write_tensors  # noqa: E402

VARIANTS = ("2bit", "3bit", "4bit", "5bit", "6bit", "8bit", "mxfp4", "nvfp4", "mxfp8", "bf16", "mixed_3_6")
VERIFIED = "nvfp4"
PLANNED = "planned"
"""A plan of every width; its scales are chosen by importance."""
# As little measuring as a recipe allows, and no limit that rough weights would break.
_LENIENT: Mapping[str, Any] = {
    "smoke": {"max_tokens": 4},
    "fidelity": {"tokens": 32, "max_mean_kld": 1e6, "min_same_first_choice": 0.0, "max_perplexity_ratio": 1e9},
    "benchmark": {"prompt_tokens": 8, "generation_tokens": 4, "trials": 2},
    # What random weights say is chance.
    "accept": [{"check": check, "reason": "its weights are random"} for check in ("leaks", "answers")],
}
_HOUR = 3600


@dataclass(frozen=True)
class Other:
    """One more source."""

    arch: str
    dtype: str
    variants: tuple[str, ...]

    def make(self, folder: Path) -> Path:
        """Make it in a new folder inside of this one."""
        layers = 4 if self.arch in HYBRIDS else 2
        new = folder / f"{self.arch}-{self.dtype}"
        return make_model(new, self.arch, dtype=self.dtype, layers=layers, tie=self.arch != "deepseek_v3")

    def __str__(self) -> str:
        """Name it in the table."""
        return f"{self.arch}, {self.dtype}"


HYBRIDS = frozenset({"lfm2", "qwen3_5"})
"""They have full attention in one of four layers."""
OTHERS = (Other("qwen3_moe", "float32", ("6bit", "mxfp4")),)
ALL = tuple(
    Other(arch, dtype, ("4bit", "3bit", "mxfp4", "nvfp4", "mxfp8", "bf16"))
    for arch in (*ARCHITECTURES, *FAMILIES)
    for dtype in ("bfloat16", "float16", "float32")
)


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
class Verified:
    """What `verify --rebuild` finds on the other machine."""

    name: str
    status: str
    message: str

    @property
    def equal(self) -> bool:
        """Whether the same bytes came out."""
        return self.status == "pass"

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"verify --rebuild of {self.name} on arm64: {self.message if self.equal else f'DIFFERENT: {self.message}'}"
        )


def compare_all(here: Machine, there: Machine, folder: Path, others: Sequence[Other]) -> Iterator[Compared | Verified]:
    """Publish and convert on both machines and yield what is compared. Raises `Failed`."""
    tiny = make_model(folder / "Tiny")
    roughen(tiny, tiny=True)
    yield from _compare_planned(here, there, tiny)
    published = folder / "out"
    wanted = {"variants": list(VARIANTS), "to": f"folder:{published}/{{source}}-MLX-{{variant}}", **_LENIENT}
    recipe = write_recipe(tiny, wanted)
    with ThreadPoolExecutor(2) as pool:
        converted = pool.submit(_convert, there, recipe)
        here.run("publish", "--recipe", recipe, "--work", folder / "published")
        verified = pool.submit(verify, there, published / f"Tiny-MLX-{VERIFIED}", tiny)
        for variant in VARIANTS:
            both = published / f"Tiny-MLX-{variant}", model(converted.result(), variant)
            yield compare("llama, bfloat16", variant, *both)
        for other in others:
            recipe = write_recipe(other.make(folder), {"variants": list(other.variants)})
            converted = pool.submit(_convert, there, recipe)
            mine = _convert(here, recipe)
            for variant in other.variants:
                yield compare(str(other), variant, model(mine, variant), model(converted.result(), variant))
        yield verified.result()


def _compare_planned(here: Machine, there: Machine, source: Path) -> Iterator[Compared]:
    """Convert a llama by a plan on both machines and yield what is compared."""
    plan = write_a_plan(source)
    recipe = write_recipe(source, {"variants": [{"plan": str(plan), "name": PLANNED}]}, name="planned")
    with ThreadPoolExecutor(1) as pool:
        converted = pool.submit(_convert, there, recipe)
        mine = _convert(here, recipe)
        yield compare("llama, bfloat16", PLANNED, model(mine, PLANNED), model(converted.result(), PLANNED))


def write_a_plan(source: Path) -> Path:
    """Write a plan for a llama: one width after the other, and importances by chance."""
    chance = np.random.default_rng(22)
    rungs = ((4, 64), (2, 32), (3, 64), (5, 32), (6, 64), (8, 64))
    modules: dict[str, Any] = {}
    importance: dict[str, str] = {}
    others = 0
    for name, values in read_tensors(source / "model.safetensors").items():
        if values.ndim == 1:
            others += values.size
            continue
        module, (bits, group_size) = name.removesuffix(".weight"), rungs[len(modules) % len(rungs)]
        modules[module] = {"bits": bits, "group_size": group_size, "kld": 0.0, "kind": "mlp", "weights": values.size}
        steps = chance.integers(0, 36, size=values.shape[1:])
        importance[module] = "".join(np.base_repr(step, 36).lower() for step in steps.tolist())
    plan = {
        "source": {"name": source.name, "identity": "made by chance"},
        "target": {"target_bpw": 5.0},
        "bits_per_weight": 5.0,
        "predicted_kld": 0.0,
        "chosen": "0" * 16,
        "others": {"weights": others, "bytes": 2 * others},
        "modules": modules,
        "importance": importance,
    }
    path = source.with_name(f"{source.name.lower()}-plan.yaml")
    write_plan(path, Plan.model_validate(plan))
    return path


def verify(machine: Machine, published: Path, source: Path) -> Verified:
    """Verify what was published by converting its source again."""
    printed = machine.run("verify", published, "--rebuild", "--source", source, "--json")
    [check] = [check for check in json.loads(printed)["checks"] if check["id"] == "made-again"]
    return Verified(published.name, check["status"], check["message"])


def _convert(machine: Machine, recipe: Path) -> Path:
    """Convert on a machine and return the work folder of the recipe."""
    work = recipe.parent / machine.name
    machine.run("convert", "--recipe", recipe, "--work", work)
    return work / recipe.stem


def model(work: Path, variant: str) -> Path:
    """Return the folder of a converted model."""
    return work / variant / "model"


def roughen(source: Path, *, tiny: bool = False) -> None:
    """Give the rows of all matrices what rounding is hard on: ties, zeros, constants, outliers, and far scales.

    With `tiny` some rows are so near zero that MLX has no scale for them in mxfp4 and mxfp8.
    """
    path = source / "model.safetensors"
    chance = np.random.default_rng(21)
    tensors = {name: float32(bits) for name, bits in read_tensors(path).items()}
    rough = {name: _rough(values, chance, tiny=tiny) if values.ndim > 1 else values for name, values in tensors.items()}
    write_tensors(path, {name: cast(values, "bfloat16") for name, values in rough.items()})


def _rough(values: NDArray[np.float32], chance: np.random.Generator, *, tiny: bool) -> NDArray[np.float32]:
    kind = chance.integers(0, 8, len(values))
    made: NDArray[np.float32] = values.copy()
    made[kind == 0] *= np.exp2(chance.integers(-20, 3, (int((kind == 0).sum()), 1))).astype(np.float32)
    made[kind == 1] = np.round(made[kind == 1] * 64) / 64
    made[kind == 2] = 0
    made[kind == 3] = made[kind == 3][:, :1]
    made[kind == 4] *= np.where(chance.random(made[kind == 4].shape) < 0.02, 50, 1).astype(np.float32)
    if tiny:
        made[kind == 5] *= np.float32(2.0**-120)
    return made


def write_recipe(source: Path, more: Mapping[str, Any], name: str = "") -> Path:
    """Write the recipe of a source beside it; `name` is that of a second one."""
    name = name or source.name.lower()
    path = source.with_name(f"{name}-recipe") / f"{name}.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"source": str(source), "license": "apache-2.0", **more}), encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns 1 where a byte differs, 4 without an environment for arm64."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the models in this new folder")
    parser.add_argument("--all", action="store_true", help="compare every architecture of the tests (15 minutes)")
    options = parser.parse_args(arguments)
    python = arm64_environment.python()
    if python is None:
        print("error: no environment for arm64; run: nox -s portable", file=sys.stderr)
        return 4
    with tempfile.TemporaryDirectory() as aside:
        folder = (options.keep or Path(aside) / "models").resolve()
        folder.mkdir(parents=True)
        try:
            return report(folder, python, ALL if options.all else OTHERS)
        except Failed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1


def report(folder: Path, python: Path, others: Sequence[Other]) -> int:
    """Compare in a new folder and print as it goes; returns the exit code."""
    homes = [folder / "home" / name for name in ("x86-64", "arm64")]
    for home in homes:
        home.mkdir(parents=True)
    here, there = Machine("x86-64", Path(sys.executable), homes[0]), Machine("arm64", python, homes[1])
    began = time.monotonic()
    print(f"{'source':20} {'variant':10} {'files':>5} {'bytes':>10}  x86-64 and arm64")
    different = 0
    for result in compare_all(here, there, folder, others):
        print(result, flush=True)
        different += not result.equal
    print(f"{f'{different} different' if different else 'equal'}; {time.monotonic() - began:.0f} s")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
