"""Cards as pages in Chromium: an example with realistic, invented numbers, and how the Hub would show it.

`PYTHONPATH=scripts:tests python tests/card_pages.py` takes the pictures in docs/ again.
"""

from __future__ import annotations

import copy
import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from mlx_publish.card.render import render_card, render_chart
from mlx_publish.evidence.evidence import Evidence
from samples import make_evidence
from samples_of_plans import make_planned

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DOCS = Path(__file__).parents[1] / "docs"
WIDTHS = (360, 768, 1280)
NAME = "Example-8B-Instruct-MLX-4bit"
_STYLE = """
body{font:16px/1.5 -apple-system,"Segoe UI",Helvetica,Arial,sans-serif;margin:16px;max-width:820px;color:#1f2328;
background:#fff;overflow-wrap:anywhere}
h1,h2{border-bottom:1px solid #d1d9e0;padding-bottom:.3em;line-height:1.25}
.scroll{overflow-x:auto;overflow-wrap:normal}table{border-collapse:collapse;margin:0 0 16px}
td,th{border:1px solid #d1d9e0;padding:6px 13px}
code{background:#eff1f3;padding:.2em .4em;border-radius:6px;font-size:85%}
pre{background:#f6f8fa;padding:16px;border-radius:6px;overflow:auto}pre code{background:none;padding:0}
blockquote{border-left:4px solid #d1d9e0;margin:0 0 16px;padding:0 1em}a{color:#0969da;text-decoration:none}
img{max-width:100%}
@media (prefers-color-scheme: dark){body{color:#f0f6fc;background:#0d1117}td,th,h1,h2,blockquote{border-color:#3d444d}
code,pre{background:#212830}a{color:#4493f8}}
"""
_PROBE = """
const page = frame.contentDocument, wide = frame.clientWidth, out = [];
for (const one of page.body.querySelectorAll('*')) {
  if (one.closest('.scroll, pre') && !one.matches('.scroll, pre')) continue;
  const box = one.getBoundingClientRect();
  if (box.right > wide + 0.5 || box.left < -0.5) out.push(one.tagName + ': ' + one.textContent.slice(0, 40));
}
const image = page.querySelector('img');
document.body.dataset.found = JSON.stringify({
  overflow: out, scroll: page.documentElement.scrollWidth, wide, image: image ? image.getBoundingClientRect().width : 0,
  loaded: image ? image.complete && image.naturalWidth > 0 : false});
"""


def example() -> dict[str, Any]:
    """Evidence of an 8B model in four variants, as a Mac might have measured it."""
    found = copy.deepcopy(make_evidence())
    base = "example-org/Example-8B-Instruct"
    rows = (
        ("4bit", 4.50, 4_517_000_000, 0.0823, 0.914, 61.3),
        ("6bit", 6.50, 6_524_000_000, 0.0124, 0.967, 45.0),
        ("8bit", 8.50, 8_532_000_000, 0.0018, 0.988, 36.2),
        ("3bit", 3.50, 3_513_000_000, 0.2871, 0.838, 72.8),
    )
    found["source"] |= {"name": "Example-8B-Instruct", "repo": base, "base_model": base}
    found["destination"] = {"name": NAME, "repo": f"example-org/{NAME}"}
    found["config"] = {"context": 131_072}
    found["model"] |= {"weight_bytes": rows[0][2], "parameters": 8_030_261_248}
    found["sampling"] = {"temperature": 0.6, "top_p": 0.9}
    cache = 131_072  # bytes a token: 32 layers with 8 heads of 128, keys and values, 2 bytes each
    found["ladder"] = [
        found["ladder"][0]
        | {"label": label, "repo": f"example-org/Example-8B-Instruct-MLX-{label}", "weight_bytes": size}
        | {"bits_per_weight": bits, "mean_kld": kld, "mean_kld_error": kld / 20, "same_first_choice": share}
        | {"memory_bytes": size + cache * 131_072, "memory_tokens": 131_072, "memory_8k_bytes": size + cache * 8192}
        | {"generation_tps": speed, "chip": "Apple M4 Pro"}
        for label, bits, size, kld, share, speed in rows
    ]
    found["fidelity"] |= {"mean_kld": 0.0823, "mean_kld_error": 0.0041, "same_first_choice": 0.914}
    found["benchmark"]["machine"] |= {"chip": "Apple M4 Pro", "memory_bytes": 48 << 30}
    question = "What causes a solar eclipse?"
    found["smoke"]["asked"] = {"system": "Answer in one sentence.", "prompt": question}
    found["smoke"]["exchange"] |= {
        "messages": [
            {"role": "system", "content": "Answer in one sentence."},
            {"role": "user", "content": question},
        ],
        "answer": "A solar eclipse happens when the Moon passes between the Sun and the Earth and its shadow falls on a "
        "part of the Earth, so that people there see the Sun covered in part or whole.",
    }
    return found


