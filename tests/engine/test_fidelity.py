"""The comparison with the source through the command line, beside one that shares no code with it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- both models are read a second time
import mlx_lm  # noqa: TID251
import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import once
from mlx_publish.checks.fidelity import better
from mlx_publish.children.engine import environment
from mlx_publish.context import Context, Outcome
from mlx_publish.converters.mlx_lm import MlxLm
from mlx_publish.engine.fidelity import compare
from mlx_publish.engine.logits_store import write_store
from mlx_publish.engine.passages import Passage
from mlx_publish.errors import Refused
from mlx_publish.evidence.closeness import closeness
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.results import Fidelity, NotCompared
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source import logits as reference
from mlx_publish.source.logits import SourceLogits
from mlx_publish.stages import STAGES, fidelity_stage
from mlx_publish.stages.runner import chain, run_stages
from mlx_publish.text.console import Console
from mlx_publish.work import Work
from models import answer_table, make_model, make_scripted
from pipeline import User, checks, leftovers, read_json, write_recipe
from tiny_tokenizer import build_tokenizer

Floats = NDArray[np.float64]
# Random weights are far from themselves at 4 bits.
ANYTHING = {"max_mean_kld": 100, "min_same_first_choice": 0, "max_perplexity_ratio": 1000}
NUMBERS = ("finite", "mean-kld", "same-first-choice", "perplexity")
TOO_LARGE = "the source is too large for this machine"
WIDEST = "and this is the widest variant, the one that the others are compared with"


@dataclass(frozen=True)
class Compared:
    """What `fidelity` left of the recipe `root`/m.yaml in `root`/work."""

    root: Path

    @property
    def source(self) -> Path:
        """What is true of the source."""
        return self.root / "work/m/source"

    @property
    def log(self) -> Path:
        """Of the child that computes the source's logits alone."""
        return self.source / "reference.log"

    def report(self, label: str) -> dict[str, Any]:
        return read_json(self.root / "work/m" / label / "fidelity.json")

    def result(self, label: str) -> dict[str, Any]:
        result: dict[str, Any] = self.report(label)["result"]
        return result

    def says(self, label: str, check: str) -> dict[str, str]:
        return next(entry for entry in self.report(label)["checks"] if entry["id"] == check)

    def run(self, *words: str, code: int = 0, memory: str | None = None) -> str:
        """Run a command as its users do, on a machine of so many bytes, and return what it printed."""
        recipe = ("--recipe", self.root / "m.yaml", "--work", self.root / "work")
        more = {"MLX_PUBLISH_MEMORY_BYTES": memory} if memory else {}
        return User(self.root / "home", more=more).run(*words, *recipe, code=code).text

    def again(self, **keys: object) -> dict[str, Outcome]:
        """Run the stage alone on the first variant, after a change of the recipe."""
        edit_recipe(self.root, **keys)
        context = stage_context(self.root)
        with context.children:
            return dict(fidelity_stage.run(context, context.variants[:1]))


def edit_recipe(root: Path, **keys: object) -> None:
    (root / "m.yaml").write_text(json.dumps({**read_json(root / "m.yaml"), **keys}))


def stage_context(root: Path) -> Context:
    recipe = recipe_from_file(root / "m.yaml")
    return Context(recipe, recipe.variants, Work(root / "work", recipe.name), Console(io.StringIO()))


def copy(of: Compared, to: Path) -> Compared:
    """One that a test may change."""
    shutil.copytree(of.root, to)
    return Compared(to)


@pytest.fixture(scope="session")
def tiny(shared: Path) -> Compared:
    """Only to be read."""

    def make(root: Path) -> None:
        make_model(root / "m", hidden=128)
        fidelity = {"tokens": 400, **ANYTHING}
        write_recipe(root / "m.yaml", source="./m", variants=["4bit", "8bit", "mxfp4"], fidelity=fidelity)
        Compared(root).run("fidelity")

    return Compared(once(shared / "fidelity-tiny", make))


def kept(measured: Compared) -> list[tuple[str, list[int]]]:
    """Kind and ids of the passages that were compared."""
    content = json.loads((measured.source / "reference/passages.json").read_text())
    return [(passage["kind"], passage["ids"]) for passage in content]


def counted(passages: list[tuple[str, list[int]]]) -> list[bool]:
    """For each position, whether no earlier passage has the same ids up to the next one."""
    seen: set[tuple[int, ...]] = set()
    counts = []
    for _, ids in passages:
        beginnings = [tuple(ids[: end + 1]) for end in range(1, len(ids))]
        counts += [beginning not in seen for beginning in beginnings]
        seen.update(beginnings)
    return counts


