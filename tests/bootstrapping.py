"""A machine on which a real sh runs scripts/bootstrap.sh; interpreters are shell scripts or this Python in disguise."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

PRIVATE = "scripts/mlx_publish/children/private_folder.py"
ROOT = Path(__file__).resolve().parent.parent
# All that the script may need: a PATH of these alone holds no Python, unlike /usr/bin.
TOOLS = [
    *("cat", "cksum", "cut", "dirname", "env", "ln", "mkdir", "readlink"),
    *("rm", "rmdir", "sed", "sh", "sleep", "tail", "uname"),
]

# Answers the calls that the script makes, in their order. It copies itself into the environment.
FAKE_PYTHON = """\
#!/bin/sh
for last; do :; done
case "$1 $2 $3" in
  "-E -s -c") echo '{answer}' ;;
  "-I -m venv") mkdir -p "$last/bin"; cat "$0" >"$last/bin/python"; chmod +x "$last/bin/python" ;;
  "-I -m pip") echo "$*" >>{log}; {pip} ;;
  "-I -S "*/private_folder.py | "-I -S "*/lock.py | "-I "*/indexes.py*) exec {python} "$@" ;;
  "-I -m nox") shift 3; printf '%s\\n' "$PWD" "$MLX_PUBLISH_CACHE" "$PATH" "$@"; exit {nox} ;;
  *) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""


LOCK = """\
nox==1 \\
    --hash=sha256:01 \\
    --hash=sha256:02
    # via mlx-publish (pyproject.toml:test)
rich==3 \\
    --hash=sha256:03
    # via mlx-publish (pyproject.toml)
uv==2 ; python_full_version < '4' \\
    --hash=sha256:04
    # via nox, -c constraints.txt
"""


@dataclass
class Machine:
    """A copy of the project, an empty home, a PATH without a Python, and a root for the fixed places."""

    base: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.project = self.base / "the project"
        self.home = self.base / "home folder"
        self.places = self.base / "search root"
        self.bin = self.base / "bin"
        self.log = self.base / "calls.log"
        for folder in (self.project / "scripts", self.home, self.places, self.bin):
            folder.mkdir(parents=True)
        (self.project / PRIVATE).parent.mkdir(parents=True)
        for script in ("scripts/bootstrap.sh", PRIVATE, "scripts/lock.py", "scripts/indexes.py"):
            shutil.copy(ROOT / script, self.project / script)
        (self.project / "requirements.lock").write_text(LOCK, encoding="utf-8")
        for tool in [*TOOLS, "chmod"]:
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.variables = {
            "PATH": str(self.bin),
            "HOME": str(self.home),
            "MLX_PUBLISH_SEARCH_ROOT": str(self.places),
            **self.variables,
        }

    def command(self, *arguments: str, shell: str = "sh") -> list[str]:
        return [shutil.which(shell) or shell, str(self.project / "scripts" / "bootstrap.sh"), *arguments]

    def run(self, *arguments: str, shell: str = "sh", **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: text for name, text in {**self.variables, **variables}.items() if text}
        return subprocess.run(
            self.command(*arguments, shell=shell),
            env=environment,
            cwd=self.base,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def program(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

    def fake(self, path: Path, version: str, *, problem: str = "", pip: str = ":", nox: int = 0) -> Path:
        answer = f"{version}|{problem}|{path}"
        log = shlex.quote(str(self.log))
        return self.program(
            path, FAKE_PYTHON.format(answer=answer, log=log, pip=pip, nox=nox, python=shlex.quote(sys.executable))
        )

    def disguised(self, path: Path, statements: str) -> Path:
        """The Python that runs the tests, seen by the script's own probe through changed facts."""
        code = f"import os, sys; {statements}; exec(sys.argv[1])"
        return self.program(path, f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", code])} "$4"\n')

    def pip_calls(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []

    def environments(self) -> list[Path]:
        return list((self.home / ".cache" / "mlx-publish").glob("nox-*"))
