"""Judgements about a published model, by its files, headers and evidence alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_publish import __version__
from mlx_publish.checks.base import Check, Says, failed, passed, skipped
from mlx_publish.checks.listed import shown, untested, wrong_list
from mlx_publish.checks.remade import NOT_OURS as _NOT_OURS
from mlx_publish.checks.remade import REMEDIES, WEIGHT_FILES, WORDS, judge
from mlx_publish.evidence.digests import MADE_FROM_EVIDENCE, FileDigest, folder_digest
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.planned import plan_of, wrong_plan
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.weight_differences import Closeness, WeightDifferences
from mlx_publish.model.names import shown as shown_name
from mlx_publish.model.senses import LANGUAGE
from mlx_publish.model.weights import TensorInfo, bits_per_weight, parameter_count
from mlx_publish.text.numbers import significant

_NAMED = 5  # files in a message
_SAME_MACHINE = "Verify it on a machine like the one that the evidence names in model.made_on."


@dataclass(frozen=True)
class Facts:
    """A published model: files, headers, evidence, and what another conversion or another rendering gave."""

    evidence: Evidence
    sha256: Mapping[str, str]
    """Of every published file, by path."""
    sizes: Mapping[str, int]
    tensors: tuple[TensorInfo, ...]
    config: Mapping[str, Any]
    texts: Mapping[str, str | None]
    """What is made from the evidence, as published; of a picture the SHA-256."""
    rendered: Mapping[str, str | None] | str
    """The same, made anew; or the reason why that is not possible here."""
    made: Mapping[str, str] | None = None
    """SHA-256 of the files that came out of another conversion; None if none was asked for."""
    weights: WeightDifferences | None = None
    """How the published weights differ from those of that conversion; None if no weight file does."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Versions, here, of the packages that show in what is computed."""

    misplanned: tuple[str, ...] = ()
    """What is wrong with the published plan, and where config.json has other bits than it."""
    attested: str = ""
    """Who vouches for the evidence; empty if nobody does, or nobody was asked."""
    closeness: Closeness | str = ""
    """Of a method that gives other bytes on other machines: how far published and new weights are from their source, or
    why that is not known; empty for all other methods."""
    differences: tuple[str, ...] | None = None
    """Where the evidence says something else than the source gives; None if it was not converted again."""

    @property
    def language_tensors(self) -> tuple[TensorInfo, ...]:
        """Those that bits per weight are about: of a model that sees or hears, the language model's."""
        whole = self.evidence.model.towers is None
        return tuple(tensor for tensor in self.tensors if whole or tensor.name.startswith(LANGUAGE))

    @property
    def listed(self) -> Mapping[str, FileDigest]:
        """The evidence's list of files, by path."""
        return {file.path: FileDigest(file.path, file.size, file.sha256) for file in self.evidence.model.files}


def _files(facts: Facts) -> Says:
    listed, there = facts.listed, set(facts.sha256) - MADE_FROM_EVIDENCE
    missing, extra = sorted(set(listed) - there), sorted(there - set(listed))
    here = {path: (facts.sizes.get(path), facts.sha256[path]) for path in set(listed) & there}
    other = sorted(path for path, file in here.items() if file != (listed[path].size, listed[path].sha256))
    words = [
        f"{what}: {', '.join(paths[:_NAMED])}"
        for what, paths in (("other bytes", other), ("missing", missing), ("not in the evidence", extra))
        if paths
    ]
    if words:
        return failed("; ".join(words), _NOT_OURS, other=other, missing=missing, extra=extra)
    return passed(f"{len(listed)} files have the size and the SHA-256 of the evidence")