def logits(folder: Path, passages: list[tuple[str, list[int]]]) -> Floats:
    """Of all positions, by the model as every user of mlx-lm loads it: in float32, at once, without a cache."""
    model, _ = mlx_lm.load(str(folder))[:2]
    model.set_dtype(mx.float32)
    read = [model(mx.array([ids]))[0, :-1].astype(mx.float32) for _, ids in passages]
    return np.concatenate([np.array(piece) for piece in read]).astype(np.float64)


def softmax(values: Floats) -> Floats:
    weights = np.exp(values - values.max(axis=1)[:, None])
    shares: Floats = weights / weights.sum(axis=1)[:, None]
    return shares


def numbers(source: Floats, model: Floats, passages: list[tuple[str, list[int]]]) -> dict[str, float]:
    """The numbers of the comparison, from probabilities."""
    counts = counted(passages)
    p, q = softmax(source[counts]), softmax(model[counts])
    kld = (p * np.log(p / q)).sum(axis=1)
    following = np.concatenate([ids[1:] for _, ids in passages])[counts]
    rows = np.arange(len(following))
    of_source, of_model = (-np.log(distribution[rows, following]) for distribution in (p, q))
    return {
        "positions": len(kld),
        "mean_kld": kld.mean(),
        "p99_kld": np.percentile(kld, 99),
        "max_kld": kld.max(),
        "median_kld": np.median(kld),
        "p90_kld": np.percentile(kld, 90),
        "p999_kld": np.percentile(kld, 99.9),
        "correlation": np.corrcoef(of_source, of_model)[0, 1],
        "same_first_choice": (p.argmax(axis=1) == q.argmax(axis=1)).mean(),
        "perplexity_source": np.exp(of_source.mean()),
        "perplexity": np.exp(of_model.mean()),
        "perplexity_ratio": np.exp((of_model - of_source).mean()),
        "rms_delta_p": np.sqrt(np.mean((np.exp(-of_model) - np.exp(-of_source)) ** 2)),
    }


@pytest.fixture(scope="module")
def of_tiny(tiny: Compared) -> Floats:
    return logits(tiny.root / "m", kept(tiny))


@pytest.mark.parametrize("label", ["4bit", "8bit", "mxfp4"])
def test_the_report_agrees_with_a_second_computation(tiny: Compared, of_tiny: Floats, label: str) -> None:
    passages, result = kept(tiny), tiny.result(label)
    right = numbers(of_tiny, logits(tiny.root / f"work/m/{label}/model", passages), passages)
    assert {key: result[key] for key in right} == pytest.approx(right, rel=1e-4)
    assert (result["computed_in"], result["source_computed_in"], result["limited"]) == ("float32", "float32", False)
    assert result["against"] == {"what": "source"}
    assert result["tokens_sha256"] == tiny.result("4bit")["tokens_sha256"]


def test_the_ids_are_those_of_the_sources_tokenizer(tiny: Compared) -> None:
    passages = kept(tiny)
    assert [(kind, len(ids)) for kind, ids in passages] == [
        *[("prose", 32)] * 5,
        *((kind, size) for kind in ("code", "dialogue", "scripts") for size in (27, 27, 26)),
    ]
    for kind in ("prose", "code", "scripts"):
        found = [ids for of, ids in passages if of == kind]
        for text, ids in zip(reference.texts()[kind], found, strict=False):
            assert ids == build_tokenizer().encode(text).ids[: len(ids)]


