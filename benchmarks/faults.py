"""Faults of vision-language models, as mlx_vlm.convert takes them and as mlx-publish does: a table in Markdown.

    python benchmarks/faults.py MODELS [--only NAME ...] [--json FILE]

MODELS has the tiny models idefics3 and qwen3_vl, as tests/vision_making.py makes them. Needs a Python with mlx-vlm
(MLX_PUBLISH_VISION_PYTHON) and, for the twin, one with torch (MLX_PUBLISH_REFERENCE_PYTHON).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import in_process
from mlx_publish.children.environment import fast_blas
from mlx_publish.children.torch import VARIABLE as REFERENCE
from mlx_publish.children.vision import VARIABLE, find_vision
from mlx_publish.text.markdown import Markdown, table
from mlx_publish.text.markdown import code as code_
from pipeline import NOWHERE, QUICK
from vision_faults import CANARY, FAULTS, Fault, made
from vision_slips import SLIPS, Slip, happening, python_with

SECONDS, MEMORY = 60, 8 << 30
"""Limits of a command of mlx-vlm."""
_STAGES = ("inspect", "convert", "smoke", "fidelity")
_KEPT = ("PATH", "LANG", "HOME", "MLX_PUBLISH_CACHE")
# A picture that no family's processor finds odd.
_DRAW = "from PIL import Image; Image.linear_gradient('L').resize((90, 70)).convert('RGB').save({path!r})"

Statuses = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Row:
    """What became of one fault."""

    name: str
    says: str
    converts: str
    sees: str
    kit: str


def main() -> None:
    """Make every fault, let both have it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=["both", "mlx-vlm", "mlx-publish"], default="both")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = compared(asked.models.resolve(), Path(place), asked.only, asked.part)
    in_process.end()
    if asked.json:
        asked.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    heads = [
        Markdown(head) for head in ("fault", "`mlx_vlm.convert`", "`mlx_vlm.generate` with a picture", "mlx-publish")
    ]
    print(table(heads, [[Markdown(text) for text in (row.says, row.converts, row.sees, row.kit)] for row in rows]))


def compared(models: Path, place: Path, only: Sequence[str], part: str) -> list[Row]:
    """Return a row for each fault, and for each slip of a conversion, which is the kit's own."""
    vision = find_vision().python
    kit, rows = Kit(models, place, vision), list[Row]()
    subprocess.run([str(vision), "-c", _DRAW.format(path=str(place / "picture.png"))], check=True)
    for name, fault in [(name, fault) for name, fault in FAULTS.items() if not only or name in only]:
        source = made(models, fault.base, place / name)
        fault.change(source)
        converts, sees = ("", "") if part == "mlx-publish" else theirs(source, place, vision)
        told = "" if part == "mlx-vlm" else kit.says(fault, source, vision)
        ran = " **Its code ran.**" if (source / CANARY).exists() else ""
        rows.append(Row(name, fault.says, converts + ran, sees, told))
        shutil.rmtree(source)
        print(name, converts + ran, sees, told, sep=" | ", file=sys.stderr, flush=True)
    for name, slip in [
        (name, slip) for name, slip in SLIPS.items() if part != "mlx-vlm" and (not only or name in only)
    ]:
        kit.knows(slip.base)
        with happening(name):
            told = kit.says(slip, kit.whole(slip.base), python_with(name, vision, place))
        rows.append(Row(name, slip.says, "", "", told))
        print(name, told, sep=" | ", file=sys.stderr, flush=True)
    return rows


def theirs(source: Path, place: Path, vision: Path) -> tuple[str, str]:
    """Return what mlx_vlm.convert and mlx_vlm.generate do."""
    to = place / "theirs"
    shutil.rmtree(to, ignore_errors=True)
    converts = mlx_vlm(vision, "convert", "--hf-path", str(source), "--mlx-path", str(to), "-q")
    if not converts.startswith("done"):
        return converts, ""
    converts += " (the code is copied)" if list(to.glob("*.py")) else ""
    question = ["--prompt", "What is left of the blue square?", "--max-tokens", "4", "--temperature", "0"]
    picture = str(place / "picture.png")
    return converts, mlx_vlm(vision, "generate", "--model", str(to), "--image", picture, *question)


