"""The runner of a job: GitHub's, or none. It alone reads what GitHub says of a job and writes what GitHub reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from mlx_publish.errors import NOWHERE, Place, SurroundingsError
from mlx_publish.text.door import command
from mlx_publish.text.harmless import harmless, plain

_OUTPUT, _SUMMARY = "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True)
class Runner:
    """The runner of the job, by its variables; one without any reads nothing and writes nothing."""

    obeys: bool = False
    """Whether it carries out the commands of a log (`::error::`)."""
    output: str = ""
    """File for the outputs of the step."""
    summary: str = ""
    """File for the summary of the step."""
    server: str = ""
    repo: str = ""
    """`owner/name`, in which the job runs."""
    run: str = ""
    attempt: str = ""
    workflow: str = ""
    """Path and ref of the workflow's file, as `owner/name/.github/workflows/x.yml@refs/heads/main`."""
    commit: str = ""
    """The commit that the job looks at; of a pull request its merge with the base."""
    temporary: str = ""
    """Folder that is empty when a job begins."""
    mints_identities: bool = False
    """Whether the job may ask for a token that says who it is (`id-token: write`)."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Runner:
        """Read the variables of a job; by default those of this process."""
        given = os.environ if environment is None else environment
        return cls(
            obeys=given.get("GITHUB_ACTIONS") == "true",
            output=given.get(_OUTPUT, ""),
            summary=given.get(_SUMMARY, ""),
            server=given.get("GITHUB_SERVER_URL", ""),
            repo=given.get("GITHUB_REPOSITORY", ""),
            run=given.get("GITHUB_RUN_ID", ""),
            attempt=given.get("GITHUB_RUN_ATTEMPT", ""),
            workflow=given.get("GITHUB_WORKFLOW_REF", ""),
            commit=given.get("GITHUB_SHA", ""),
            temporary=given.get("RUNNER_TEMP", ""),
            mints_identities=bool(given.get("ACTIONS_ID_TOKEN_REQUEST_URL")),
        )

    @property
    def builder(self) -> str:
        """The address of the workflow's file at its ref; empty outside of a job."""
        return f"{self.server}/{self.workflow}" if self.server and self.workflow else ""

    @property
    def run_address(self) -> str:
        """The address of this attempt of the run; empty outside of a job."""
        if not (self.server and self.repo and self.run):
            return ""
        return f"{self.server}/{self.repo}/actions/runs/{self.run}/attempts/{self.attempt or 1}"

    def files_address(self, ref: str) -> str:
        """Return where the files of a branch or commit are shown, with a slash at the end; empty outside of a job."""
        return f"{self.server}/{self.repo}/blob/{ref}/" if self.server and self.repo and ref else ""

    @property
    def artifacts_address(self) -> str:
        """The address of the list of files that this run hands on; empty outside of a job."""
        return f"{self.server}/{self.repo}/actions/runs/{self.run}#artifacts" if self.run_address else ""

    @property
    def job_folder(self) -> Path | None:
        """A folder that the steps of this job share and no other job has."""
        return Path(self.temporary) if self.obeys and self.temporary else None

    def write(self, values: Mapping[str, str]) -> None:
        """Write outputs of the step. A random delimiter keeps text of a model from ending one and beginning another."""
        import secrets  # noqa: PLC0415  it takes as long to load as all of a command that writes none

        lines = []
        for key, value in values.items():
            mark = f"end-{secrets.token_hex(8)}"
            lines.append(f"{key}<<{mark}\n{value}\n{mark}\n")
        _append(self.output, "".join(lines), _OUTPUT)

    def annotate(
        self, message: str, place: Place = NOWHERE, *, title: str = "", level: Literal["error", "warning"] = "error"
    ) -> None:
        """Print an annotation with its title, at the line of the file where that is known."""
        if not self.obeys:
            return
        parts = [f"title={_property(title)}"] if title else []
        if place and place.line:
            parts += [f"file={_property(place.name)}", f"line={place.line}"]
        # On standard error, so that --json has standard output to itself; the runner reads both.
        command(sys.stderr, f"::{level}{' ' if parts else ''}{','.join(parts)}::{harmless(plain(_data(message)))}")

    def summarize(self, markdown: str) -> None:
        """Add to the summary of the step."""
        _append(self.summary, markdown + "\n", _SUMMARY)

    def stop(self, message: str, verdict: str) -> None:
        """Write what stopped the program; of an output that was written before, the runner takes the later value."""
        from mlx_publish.text.markdown import fenced  # noqa: PLC0415  only errors need it

        self.write({"verdict": verdict})
        self.summarize(f"### mlx-publish: {verdict}\n\n{fenced(message, 'text', 5000)}\n")

    @contextmanager
    def group(self, out: TextIO, title: str) -> Iterator[None]:
        """Begin a part of the log that is folded below its title, which is one harmless line."""
        if not self.obeys:
            print(title, file=out, flush=True)
            yield
            return
        # What stands behind this command is shown, not carried out.
        command(out, f"::group::{title}")
        try:
            yield
        finally:
            command(out, "::endgroup::")


def _append(path: str, text: str, variable: str) -> None:
    if not path or not text:
        return
    try:
        with Path(path).open("a", encoding="utf-8", errors="replace", newline="") as file:
            file.write(text)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise SurroundingsError(
            f"the file that {variable} names cannot be written: {why}", remedy="Look at the runner and its disk."
        ) from error


def _property(text: str) -> str:
    """Return a text as a property of a command has it: nothing in it begins another property or the message."""
    return harmless(plain(_data(text).replace(":", "%3A").replace(",", "%2C")))


def _data(text: str) -> str:
    """Return a text as the data of a command has it: on one line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
