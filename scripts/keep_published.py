"""Publish a tiny model with this version and keep it in tests/published/: `nox -s keep`, before each release.

What it holds has to be verified by every later version. The keys that sign it are made for it and kept nowhere.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import mlx_publish

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from mlx_publish.signing.evidence_signature import KEY as EVIDENCE_KEY  # noqa: E402  as the line above says
from mlx_publish.signing.keys import KEY  # noqa: E402
from models import make_model  # noqa: E402
from pipeline import QUICK, User  # noqa: E402
from signing_keys import allowed, make_pair, make_ssh_key  # noqa: E402


def keep(folder: Path) -> Path:
    """Publish, and put model, public key and allowed signers into `folder`/VERSION; returns that."""
    kept = folder / mlx_publish.__version__
    shutil.rmtree(kept, ignore_errors=True)
    with tempfile.TemporaryDirectory() as aside:
        root = Path(aside)
        make_model(root / "Tiny", layers=1)
        pair, runner = make_pair(root / "keys"), make_ssh_key(root / "keys")
        home = root / "home"
        home.mkdir()
        (home / "signers.txt").write_text(allowed(runner))
        (home / "mlx-publish.yaml").write_text("sign: key\nattested: {signers: signers.txt}\n")
        recipe = {
            "source": "../Tiny",
            "license": "apache-2.0",
            "variants": ["8bit"],
            "to": "folder:out/{source}-MLX-{variant}",
        }
        (home / "tiny.json").write_text(json.dumps(recipe | QUICK))
        user = User(home, more={KEY: str(pair.private), EVIDENCE_KEY: str(runner)})
        user.run("publish", "--recipe", "tiny.json")
        shutil.copytree(home / "out", kept)
        shutil.copyfile(pair.public, kept / "signing.pub.pem")
        shutil.copyfile(home / "signers.txt", kept / "signers.txt")
    return kept


if __name__ == "__main__":
    kept = keep(ROOT / "tests" / "published")
    sizes = [path.stat().st_size for path in kept.rglob("*") if path.is_file()]
    sys.stdout.write(f"{os.path.relpath(kept, ROOT)}: {len(sizes)} files, {sum(sizes):,} bytes\n")