def _whole(facts: Facts) -> Says:
    stated, computed = facts.evidence.model.model, folder_digest(facts.listed.values())
    if stated != computed:
        return failed(
            f"its own digest of the files is {stated[:12]}, but the file list gives {computed[:12]}", _NOT_OURS
        )
    if wrong := [*map(str, wrong_plan(facts.evidence)), *facts.misplanned]:
        return failed("; ".join(wrong[:_NAMED]), _NOT_OURS)
    plan = plan_of(facts.evidence)
    named = f", and its plan is {plan.file} in that list" if plan else ""
    return passed(f"the list of files gives the model's digest {computed[:12]}{named}")


def _weights(facts: Facts) -> Says:
    model, quantization = facts.evidence.model.plain, facts.config.get("quantization")
    computed = {
        "parameters": parameter_count(facts.tensors, quantization),
        "weight_bytes": sum(tensor.nbytes for tensor in facts.tensors),
        "bits_per_weight": round(bits_per_weight(facts.language_tensors, quantization), 4),
    }
    other = [
        f"{key} is {value}, but the evidence has {model[key]}" for key, value in computed.items() if value != model[key]
    ]
    other += _towers(facts)
    if other:
        return failed("; ".join(other), _NOT_OURS)
    return passed(f"{computed['parameters']:,} parameters at {computed['bits_per_weight']:.2f} bits, by the headers")


def _towers(facts: Facts) -> Iterator[str]:
    """Yield parts that see or hear, or join these to the language model, that are not as the evidence counts them."""
    parts: dict[str, list[TensorInfo]] = {}
    for tensor in facts.tensors if facts.evidence.model.towers is not None else ():
        if not tensor.name.startswith(LANGUAGE):
            parts.setdefault(tensor.name.partition(".")[0][:200], []).append(tensor)
    stated = {tower.name: (tower.tensors, tower.parameters, tower.bytes) for tower in facts.evidence.model.towers or ()}
    for name in sorted(parts.keys() | stated.keys()):
        there = parts.get(name, [])
        computed = (
            len(there),
            parameter_count(there, facts.config.get("quantization")),
            sum(tensor.nbytes for tensor in there),
        )
        if computed != stated.get(name, (0, 0, 0)):
            words = (f"{n:,} {of}" for n, of in zip(computed, ("tensors", "parameters", "bytes"), strict=True))
            yield f"{shown_name(name)} has {', '.join(words)}, which the evidence does not say"


def _card(facts: Facts) -> Says:
    if isinstance(facts.rendered, str):
        return skipped(facts.rendered)
    other = [path for path, text in facts.rendered.items() if facts.texts[path] != text]
    if other:
        return failed(f"{', '.join(other)}: different from what the evidence gives", _NOT_OURS, other=other)
    return passed("card and chart match the evidence, byte for byte")


def _tested(facts: Facts) -> Says:
    reason = facts.evidence.untested
    if lacking := list(map(str, untested(facts.evidence, reason))):
        return failed("; ".join(lacking), _NOT_OURS)
    if reason:
        return passed(f"published without all tests, as it says itself, because: {shown(reason)}")
    return passed("smoke and fidelity are present")


def _checks(facts: Facts) -> Says:
    evidence = facts.evidence
    if wrong := list(map(str, wrong_list(evidence))):
        return failed("; ".join(wrong[:_NAMED]), _NOT_OURS, faults=wrong)
    message = f"it lists {len(evidence.checks)} checks, none of them failed"
    if evidence.generator != __version__:
        return passed(f"{message}; which ones mlx-publish {shown(evidence.generator)} had to run is not known here")
    return passed(f"{message}: all that had to run")


def _source(facts: Facts) -> Says:
    if facts.differences is None:
        return skipped("not compared with the source; --rebuild does that")
    if facts.differences:
        return failed("; ".join(facts.differences[:_NAMED]), _NOT_OURS, differences=list(facts.differences))
    return passed("config, sizes and types are what the source gives; licence and languages are the publisher's claim")


