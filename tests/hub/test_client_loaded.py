"""The Hub's client is loaded while a folder is digested, and what keeps it from that comes up where it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
LOADED = """
import sys
from mlx_publish.hub.client import client_loaded, hub_api
assert "huggingface_hub" not in sys.modules
with client_loaded():
    pass
print("huggingface_hub.hf_api" in sys.modules, __import__("os").environ["HF_HUB_DISABLE_TELEMETRY"])
"""
BROKEN = """
import sys
from mlx_publish.hub.client import client_loaded, hub_api
sys.modules["huggingface_hub"] = None
with client_loaded():
    print("digested")
try:
    hub_api()
except ImportError:
    print("raised")
"""


def run(program: str) -> list[str]:
    environment = {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_client_is_there_when_the_digests_are_and_tells_nobody() -> None:
    assert run(LOADED) == ["True", "1"]


def test_a_client_that_cannot_be_loaded_is_an_error_where_it_is_used() -> None:
    assert run(BROKEN) == ["digested", "raised"]