def mlx_vlm(vision: Path, command: str, *words: str) -> str:
    """Return how a command of mlx-vlm ended."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "HF_HUB_OFFLINE": "1"}
    if blas := fast_blas():
        environment["LD_PRELOAD"] = str(blas)
    try:
        done = subprocess.run(
            [str(vision), "-m", "mlx_vlm", command, *words],
            env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY)),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"did not end in {SECONDS} s, or {MEMORY >> 30} GB"
    if done.returncode:
        raised = re.findall(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception))\b", done.stderr, re.MULTILINE)
        return f"error: `{raised[-1]}`" if raised else "error"
    warned = re.search(r"\bwarning:root\b", done.stdout + done.stderr, re.IGNORECASE)
    return "done, with a warning" if warned else "done, in silence"


@dataclass
class Kit:
    """Runs of the kit, compared with what it says of the same model without a fault."""

    models: Path
    place: Path
    vision: Path
    known: dict[str, Statuses] = field(default_factory=dict)

    def whole(self, base: str) -> Path:
        """Return a model without a fault."""
        return made(self.models, base, self.place / "whole" / base)

    def knows(self, base: str) -> None:
        """Run the model without a fault, once."""
        if base not in self.known:
            self.known[base] = self._run(self.whole(base), self.vision, _STAGES[-1], torch=True)[1]

    def says(self, fault: Fault | Slip, source: Path, vision: Path) -> str:
        """Return what the kit says that it does not say of the whole model."""
        self.knows(fault.base)
        torch = fault.check.startswith("twin")
        code, statuses, tail = self._run(source, vision, fault.stage, torch=torch)
        if not code and not self._new(fault.base, statuses):
            code, statuses, tail = self._run(source, vision, _STAGES[-1], torch=torch)
        new = self._new(fault.base, statuses)
        failed, warned = ([f"{at}: {code_(id_)}" for at, id_, is_ in new if is_ == of] for of in ("fail", "warn"))
        if code in (1, 2) and failed:
            return f"refused in {failed[0]}" + (f" and {len(failed) - 1} more" if len(failed) > 1 else "")
        if code == 0 and warned:
            return f"told in {', '.join(warned)}"
        return "**nothing**" if code == 0 else f"exit {code}: {tail[:120]}"

    def _new(self, base: str, statuses: Statuses) -> list[tuple[str, str, str]]:
        return [
            (stage, check, status)
            for stage in _STAGES
            for check, status in statuses.get(stage, {}).items()
            if status in ("fail", "warn") and self.known[base].get(stage, {}).get(check) != status
        ]

    def _run(self, source: Path, vision: Path, until: str, *, torch: bool) -> tuple[int, Statuses, str]:
        """Return the exit code, the status of each check by stage, and the last line that was said."""
        place = self.place / "kit"
        shutil.rmtree(place, ignore_errors=True)
        home = place / "home"
        (home / "tmp").mkdir(parents=True)
        recipe = home / "recipe.yaml"
        keys = {"source": str(source), "base_model": "acme/base", "license": "apache-2.0", "variants": [{"bits": 8}]}
        recipe.write_text(json.dumps({**QUICK, **keys, "to": f"folder:{home}/out"}), encoding="utf-8")
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {"HF_ENDPOINT": NOWHERE, VARIABLE: str(vision), "TMPDIR": str(home / "tmp")}
        environment |= {REFERENCE: os.environ[REFERENCE]} if torch and REFERENCE in os.environ else {}
        words = ["run", "--recipe", str(recipe), "--work", str(home / "work"), "--until", until]
        code, out, err = in_process.run(words, environment, home)
        reports = {path.stem: path for path in (home / "work").rglob("*.json") if path.stem in _STAGES}
        statuses = {
            stage: {check["id"]: check["status"] for check in json.loads(path.read_text(encoding="utf-8"))["checks"]}
            for stage, path in reports.items()
        }
        return code, statuses, (f"{out}\n{err}".strip().splitlines() or [""])[-1].strip()


if __name__ == "__main__":
    main()
