"""verify: check a published model against its evidence, and who signed it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_publish.commands._arguments import add_json, add_verbosity
from mlx_publish.commands._command import Command, Group
from mlx_publish.errors import BadInput
from mlx_publish.text.console import Console

if TYPE_CHECKING:
    from mlx_publish.signing.verifying import Wanted

# Whose signatures are required.
_SIGNERS: Mapping[str, tuple[Callable[[str], object], str, str]] = {
    "key": (Path, "FILE", "require model.sig by this key (its public half, PEM)"),
    "identity": (
        str,
        "NAME",
        "require model.sig by this sigstore identity: address of a workflow or of a person",
    ),
    "issuer": (str, "URL", "issuer of --identity (default: GitHub Actions)"),
    "repository": (str, "OWNER/REPO", "with --identity: require that the job ran in this GitHub repo"),
    "signers": (Path, "FILE", "require evidence signed by one of these keys (OpenSSH allowed signers)"),
    "github": (str, "OWNER/REPO", "require a GitHub attestation of the evidence for this repo (needs gh)"),
    "workflow": (str, "PATH", "with --github: by this workflow, such as OWNER/REPO/.github/workflows/publish.yml"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is judged, whether it is made again, and who is trusted."""
    parser.add_argument(
        "place", metavar="REPO[@TAG]", help="namespace/name, with a tag or commit, or its address, or a folder"
    )
    parser.add_argument("--rebuild", action="store_true", help="convert the source again and compare byte by byte")
    parser.add_argument("--source", metavar="DIR", default="", help="folder of the source, if it was one")
    parser.add_argument("--adapter", metavar="DIR", default="", help="folder of the adapter, if it was one")
    parser.add_argument("--calibration", metavar="FILE", default="", help="calibration text, if it was a file")
    parser.add_argument("--work", type=Path, metavar="DIR", help="work folder of --rebuild, which is then kept")
    for name, (kind, metavar, text) in _SIGNERS.items():
        parser.add_argument(f"--{name}", type=kind, metavar=metavar, help=text)
    add_json(parser)
    add_verbosity(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print the verdict; return 1 if the model does not match its evidence."""
    from mlx_publish.commands._verify import verify
    from mlx_publish.verify.rebuild import Given

    again = options.rebuild or bool(options.work)
    return verify(
        options.place,
        console,
        again=again,
        given=Given(options.source, options.calibration, options.adapter),
        work=options.work,
        as_json=options.json,
        by=_signers(options),
    )


def _signers(options: argparse.Namespace) -> Wanted:
    """Return whose signatures are required."""
    from mlx_publish.signing.verifying import Wanted

    given = {name: value for name in _SIGNERS if (value := getattr(options, name)) is not None}
    if empty := [name for name, value in given.items() if not str(value).strip()]:
        raise BadInput(
            "is empty, so no signature would be required", place=f"--{empty[0]}", remedy="Give a value, or omit it."
        )
    return Wanted(**given)


COMMAND = Command(
    "verify",
    "verify a published model against its evidence",
    41,
    add_arguments,
    run,
    extras=("sign",),
    group=Group.LOOK,
    example="mlx-publish verify your-name/SmolLM2-135M-Instruct-MLX-4bit@v1\n"
    "mlx-publish verify published/SmolLM2-135M-Instruct-MLX-4bit",
)
