"""Python and command lines for the card: mlx-vlm's own, asked about a picture.

Options: `parse_arguments` of mlx_vlm/generate/dispatch.py, `main` of chat.py and server.
"""

from __future__ import annotations

from mlx_publish.converters._converter import Commands
from mlx_publish.converters._mlx_lm_commands import shell
from mlx_publish.evidence.measurements import SmokeSpec
from mlx_publish.text.markdown import quoted

QUESTION = "Describe this image."
PICTURE = "picture.png"


def snippet(load_as: str, _smoke: SmokeSpec | None) -> str:
    """Return Python that loads the model and asks about a picture."""
    lines = [
        "from mlx_vlm import generate, load",
        "from mlx_vlm.prompt_utils import apply_chat_template",
        "",
        f"model, processor = load({quoted(load_as)})",
        f"prompt = apply_chat_template(processor, model.config, {quoted(QUESTION)}, num_images=1)",
        f"result = generate(model, processor, prompt, image={quoted(PICTURE)}, max_tokens=256)",
        "print(result.text)",
    ]
    return "\n".join(lines)


def commands(load_as: str, _smoke: SmokeSpec | None) -> Commands:
    """Return command lines for the model that is called `load_as`."""
    model = f"--model {shell(load_as)}"
    asked = f"--image {PICTURE} --prompt {shell(QUESTION)}"
    return Commands(
        generate=f"mlx_vlm.generate {model} \\\n  {asked} --max-tokens 256",
        chat="",
        serve=f"mlx_vlm.server {model}",
        request="",
        quick=f"uvx --from mlx-vlm mlx_vlm.generate {model} {asked}",
    )
