"""Python and command lines for the card: mlx-vlm's own, asked what the smoke test asked about its picture.

Options: `parse_arguments` of mlx_vlm/generate/dispatch.py, `main` of chat.py and of server/cli.py; requests:
`chat_completions_endpoint` of server/openai.py. Pictures are named by address or path (`load_image` of utils.py).
"""

from __future__ import annotations

import json

from mlx_publish.converters._converter import Commands
from mlx_publish.converters._mlx_lm_commands import option, shell
from mlx_publish.evidence.digests import PICTURE
from mlx_publish.evidence.evidence import Sampling
from mlx_publish.evidence.measurements import SmokeSpec
from mlx_publish.evidence.perceived import example
from mlx_publish.text.markdown import is_repo, quoted

QUESTION = "Describe this picture."
"""What is asked where nothing was tested."""
_MOST = 256  # tokens of an answer
_ADDRESS = "http://127.0.0.1:8080/v1/chat/completions"
_SWITCH = "enable_thinking"


def picture_of(load_as: str) -> str:
    """Return where the picture of the card is: an address on the Hub, or a path seen from the folder above."""
    on_hub = "/" in load_as and is_repo(load_as)
    return f"https://huggingface.co/{load_as}/resolve/main/{PICTURE}" if on_hub else f"{load_as}/{PICTURE}"


def snippet(load_as: str, smoke: SmokeSpec | None) -> str:
    """Return Python that loads the model and asks about a picture, as the smoke test did: greedily."""
    picture, question = _asked(load_as, smoke)
    options = "".join(f", {name}={value!r}" for name, value in (smoke.options if smoke else {}).items())
    lines = [
        "from mlx_vlm import generate, load",
        "from mlx_vlm.prompt_utils import apply_chat_template",
        "",
        f"model, processor = load({quoted(load_as)})",
        "",
        f"picture = {quoted(picture)}",
        f"question = {quoted(question)}",
        f"prompt = apply_chat_template(processor, model.config, question, num_images=1{options})",
        "",
        f"result = generate(model, processor, prompt, image=[picture], max_tokens={_MOST}, temperature=0.0)",
        "print(result.text)",
    ]
    return "\n".join(lines)


def commands(load_as: str, smoke: SmokeSpec | None) -> Commands:
    """Return command lines for the model that is called `load_as`."""
    model = f"--model {shell(load_as)}"
    picture, question = _asked(load_as, smoke)
    asked = [f"--image {shell(picture)}", " ".join(option("--prompt", question))]
    thinks = ["--enable-thinking"] if smoke and smoke.options.get(_SWITCH) is True else []
    lines = [f"mlx_vlm.generate {model}", *asked, " ".join([f"--max-tokens {_MOST}", "--temperature 0", *thinks])]
    return Commands(
        generate=" \\\n  ".join(lines),
        chat=f"mlx_vlm.chat {model}" if smoke is None or smoke.chat_template else "",
        # It listens to the whole network unless it is told not to.
        serve=f"mlx_vlm.server {model} --host 127.0.0.1",
        request=_request(load_as, picture, question, smoke),
        quick=" \\\n  ".join([f"uvx --from mlx-vlm mlx_vlm.generate {model}", *asked]),
    )


def sampling_flags(sampling: Sampling) -> str:
    """Return options of mlx_vlm.generate."""
    given = (
        ("--temperature", sampling.temperature),
        ("--top-p", sampling.top_p),
        ("--top-k", sampling.top_k),
        ("--min-p", sampling.min_p),
        ("--repetition-penalty", sampling.repetition_penalty),
    )
    return " ".join(f"{flag} {value:g}" for flag, value in given if value is not None)


def _asked(load_as: str, smoke: SmokeSpec | None) -> tuple[str, str]:
    """Return a picture and a question; a picture of one's own where none was shown in the test."""
    shown = example(smoke)
    if shown is None or not shown.question.isprintable():  # a shell would do something else with it
        return PICTURE, QUESTION
    return picture_of(load_as), shown.question


def _request(load_as: str, picture: str, question: str, smoke: SmokeSpec | None) -> str:
    """Return a request to the server; what stands between the two marks is JSON and needs no quoting."""
    parts = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": question}]
    content = ",\n".join(f"      {json.dumps(part, ensure_ascii=False)}" for part in parts)
    thinks = f',\n  "{_SWITCH}": true' if smoke and smoke.options.get(_SWITCH) is True else ""
    return "\n".join(
        (
            f"curl {_ADDRESS} \\\n  -H \"Content-Type: application/json\" -d @- <<'JSON'",
            "{",
            f'  "model": {json.dumps(load_as, ensure_ascii=False)},',
            '  "messages": [\n    {"role": "user", "content": [\n' + content + "\n    ]}\n  ],",
            f'  "max_tokens": {_MOST},\n  "temperature": 0{thinks}',
            "}",
            "JSON",
        )
    )