def _vouched(facts: Facts) -> Says:
    """List what the files alone cannot prove, and who vouches for it."""
    evidence = facts.evidence
    chosen = {"ladder": evidence.ladder, "proof": evidence.proof, "quantization": evidence.quantization}
    parts = {**evidence.measured, **chosen}
    claimed = [key for key, value in parts.items() if value]
    claimed += ["checks", "licence", "language"]
    if facts.made is None:
        claimed += ["source", "config", "tools"]
    if facts.attested:
        return passed(f"{facts.attested} vouches for: {', '.join(claimed)}", claimed=claimed, by=facts.attested)
    words = f"claimed only by its publisher, attested by nobody else: {', '.join(claimed)}"
    return skipped(words, claimed=claimed, told=True)


def _again(facts: Facts) -> Says:
    if facts.made is None:
        return skipped("not requested; --rebuild converts the source again")
    made = facts.made
    other = sorted(path for path in facts.listed if made.get(path) != facts.sha256.get(path))
    if not other and facts.weights is None:
        return passed(f"{len(facts.listed)} files are the same when converted again from the source, byte for byte")
    if facts.closeness and all(path.endswith(".safetensors") for path in other):
        return _close(facts, other)
    pins = _pins(facts)
    named = f": {', '.join(other[:_NAMED])}" if other else ""
    words = f"{len(other)} of {len(facts.listed)} files differ{named}"
    if facts.weights is None:
        return failed(words, pins or "The source does not convert to these bytes.", other=other)
    judged = judge(facts.weights, facts.evidence.model.made_on if not pins else None)
    details = {"kind": judged.kind, "verdict": WORDS[judged.kind], **to_json(facts.weights)}
    beside = any(not path.endswith(WEIGHT_FILES) for path in other)
    remedy = pins or (_NOT_OURS if beside else REMEDIES[judged.kind])
    return failed(f"{words}; {WORDS[judged.kind]}: {judged.why}", remedy, other=other, weights=details)


def _close(facts: Facts, other: Sequence[str]) -> Says:
    """Judge weights that are learned anew on another machine by their distance from the source."""
    method = shown(facts.evidence.quantization.method) if facts.evidence.quantization else "its method"
    found, words = facts.closeness, f"{method} gives other bytes on another machine"
    if isinstance(found, str):
        return failed(f"{words}, and these cannot be compared by fidelity: {found}", _pins(facts) or _SAME_MACHINE)
    numbers = (
        f"mean KLD {significant(found.published)}, and the evidence says {significant(found.stated)} ± "
        f"{significant(found.error, 2)}; made again it has {significant(found.rebuilt)}"
    )
    details = {"kind": "learned", **to_json(found)}
    if found.is_close:
        return passed(f"other bytes, as close to the source: {numbers}; {words}", other=list(other), weights=details)
    return failed(f"farther from the source than its evidence says: {numbers}", _NOT_OURS, weights=details)


def _pins(facts: Facts) -> str:
    """Return what to install where the evidence names other versions than these; empty if it does not."""
    tools = facts.evidence.tools
    pins = " ".join(f"{name}=={tools[name]}" for name, now in facts.tools.items() if tools.get(name, now) != now)
    return f"Try again after: pip install {pins}" if pins else ""


PUBLISHED: tuple[Check[Facts], ...] = (
    Check("files-as-told", "The files match the evidence", "changed, lost or added files", _files),
    Check("evidence-whole", "The evidence is consistent", "edited evidence", _whole),
    Check("weights-as-told", "The weight headers match the evidence", "edited evidence", _weights),
    Check("card-as-told", "The card matches the evidence", "a card that claims something else", _card),
    Check("all-tested", "smoke and fidelity have run", "an untested model under a good name", _tested),
    Check("checks-told", "The list of checks is complete", "an omitted failure", _checks),
    Check("facts-of-source", "The evidence matches the source", "a forged config or language", _source),
    Check("made-again", "Converting the source again gives the same bytes", "bytes made from something else", _again),
    Check("vouched-for", "Measured numbers are signed or attested", "numbers that nobody can check", _vouched),
)
