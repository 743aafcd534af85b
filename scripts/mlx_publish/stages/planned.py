"""What `upload --dry-run` says: each file that would be sent or removed, and where."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_publish.evidence.report import Finding
from mlx_publish.evidence.results import PlannedUpload
from mlx_publish.hub.manifest import Foreseen, Sent, digests
from mlx_publish.text.console import Console
from mlx_publish.text.numbers import size

_SHOWN = 12  # hex digits of a digest


@dataclass(frozen=True)
class Planned:
    """An upload that is not done."""

    destination: str
    foreseen: Foreseen
    files: tuple[Sent, ...]
    tag: str | None
    """Empty where none would be set; None where the signature, which is not made here, decides it."""

    @property
    def state(self) -> str:
        """`new`, `ours` or `adopted`."""
        return "new" if self.foreseen.new else "adopted" if self.foreseen.adopted else "ours"

    def print(self, console: Console, label: str, *, signs: bool) -> None:
        """Print the files by name, size and digest."""
        sent = self.foreseen.sent
        console.say(f"{label}: would send {len(sent)} of {len(self.files)} files to {self.destination}")
        for file in sent:
            console.say(f"  + {file.path}  {size(file.size)}  sha256 {file.sha256[:_SHOWN]}")
        if signs:
            console.say("  + model.sig  (made when it is signed)")
        for path in self.foreseen.removed:
            console.say(f"  - {path}")

        console.say(f"  {self._words}")
        if self.tag:
            console.say(f"  {self._tag_words}")

    @property
    def _words(self) -> str:
        words = {
            "new": "does not exist yet and would be created",
            "ours": "was published from this source and would be updated",
            "adopted": "holds other files, which 'adopt: true' would replace",
        }
        return f"{self.destination} {words[self.state]}"

    @property
    def _tag_words(self) -> str:
        kept = "exists already, for exactly these files" if self.foreseen.tagged else "would be created"
        return f"the tag {self.tag} {kept}"

    def findings(self, lacking: str) -> tuple[Finding, ...]:
        """Return what there is to say of destination and tag; `lacking` is what the token lacks to write."""
        findings = [Finding("destination-ours", "warn" if self.foreseen.adopted else "pass", self._words)]
        if self.tag:
            findings.append(Finding("tag-free", "pass", self._tag_words))
        if lacking:
            remedy = "Set HF_TOKEN to a token with write access before the real upload."
            findings.append(
                Finding("destination-writable", "warn", f"{lacking}, so nothing could be published", remedy)
            )
        return tuple(findings)

    def result(self) -> PlannedUpload:
        """Return the record of the report."""
        sent = self.foreseen.sent
        return PlannedUpload(
            published=False,
            destination=self.destination,
            state=self.state,
            tag=self.tag,
            bytes=sum(file.size for file in sent),
            sent=digests(sent),
            unchanged=len(self.files) - len(sent),
            removed=self.foreseen.removed,
        )
