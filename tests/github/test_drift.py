"""Sources and converters that changed: printed, and kept in one issue that is updated and closed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from act import GH
from hub import Hub
from pipeline import User

CARD = b"---\nlicense: mit\nbase_model: acme/base\n---\n# Tiny\n"
CONFIG = {"chat_template": "{{ messages }}", "tokenizer_class": "PreTrainedTokenizerFast"}
FILES: dict[str, bytes | Path] = {
    "README.md": CARD,
    "config.json": b"{}",
    "tokenizer_config.json": json.dumps(CONFIG).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": b"\x02\0\0\0\0\0\0\0{}",
    "LICENSE": b"MIT",
}


class PyPI(BaseHTTPRequestHandler):
    """Answers with the newest version of everything."""

    def do_GET(self) -> None:
        server: Any = self.server
        body = json.dumps({"info": {"version": server.version}}).encode()
        self.send_response(200 if self.path == "/pypi/mlx-lm/json" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Repo:
    """A repo of recipes, a Hub with their sources, a PyPI, and a recording gh."""

    user: User
    hub: Hub
    pypi: Any
    folder: Path

    @property
    def root(self) -> Path:
        return self.user.home

    def drift(self, *words: str, code: int = 0) -> str:
        return " ".join(self.user.run("drift", *words, code=code).text.split())

    def asked(self) -> list[str]:
        log = self.folder / "gh_log"
        return [" ".join(line.split()[:2]) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def body(self) -> str:
        return (self.folder / "gh_body").read_text(encoding="utf-8")


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repo]:
    program, root = tmp_path / "bin/gh", tmp_path / "root"
    program.parent.mkdir()
    program.write_text(GH)
    program.chmod(0o755)
    (root / "recipes").mkdir(parents=True)
    server: Any = HTTPServer(("127.0.0.1", 0), PyPI)
    server.version = "0.32.9"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    with Hub(tmp_path / "hub") as hub:
        more = {name: str(tmp_path / name.lower()) for name in ("GH_LOG", "GH_OPEN", "GH_BODY")} | {
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "MLX_PUBLISH_PYPI": f"http://127.0.0.1:{server.server_port}",
        }
        pinned = hub.put("acme/Tiny", FILES)
        (root / "recipes/tiny.yaml").write_text(f"source: acme/Tiny\nrevision: '{pinned}'\nto: lab/tiny\n")
        yield Repo(User(root, hub, None, more), hub, server, tmp_path)
    server.shutdown()
    thread.join()
    server.server_close()


def evidence(repo: Repo, version: str) -> None:
    path = repo.root / "cards/lab/tiny/evidence.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"tools": {"mlx-lm": version, "mlx": "0.32.4"}}))


def test_nothing_moved_opens_nothing(repo: Repo) -> None:
    evidence(repo, "0.32.2")
    (repo.root / "recipes/branch.yaml").write_text("source: acme/Other\nrevision: main\n")
    (repo.root / "recipes/local.yaml").write_text("source: ../models/mine\nto: lab/mine\n")
    output = repo.drift("--issue")
    assert "branch: skipped: it is not pinned to a commit (mlx-publish pin recipes/branch.yaml)" in output
    assert "local: skipped: it has a local folder as its source" in output
    assert "checked 3 recipes: 1 source at its head, 2 skipped, cards of 1: none made by an older converter" in output
    assert repo.asked() == ["issue list"]


def test_an_empty_look_is_an_error(repo: Repo) -> None:
    assert "no recipes in elsewhere, which is not a folder" in repo.drift("--recipes", "elsewhere", code=2)
    (repo.root / "recipes/tiny.yaml").write_text("source: acme/Tiny\nrevision: main\n")
    output = repo.drift(code=2)
    assert "nothing to check: tiny is not pinned to a commit" in output
    assert "mlx-publish pin" in output
    (repo.root / "recipes/tiny.yaml").unlink()
    output = repo.drift(code=2)
    assert "no recipes in recipes" in output
    assert "mlx-publish drift --recipes DIR" in output


def test_json_has_all_that_was_looked_at(repo: Repo) -> None:
    before = repo.hub.head("acme/Tiny")
    head = repo.hub.put("acme/Tiny", {"LICENSE": b"GPL"})
    (repo.root / "recipes/branch.yaml").write_text("source: acme/Other\nrevision: main\n")
    ended = repo.user.run("drift", "--json")
    row = {"recipe": "tiny", "of": "acme/Tiny", "before": before, "now": head, "what": "licence", "kind": "source"}
    why = "is not pinned to a commit (mlx-publish pin recipes/branch.yaml)"
    assert json.loads(ended.out) == {
        "schema": "mlx-publish/drift/1",
        "recipes": 2,
        "at_head": [],
        "moved": [row],
        "skipped": [{"recipe": "branch", "why": why}],
        "converters": 0,
        "issue": None,
    }
    assert "checked 2 recipes: 0 sources at their head, 1 source moved, 1 skipped" in " ".join(ended.err.split())


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"model.safetensors": b"\x02\0\0\0\0\0\0\0{ "}, "weights"),
        ({"tokenizer_config.json": json.dumps({**CONFIG, "chat_template": "{{ 1 }}"}).encode()}, "chat template"),
        (
            {"tokenizer_config.json": json.dumps({**CONFIG, "model_max_length": 1}).encode()},
            "nothing that affects the conversion",
        ),
        ({"chat_template.jinja": b"{{ messages }}"}, "chat template"),
        ({"tokenizer.json": b"{ }"}, "tokenizer"),
        ({"generation_config.json": b"{}"}, "config"),
        ({"preprocessor_config.json": b"{}"}, "processor"),
        ({"LICENSE": b"GPL"}, "licence"),
        ({"README.md": CARD.replace(b"mit", b"gpl-3.0")}, "licence"),
        ({"README.md": CARD.replace(b"acme/base", b"acme/other")}, "base model"),
        ({"README.md": CARD + b"More words.\n"}, "nothing that affects the conversion"),
        ({"config.json": b"{ }", "LICENSE": b"GPL"}, "config, licence"),
    ],
)
def test_what_moved_of_a_source_is_named(repo: Repo, files: dict[str, bytes | Path], what: str) -> None:
    before = repo.hub.head("acme/Tiny")
    head = repo.hub.put("acme/Tiny", files)
    assert f"tiny: acme/Tiny: {what} ({before[:12]} → {head[:12]})" in repo.drift()
    assert repo.asked() == []


def test_one_issue_is_opened_updated_and_closed(repo: Repo) -> None:
    before = repo.hub.head("acme/Tiny")
    head = repo.hub.put("acme/Tiny", {"LICENSE": b"GPL"})
    assert "issue: https://github.com/lab/models/issues/8" in repo.drift("--issue")
    assert repo.asked() == ["issue list", "label create", "issue create"]
    assert "issue list --label mlx-publish-drift --state open" in (repo.folder / "gh_log").read_text()
    assert f"| tiny | acme/Tiny | {before[:12]} | {head[:12]} | licence |" in repo.body
    there = {"number": 8, "url": "https://github.com/lab/models/issues/8", "body": repo.body}
    opened = repo.folder / "gh_open"
    opened.write_text(json.dumps([there]))
    repo.drift("--issue")
    assert repo.asked()[3:] == ["issue list"]
    repo.hub.put("acme/Tiny", {"model.safetensors": b"\x02\0\0\0\0\0\0\0{ "})
    repo.drift("--issue")
    assert repo.asked()[4:] == ["issue list", "issue edit"]
    assert "| weights, licence |" in repo.body
    (repo.root / "recipes/tiny.yaml").write_text(f"source: acme/Tiny\nrevision: '{repo.hub.head('acme/Tiny')}'\n")
    repo.drift("--issue")
    assert repo.asked()[6:] == ["issue list", "issue close"]


def test_a_newer_converter_is_told_by_its_minor_version(repo: Repo) -> None:
    evidence(repo, "0.31.3")
    assert "tiny: mlx-lm: a newer converter (0.31.3 → 0.32.9)" in repo.drift()
    repo.pypi.version = "0.31.9"
    assert "cards of 1: none made by an older converter" in repo.drift()


def test_sources_and_recipes_that_are_gone_or_wrong_are_rows(repo: Repo) -> None:
    (repo.root / "recipes/gone.yaml").write_text(f"source: acme/Gone\nrevision: '{'a' * 40}'\nto: lab/gone\n")
    (repo.root / "recipes/wrong.yaml").write_text("source: [\n")
    output = repo.drift()
    assert "gone: acme/Gone: acme/Gone does not exist" in output
    assert "wrong: recipes/wrong.yaml: the recipe is not valid" in output


def test_a_commit_that_is_gone_and_a_gated_source_do_not_hide_that_it_moved(repo: Repo) -> None:
    (repo.root / "recipes/tiny.yaml").write_text(f"source: acme/Tiny\nrevision: '{'a' * 40}'\nto: lab/tiny\n")
    pinned = repo.hub.put("acme/Gated", FILES, gated=True)
    repo.hub.put("acme/Gated", {"README.md": CARD.replace(b"mit", b"gpl-3.0"), "LICENSE": b"GPL"})
    (repo.root / "recipes/gated.yaml").write_text(f"source: acme/Gated\nrevision: '{pinned}'\nto: lab/gated\n")
    output = repo.drift()
    assert "so the changes are not known (aaaaaaaaaaaa" in output
    assert "gated: acme/Gated: licence" in output


def test_a_hub_or_pypi_that_does_not_answer_is_exit_4(repo: Repo) -> None:
    evidence(repo, "0.31.3")
    repo.user.more["MLX_PUBLISH_PYPI"] = "http://127.0.0.1:9"
    assert "http://127.0.0.1:9/pypi/mlx-lm/json" in repo.drift(code=4)
    repo.user.more["HF_ENDPOINT"] = "http://127.0.0.1:9"
    assert "no answer from http://127.0.0.1:9" in repo.drift(code=4)