def marks(folder: Path) -> dict[str, tuple[int, int]]:
    """When each file was written, and which one it is."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in (folder, *folder.rglob("*"))}


def unchained(report: bytes) -> dict[str, Any]:
    """A report without the digests of those before it, which name folders of this machine."""
    content: dict[str, Any] = json.loads(report)
    return {key: value for key, value in content.items() if key != "chain"}


def test_the_source_is_computed_while_it_is_converted_and_never_again(tiny: Compared, tmp_path: Path) -> None:
    assert not tiny.log.exists()
    mine = copy(tiny, tmp_path / "mine")
    before, report = marks(mine.source), (mine.root / "work/m/4bit/fidelity.json").read_bytes()
    printed = mine.run("fidelity", "--variant", "4bit", "--force")
    assert "running 4bit" in printed
    assert "with the source" not in printed
    assert marks(mine.source) == before
    assert unchained((mine.root / "work/m/4bit/fidelity.json").read_bytes()) == unchained(report)


def test_what_is_kept_is_of_these_tokens_this_text_and_these_bytes(
    tiny: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = copy(tiny, tmp_path / "mine")

    def known(model: str = "source") -> bool:
        return SourceLogits(stage_context(mine.root), model).known() is not None

    assert known()
    assert not known("the digest of a variant")
    edit_recipe(mine.root, fidelity={"tokens": 401})
    assert not known()
    edit_recipe(mine.root, fidelity={"tokens": 400, "max_mean_kld": 0.5})
    assert known()
    with monkeypatch.context() as patch:
        patch.setattr(reference, "texts", lambda: {"prose": ["x"], "code": [], "scripts": [], "dialogue": []})
        assert not known()
    with monkeypatch.context() as patch:
        patch.setattr(MlxLm, "versions", lambda _: {"mlx": "0.1"})
        assert not known()
    (mine.root / "m/LICENSE").write_text("another one")
    assert not known()


@pytest.mark.parametrize(
    "harm",
    [
        lambda store: (store / "00001.safetensors").unlink(),
        lambda store: (store / "passages.json").unlink(),
        lambda store: (store / "00000.safetensors").write_bytes(b"short"),
        shutil.rmtree,
        lambda store: (store / "more").touch(),
        lambda store: store.with_suffix(".json").write_text("{"),
    ],
)
def test_a_store_that_is_not_whole_is_not_used(tiny: Compared, tmp_path: Path, harm: Callable[[Path], object]) -> None:
    mine = copy(tiny, tmp_path / "mine")
    harm(mine.source / "reference")
    assert SourceLogits(stage_context(mine.root)).known() is None


def test_values_of_positions_are_kept_where_they_are_wanted_and_go_where_they_are_not(
    tiny: Compared, tmp_path: Path
) -> None:
    mine = copy(tiny, tmp_path / "mine")
    raw = mine.root / "work/m/4bit/fidelity-positions.npz"
    assert not raw.exists()
    mine.again(fidelity={"tokens": 400, "raw": True, **ANYTHING})
    values, result = np.load(raw, allow_pickle=False), tiny.result("4bit")
    assert {name: len(values[name]) for name in values} == dict.fromkeys(values, result["positions"])
    assert values["kld"].mean() == pytest.approx(result["mean_kld"], rel=1e-5)
    assert values["same"].mean() == pytest.approx(result["same_first_choice"], rel=1e-5)
    assert np.exp(-values["model"].mean()) == pytest.approx(result["perplexity"], rel=1e-5)
    passages = kept(mine)
    all_of_it = [(kind, place, token) for kind, ids in passages for place, token in enumerate(ids[1:])]
    kept_of_it = [one for one, counts in zip(all_of_it, counted(passages), strict=True) if counts]
    assert list(zip(*(values[name].tolist() for name in ("kind", "position", "token")), strict=True)) == kept_of_it
    mine.again(fidelity={"tokens": 400, **ANYTHING})
    assert not raw.exists()
    assert not leftovers(mine.root)


def test_the_source_is_read_again_where_it_has_to_be(tiny: Compared, tmp_path: Path) -> None:
    mine = copy(tiny, tmp_path / "mine")
    (mine.source / "reference/00002.safetensors").unlink()
    reports = mine.again()
    assert mine.log.exists()
    assert to_json(reports["4bit"].result) == tiny.result("4bit")
    assert SourceLogits(stage_context(mine.root)).known() is not None
    before = marks(mine.log)
    other = mine.again(fidelity={"tokens": 200, **ANYTHING})["4bit"].result
    assert isinstance(other, Fidelity)
    assert marks(mine.log) != before
    assert sum(len(ids) for _, ids in kept(mine)) == 200
    assert other.positions == sum(counted(kept(mine))) < 200 - len(kept(mine))
    assert other.tokens_sha256 != tiny.result("4bit")["tokens_sha256"]
    assert not leftovers(mine.root)


def test_a_model_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    source, other = make_model(tmp_path / "a"), make_model(tmp_path / "b", vocab=384)
    write_store(tmp_path / "store", mlx_lm.load(str(source))[0], [Passage("prose", tuple(range(20)))])
    with pytest.raises(Refused) as caught:
        compare(str(other), "4bit", str(tmp_path / "store"), lambda _: None)
    assert caught.value.check == "same-shape"
    assert caught.value.message == "logits of shape (19, 384) where the source has (19, 320)"


def memory(root: Path) -> str:
    """Three times the size of the source's file: less than twice what it takes in float32."""
    return str(3 * (root / "m/model.safetensors").stat().st_size)