def planned_example() -> dict[str, Any]:
    """The same model with a planned variant, beside plain rounding at equal bytes."""
    found, planned = example(), make_planned()
    for key in ("variant", "quantization"):
        found[key] = planned[key]
    name = "Example-8B-Instruct-MLX-4.5bpw"
    found["destination"] = {"name": name, "repo": f"example-org/{name}"}
    mine = found["ladder"][0] | {"label": "4.5bpw", "weight_bytes": 4_509_000_000, "mean_kld": 0.0391}
    found["model"] |= {"weight_bytes": mine["weight_bytes"], "bits_per_weight": 4.49}
    found["ladder"] = [mine, *found["ladder"][1:3]]
    points = ((3, 3_513, 0.2871), (4, 4_517, 0.0823), (5, 5_520, 0.0302), (6, 6_524, 0.0124), (8, 8_532, 0.0018))
    curve = [
        {"label": f"{bits}bit", "weight_bytes": size * 10**6, "bits_per_weight": bits + 0.5, "mean_kld": kld}
        | {"same_first_choice": 0.9}
        for bits, size, kld in points
    ]
    gain = planned["fidelity"]["gain"] | {"mean_kld": 0.0391, "rounding_kld": 0.0831, "difference": -0.0440}
    found["fidelity"] |= {"mean_kld": 0.0391, "gain": gain | {"curve": curve}}
    return found


def write_page(folder: Path, evidence: dict[str, Any]) -> str:
    """Write the chart into the folder; returns the card as a page."""
    record = Evidence.of(evidence)
    repo = record.destination.repo
    text = re.sub(r"^---\n.*?\n---\n", "", render_card(record.destination.name, repo or "x", "", record), flags=re.S)
    if chart := render_chart(record):
        (folder / "ladder.svg").write_text(chart, encoding="utf-8")
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    return f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style>{body}"


def chromium(*words: str) -> str:
    """Run Chromium without a window; returns what it prints."""
    assert CHROMIUM
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files")
    with tempfile.TemporaryDirectory() as profile:
        ended = subprocess.run(
            [CHROMIUM, *flags, f"--user-data-dir={profile}", *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    return ended.stdout


def measured(folder: Path, evidence: dict[str, Any], width: int) -> dict[str, Any]:
    """Return what stands out of a page of this width, and how wide its chart is."""
    inner = html.escape(write_page(folder, evidence), quote=True)
    frame = f'<iframe id=frame width={width} height=900 style="border:0" srcdoc="{inner}"></iframe>'
    script = f"<script>window.onload = () => {{ const frame = document.getElementById('frame'); {_PROBE} }}</script>"
    (folder / "probe.html").write_text(f"<!doctype html><meta charset=utf-8>{frame}{script}", encoding="utf-8")
    dom = chromium(
        "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom", (folder / "probe.html").as_uri()
    )
    found = re.search(r'data-found="([^"]*)"', dom)
    assert found, dom[-500:]
    answer: dict[str, Any] = json.loads(html.unescape(found[1]))
    return answer


def take(folder: Path, width: int, height: int, *, dark: bool, picture: Path) -> None:
    """Take a picture of the example's beginning."""
    inner = html.escape(write_page(folder, example()), quote=True)
    frame = f'<body style="margin:0"><iframe width={width} height={height} style="border:0" srcdoc="{inner}"></iframe>'
    (folder / "shot.html").write_text(f"<!doctype html><meta charset=utf-8>{frame}", encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    size = f"--window-size={width},{height}"
    chromium(scheme, size, f"--screenshot={picture}", "--virtual-time-budget=3000", (folder / "shot.html").as_uri())


def main() -> None:
    """Take the pictures in docs/."""
    with tempfile.TemporaryDirectory() as aside:
        for width, height in zip(WIDTHS, (1500, 1180, 1100), strict=True):
            for mode in ("light", "dark"):
                target = DOCS / f"card-{width}-{mode}.png"
                take(Path(aside), width, height, dark=mode == "dark", picture=target)
        take(Path(aside), 860, 1000, dark=False, picture=DOCS / "card.png")


if __name__ == "__main__":
    main()
