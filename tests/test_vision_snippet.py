"""Python and command line of the card in the Python that has mlx-vlm: a real model answers as in the smoke test."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.chat.pictures import PICTURES
from mlx_publish.children.engine import Children
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.children.vision import VARIABLE, find_vision
from mlx_publish.converters._mlx_vlm_use import commands, snippet
from mlx_publish.evidence.digests import PICTURE
from mlx_publish.evidence.measurements import SmokeSpec
from mlx_publish.evidence.records import from_json
from mlx_publish.evidence.seen import Perceived
from samples_that_see import make_seeing
from vision_faults import made

pytestmark = pytest.mark.slow
FAMILIES = ("idefics3", "gemma3", "qwen3_vl")
_ALIKE = 8  # tokens
_IDS = "\nimport json\nprint(json.dumps([int(token) for token in result.token_ids]))"


@dataclass(frozen=True)
class Shown:
    """A model with its picture, as it is published to a folder, and what it answered in the smoke test."""

    folder: Path
    smoke: SmokeSpec
    tokens: list[int]
    python: Path

    def run(self, *words: str) -> str:
        done = subprocess.run(words, cwd=self.folder.parent, capture_output=True, text=True, timeout=300, check=False)
        assert not done.returncode, done.stderr[-2000:]
        return done.stdout


@pytest.fixture(params=FAMILIES)
def shown(
    request: pytest.FixtureRequest,
    vision_models: Path,
    vision_python: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Shown:
    folder, name = made(vision_models, request.param, tmp_path / "Tiny"), PICTURES[0].one.name
    (folder / PICTURE).write_bytes(PICTURES[0].one.file())
    monkeypatch.setenv(VARIABLE, str(vision_python))
    arguments: dict[str, Any] = {"folder": str(folder), "processor": str(folder), "kinds": ["picture"]}
    with Children() as children:
        children.use("mlx_vlm", find_vision())
        job = Job("perceived", {**arguments, "options": {}, "along": {}}, tmp_path / "log", children=children)
        answer = from_json(Perceived, run_job(job, lambda _: None)).shown[name].answer
    return Shown(folder, SmokeSpec.model_validate(make_seeing()["smoke"]), list(answer.tokens), vision_python)


def test_the_snippet_generates_the_tokens_of_the_smoke_test(shown: Shown) -> None:
    said = shown.run(str(shown.python), "-c", snippet("Tiny", shown.smoke) + _IDS)
    ids = json.loads(said.splitlines()[-1])
    assert len(shown.tokens) >= _ALIKE
    # The smoke test computes in float32, the snippet in the stored type: a random model's near ties part some time.
    assert ids[:_ALIKE] == shown.tokens[:_ALIKE]


def test_the_command_line_prints_what_the_snippet_prints(shown: Shown) -> None:
    program, *words = shlex.split(commands("Tiny", shown.smoke).generate.replace("\\\n", ""))
    program = str(shown.python.with_name(program))
    assert (
        shown.run(program, *words).strip() == shown.run(str(shown.python), "-c", snippet("Tiny", shown.smoke)).strip()
    )