@pytest.fixture(scope="module")
def too_large(tiny: Compared, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Compared and described on a machine with memory for the variants and not for the source. Only to be read."""
    mine = copy(tiny, tmp_path_factory.mktemp("fidelity") / "mine")
    edit_recipe(mine.root, variants=["4bit", "8bit"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLX_PUBLISH_MEMORY_BYTES", memory(mine.root))
        context = stage_context(mine.root)
        for stage in ("fidelity", "card"):
            assert run_stages(context, chain(STAGES, stage)) == ()
    return mine


def test_a_source_too_large_is_replaced_by_the_widest_variant(too_large: Compared, tiny: Compared) -> None:
    result = too_large.result("4bit")
    bits = read_json(too_large.root / "work/m/8bit/convert.json")["result"]["bits_per_weight"]
    assert result["against"] == {"what": "variant", "label": "8bit", "bits_per_weight": bits}
    assert result["tokens_sha256"] == tiny.result("4bit")["tokens_sha256"]
    entry = too_large.says("4bit", "compared-with")
    assert (entry["status"], entry["remedy"]) == ("warn", "Measure it on a machine with more memory.")
    assert entry["message"] == (
        f"compared with the variant 8bit ({bits:.2f} bits per weight), because the source does not fit this machine's memory"
    )
    statuses = checks(too_large.root / "work/m/4bit", "fidelity")
    assert {statuses[check] for check in NUMBERS} == {"pass"}


def test_the_widest_is_read_as_any_variant_is(too_large: Compared) -> None:
    passages, models = kept(too_large), {name: too_large.root / f"work/m/{name}/model" for name in ("4bit", "8bit")}
    right = numbers(logits(models["8bit"], passages), logits(models["4bit"], passages), passages)
    assert {key: too_large.result("4bit")[key] for key in right} == pytest.approx(right, rel=1e-4)


def test_the_widest_itself_is_not_measured_and_says_why(too_large: Compared) -> None:
    result = too_large.result("8bit")
    assert result["not_measured"] == f"{TOO_LARGE}, {WIDEST}"
    assert "mean_kld" not in result
    statuses = checks(too_large.root / "work/m/8bit", "fidelity")
    assert (statuses["compared-with"], {statuses[check] for check in NUMBERS}) == ("warn", {"skip"})
    assert too_large.says("8bit", "compared-with")["message"] == f"not measured, because {TOO_LARGE}, {WIDEST}"
    assert too_large.report("8bit")["verdict"] == "pass"


def test_the_cards_say_what_was_compared(too_large: Compared) -> None:
    models = {label: too_large.root / "work/m" / label / "model" for label in ("4bit", "8bit")}
    evidence = {label: read_json(folder / "mlx-publish.json") for label, folder in models.items()}
    cards = {label: " ".join((folder / "README.md").read_text().split()) for label, folder in models.items()}
    assert evidence["4bit"]["fidelity"]["against"]["label"] == "8bit"
    assert "the variant 8bit (8.52 bits per weight)" in cards["4bit"]
    assert "close to the source" not in cards["4bit"]
    assert evidence["8bit"]["fidelity"] is None
    assert evidence["8bit"]["missing"]["fidelity"] == f", because {TOO_LARGE}, {WIDEST}"
    assert f"**Fidelity** was not measured, because {TOO_LARGE}, {WIDEST}." in cards["8bit"]
    assert [rung["mean_kld"] for rung in evidence["8bit"]["ladder"]] == [too_large.result("4bit")["mean_kld"], None]


def test_one_variant_alone_has_nothing_to_be_compared_with(
    too_large: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = copy(too_large, tmp_path / "mine")
    monkeypatch.setenv("MLX_PUBLISH_MEMORY_BYTES", memory(mine.root))
    alone = mine.again(variants=["8bit"])["8bit"].result
    assert isinstance(alone, NotCompared)
    assert alone.not_measured == TOO_LARGE


@pytest.mark.slow
def test_what_was_not_measured_is_published_only_with_a_reason(tmp_path: Path) -> None:
    make_scripted(tmp_path / "m", answer_table())
    keys = {"variants": ["4bit", "8bit"], "to": "folder:out/{variant}", "base_model": "acme/base"}
    write_recipe(tmp_path / "m.yaml", source="./m", fidelity={"tokens": 64}, **keys)
    made, small = Compared(tmp_path), memory(tmp_path)
    printed = made.run("run", "--until", "card", memory=small)
    assert f"not measured, because {TOO_LARGE}, {WIDEST}" in printed
    assert "compared with the variant 8bit" in printed
    printed = made.run("upload", code=1, memory=small)
    assert "the evidence has no fidelity" in printed
    assert checks(tmp_path / "work/m/4bit", "upload")["evidence-complete"] == "pass"
    assert not (tmp_path / "out").exists()
    edit_recipe(tmp_path, accept=[{"check": "evidence-complete", "reason": "no machine here is large enough"}])
    printed = made.run("publish", memory=small)
    assert "(accepted: no machine here is large enough)" in printed
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"4bit", "8bit"}
    assert "4bit" in (tmp_path / "out/8bit/ladder.svg").read_text(encoding="utf-8")


WIDTHS = ("2bit", "3bit", "4bit", "6bit", "8bit")
REFUSED = WIDTHS[:2]


@pytest.fixture(scope="session")
def demo(source: Path, shared: Path) -> Compared:
    """The demo's model at five widths, by the limits of a recipe that says nothing. Only to be read."""

    def make(root: Path) -> None:
        root.mkdir()
        write_recipe(root / "m.yaml", source=str(source), variants=list(WIDTHS), fidelity={"tokens": 256})
        (root / "printed").write_text(Compared(root).run("fidelity", code=1))

    return Compared(once(shared / "fidelity-demo", make))


@pytest.mark.slow
def test_fewer_bits_lose_more(demo: Compared) -> None:
    results = [demo.result(label) for label in WIDTHS]
    assert sorted(result["mean_kld"] for result in reversed(results)) == [
        result["mean_kld"] for result in reversed(results)
    ]
    assert len({result["mean_kld"] for result in results}) == len(WIDTHS)
    shares = [result["same_first_choice"] for result in results]
    assert shares == sorted(shares)


@pytest.mark.slow
@pytest.mark.parametrize("label", WIDTHS)
def test_by_default_a_broken_variant_is_refused_and_a_lossy_one_is_not(demo: Compared, label: str) -> None:
    assert demo.report(label)["verdict"] == ("refused" if label in REFUSED else "pass")
    entry = demo.says(label, "mean-kld")
    lossy = closeness(demo.result(label)["mean_kld"]).warns if label not in REFUSED else False
    assert entry["status"] == ("fail" if label in REFUSED else "warn" if lossy else "pass")
    if label in REFUSED:
        assert "the limit is 1" in entry["message"]
        assert entry["remedy"] == better(Variant.model_validate({"bits": int(label[0])}))
        for way in (f"more bits ({int(label[0]) + 1}bit)", "group_size: 32", "mixed_3_6"):
            assert way in (demo.root / "printed").read_text()


# The same in a process of its own, which has a fast BLAS where there is one: a minute less.
READ = """
import json, sys
import mlx.core as mx, mlx_lm, numpy as np
from mlx_lm.utils import dequantize_model
folder, passages, out = sys.argv[1:]
model = mlx_lm.load(folder)[0]
model.set_dtype(mx.float32)
model = dequantize_model(model)
read = [np.array(model(mx.array([passage["ids"]]))[0, :-1]) for passage in json.load(open(passages))]
np.save(out, np.concatenate(read))
"""


def logits_quickly(folder: Path, demo: Compared, out: Path) -> Floats:
    passages = demo.source / "reference/passages.json"
    subprocess.run(
        [sys.executable, "-c", READ, folder, passages, out],
        env=environment(Path(tempfile.mkdtemp(dir=out.parent)), 1),
        check=True,
    )
    logits: Floats = np.load(out).astype(np.float64)
    return logits


@pytest.mark.slow
def test_on_the_demo_it_agrees_with_a_second_computation(source: Path, demo: Compared, tmp_path: Path) -> None:
    passages, result = kept(demo), demo.result("4bit")
    models = (source, demo.root / "work/m/4bit/model")
    of_source, of_model = (logits_quickly(folder, demo, tmp_path / "logits.npy") for folder in models)
    right = numbers(of_source, of_model, passages)
    assert {key: result[key] for key in right} == pytest.approx(right, rel=1e-4)
