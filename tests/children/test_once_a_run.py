"""To load MLX takes seconds: however many variants, stages and dialogues a run has, few processes do it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mlx_publish.children.process import python
from models import make_model
from pipeline import QUICK, ROOT, User, write_recipe

LOOK = """#!/bin/sh
echo "$*" >> "{seen}"
exec "{python}" "$@"
"""
START = """
import sys
sys.path.insert(1, {scripts!r})
sys.executable = {look!r}
from mlx_publish.cli import main
sys.exit(main())
"""


def test_a_publication_of_three_variants_loads_mlx_once_for_each_and_once_to_convert(tmp_path: Path) -> None:
    look, seen = tmp_path / "look", tmp_path / "seen"
    look.write_text(LOOK.format(seen=seen, python=sys.executable))
    look.chmod(0o755)
    (tmp_path / "start.py").write_text(START.format(scripts=str(ROOT / "scripts"), look=str(look)))
    recipe = write_recipe(
        tmp_path / "one.yaml",
        source=str(make_model(tmp_path / "Tiny", tie=False)),
        base_model="lab/Tiny",
        variants=[{"bits": bits, "group_size": 32} for bits in (4, 6, 8)],
        to=f"folder:{tmp_path}/out/{{variant}}",
        accept=[
            {"check": check, "reason": "its weights are random"} for check in ("answers", "same-first-choice", "leaks")
        ],
        **QUICK,
    )
    words = [*python("start", root=tmp_path), "publish", "--recipe", str(recipe), "--work", str(tmp_path / "work")]
    user = User(tmp_path / "home")
    environment = {**user.environment, "PATH": os.environ["PATH"]}
    ended = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    engines = [
        line.rpartition("mlx_publish.engine ")[2]
        for line in seen.read_text().splitlines()
        if "mlx_publish.engine " in line
    ]
    # Each of the three waits with its model from the answers to the benchmark.
    assert engines == ["convert", *["answers"] * 3] if sys.platform == "linux" else len(engines) <= 4, engines
