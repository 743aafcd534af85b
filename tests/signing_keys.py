"""Keys and signed folders for tests: made anew, so that none lies in the repo."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline import QUICK


@dataclass(frozen=True)
class Pair:
    """A key and its public half, in PEM."""

    private: Path
    public: Path


def make_pair(folder: Path, name: str = "signing", curve: ec.EllipticCurve | None = None, password: str = "") -> Pair:
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(curve or ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.pub.pem")
    pair.private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pair.public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return pair


def make_ssh_key(folder: Path, name: str = "runner") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
    return path


def allowed(*keys: Path, namespace: str = "mlx-publish") -> str:
    """A list of allowed signers."""
    lines = [f'{key.name} namespaces="{namespace}" {" ".join(public(key))}\n' for key in keys]
    return "".join(lines)


def public(key: Path) -> list[str]:
    return key.with_name(f"{key.name}.pub").read_text().split()[:2]


def put_recipe(root: Path, home: Path) -> None:
    """A recipe in `home` that publishes `root`/model into `root`/out."""
    recipe = {
        "source": str(root / "model"),
        "license": "mit",
        "to": f"folder:{root}/out",
        "variants": ["8bit"],
        **QUICK,
    }
    (home / "r.json").write_text(json.dumps(recipe))


def others_verify(folder: Path, public_key: Path, *words: str) -> tuple[int, str]:
    """What the OpenSSF's own tool says of a folder, and its exit code: the command of our docs, word for word."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "model_signing",
            "verify",
            "key",
            str(folder),
            "--signature",
            f"{folder}/model.sig",
            "--public_key",
            str(public_key),
            *words,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def others_sign(folder: Path, private_key: Path) -> None:
    """Sign a folder with the OpenSSF's own tool."""
    words = ["--signature", f"{folder}/model.sig", "--private_key", str(private_key)]
    subprocess.run(
        [sys.executable, "-m", "model_signing", "sign", "key", str(folder), *words], capture_output=True, check=True
    )
