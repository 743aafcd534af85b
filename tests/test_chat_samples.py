"""The manners of chat_samples behave as the models whose names they have."""

# ruff: noqa: RUF001 -- the broad bars are DeepSeek's

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import mlx_lm.utils  # noqa: TID251 -- the two readers of a model folder are compared
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers import AutoTokenizer  # noqa: TID251
from transformers.utils import chat_template_utils  # noqa: TID251

from chat_samples import MANNERS, write_chat_model

Message = dict[str, Any]
Render = Callable[..., str]

TURNS = "Conversation roles must alternate user/assistant/user/assistant/..."
TURNS_BEHIND_SYSTEM = f"After the optional system message, conversation roles must alternate {TURNS[34:]}"
CALL_ID = "Tool call IDs should be alphanumeric strings with length 9!"
SEE = {
    "type": "function",
    "function": {
        "name": "see",
        "description": "Look up.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}


def system(text: Any) -> Message:
    return {"role": "system", "content": text}


def user(text: Any) -> Message:
    return {"role": "user", "content": text}


def reply(text: Any, **more: Any) -> Message:
    return {"role": "assistant", "content": text, **more}


def call(arguments: Any, name: str = "see") -> Message:
    return {"id": "abc123def", "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*arguments: Any) -> Message:
    return {"role": "assistant", "tool_calls": [call(given) for given in arguments]}


def result(text: Any) -> Message:
    return {"role": "tool", "tool_call_id": "abc123def", "content": text}


PAIR = (user("Hi"), reply("Yes?"))
CALLED = (user("Sun?"), calls({"at": "noon"}), result("up"))
EVERYWHERE = (*PAIR, user("Moon"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("manners")
    return {name: write_chat_model(root / name, name) for name in MANNERS}


@pytest.fixture(scope="module")
def tokenizers(folders: dict[str, Path]) -> dict[str, Any]:
    return {name: AutoTokenizer.from_pretrained(folder) for name, folder in folders.items()}


@pytest.fixture
def render(tokenizers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Render:
    """Render what the messages look like in a manner, with a prompt for the answer, on 17 March 2025."""

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Clock:
            return cls(2025, 3, 17, tzinfo=tz)

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)

    def rendered(manner: str, *messages: Message, prompt: bool = True, **options: Any) -> str:
        text: str = tokenizers[manner].apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=prompt, **options
        )
        return text

    return rendered


def refused(render: Render, manner: str, *messages: Message, **options: Any) -> str:
    with pytest.raises(jinja2.TemplateError) as caught:
        render(manner, *messages, **options)
    assert type(caught.value) is jinja2.TemplateError
    return str(caught.value)


def bare(manner: str, *messages: Message, **options: Any) -> str:
    """Render without transformers, which leaves out keys whose value is None and knows the date."""
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return env.from_string(MANNERS[manner].template).render(messages=list(messages), **options)


def test_each_template_has_a_manner() -> None:
    assert sorted(path.stem for path in (Path(__file__).parent / "chat").glob("*.jinja")) == sorted(MANNERS)


@pytest.mark.parametrize("manner", MANNERS)
def test_both_readers_load_a_folder_and_render_the_same(
    folders: dict[str, Path], tokenizers: dict[str, Any], manner: str
) -> None:
    theirs, ours = tokenizers[manner], mlx_lm.utils.load_tokenizer(folders[manner])
    text = theirs.apply_chat_template(EVERYWHERE, tokenize=False, add_generation_prompt=True)
    assert ours.apply_chat_template(EVERYWHERE, tokenize=False, add_generation_prompt=True) == text
    ids = theirs.apply_chat_template(EVERYWHERE, return_dict=False, add_generation_prompt=True)
    assert ours.apply_chat_template(EVERYWHERE, add_generation_prompt=True) == ids
    assert theirs.decode(ids) == text


@pytest.mark.parametrize("manner", MANNERS)
def test_each_token_of_a_manner_is_one_id(tokenizers: dict[str, Any], manner: str) -> None:
    tokenizer, tokens = tokenizers[manner], MANNERS[manner]
    for token in (*tokens.special, *tokens.plain):
        [id_] = tokenizer.encode(f"a{token}b", add_special_tokens=False)[1:-1]
        assert tokenizer.decode([id_]) == token
        assert tokenizer.decode([id_], skip_special_tokens=True) == ("" if token in tokens.special else token)
    assert {key: tokenizer.special_tokens_map[key] for key in tokens.names} == tokens.names
    assert (tokenizer.encode("a")[0] == tokenizer.bos_token_id) is tokens.begins


@pytest.mark.parametrize("manner", MANNERS)
def test_a_model_is_loaded_with_all_that_ends_its_answer(folders: dict[str, Path], manner: str) -> None:
    _, tokenizer = mlx_lm.load(str(folders[manner]))
    ends = MANNERS[manner].ends or (MANNERS[manner].names["eos_token"],)
    assert tokenizer.eos_token_ids == {tokenizer.convert_tokens_to_ids(token) for token in ends} | {
        tokenizer.eos_token_id
    }


def test_mlx_lm_sees_who_thinks_and_who_calls_tools(folders: dict[str, Path]) -> None:
    loaded = {name: mlx_lm.utils.load_tokenizer(folder) for name, folder in folders.items()}
    assert {name for name in loaded if loaded[name].has_thinking} == {"qwen3", "deepseek_r1"}
    assert {name for name in loaded if loaded[name].has_tool_calling} == {"qwen3", "mistral"}


@pytest.mark.parametrize("manner", ["danube2", "mistral", "chatml", "smollm2", "phi3", "deepseek_r1"])
def test_content_in_parts_is_an_error(render: Render, manner: str) -> None:
    with pytest.raises(TypeError, match="can only concatenate"):
        render(manner, user([{"type": "text", "text": "Hi"}]))


def test_content_in_parts_is_printed_as_python_writes_it(render: Render) -> None:
    parts = [{"type": "text", "text": "Hi"}]
    assert f"user\n{parts}<end_of_turn>" in render("gemma2", user(parts))
    assert f"user<|end_header_id|>\n\n{parts}<|eot_id|>" in render("llama3", user(parts))


def test_content_in_parts_vanishes_from_qwen3(render: Render) -> None:
    assert render("qwen3", user([{"type": "text", "text": "Hi"}]), prompt=False) == "<|im_start|>user\n<|im_end|>\n"


@pytest.mark.parametrize("manner", ["danube2", "gemma2", "chatml", "smollm2", "phi3", "deepseek_r1"])
def test_tools_are_not_listed(render: Render, manner: str) -> None:
    assert render(manner, user("Hi"), tools=[SEE]) == render(manner, user("Hi"))


# danube2


def test_danube2(render: Render) -> None:
    assert render("danube2", user("Hi")) == "<|prompt|>Hi</s><|answer|>"
    assert render("danube2", *EVERYWHERE) == "<|prompt|>Hi</s><|answer|>Yes?</s><|prompt|>Moon</s><|answer|>"
    assert render("danube2", *PAIR, prompt=False) == "<|prompt|>Hi</s><|answer|>Yes?</s>"


def test_danube2_refuses_system_text_wherever_it_is(render: Render) -> None:
    assert refused(render, "danube2", system("Be kind."), user("Hi")) == "System role not supported"
    assert refused(render, "danube2", user("Hi"), system("Be kind.")) == "System role not supported"


def test_danube2_takes_any_order_and_skips_whom_it_does_not_know(render: Render) -> None:
    assert render("danube2", user("a"), user("b")) == "<|prompt|>a</s><|prompt|>b</s><|answer|>"
    assert render("danube2", reply("a"), result("up")) == "<|answer|>a</s><|answer|>"


# gemma2


def test_gemma2(render: Render) -> None:
    assert render("gemma2", user(" Hi\n")) == "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"
    assert render("gemma2", *EVERYWHERE, prompt=False) == (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n"
        "<start_of_turn>user\nMoon<end_of_turn>\n"
    )


def test_gemma2_refuses_system_text(render: Render) -> None:
    assert refused(render, "gemma2", system("Be kind."), user("Hi")) == "System role not supported"


@pytest.mark.parametrize("messages", [(user("a"), user("b")), (reply("a"),), (*PAIR, reply("b"))])
def test_gemma2_wants_turns_to_alternate(render: Render, messages: tuple[Message, ...]) -> None:
    assert refused(render, "gemma2", *messages) == TURNS


# mistral


def test_mistral_and_its_prompt_that_changes_nothing(render: Render) -> None:
    assert render("mistral", *EVERYWHERE) == "<s>[INST] Hi[/INST] Yes?</s>[INST] Moon[/INST]"
    assert render("mistral", *EVERYWHERE, prompt=False) == render("mistral", *EVERYWHERE)
    assert render("mistral", user("Hi"), reply(" Yes? \n")) == "<s>[INST] Hi[/INST] Yes?</s>"


def test_mistral_glues_system_text_to_the_last_turn_if_that_is_the_user_s(render: Render) -> None:
    kind = system("Be kind.")
    assert render("mistral", kind, user("Hi")) == "<s>[INST] Be kind.\n\nHi[/INST]"
    assert render("mistral", kind, *EVERYWHERE) == "<s>[INST] Hi[/INST] Yes?</s>[INST] Be kind.\n\nMoon[/INST]"
    assert "Be kind." not in render("mistral", kind, *PAIR)
    assert "Be kind." not in render("mistral", kind, *CALLED)


@pytest.mark.parametrize("messages", [(user("a"), user("b")), (reply("a"),), (*CALLED, user("b"))])
def test_mistral_wants_turns_to_alternate(render: Render, messages: tuple[Message, ...]) -> None:
    assert refused(render, "mistral", *messages) == TURNS_BEHIND_SYSTEM


def test_mistral_knows_no_other_roles(render: Render) -> None:
    assert refused(render, "mistral", user("Hi"), system("Be kind.")) == (
        "Only user and assistant roles are supported, with the exception of an initial optional system message!"
    )


def test_mistral_lists_tools_at_the_last_question(render: Render) -> None:
    listed = (
        '[AVAILABLE_TOOLS] [{"type": "function", "function": {"name": "see", "description": "Look up.", '
        '"parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}][/AVAILABLE_TOOLS]'
    )
    assert render("mistral", *EVERYWHERE, tools=[SEE]) == (f"<s>[INST] Hi[/INST] Yes?</s>{listed}[INST] Moon[/INST]")


def test_mistral_writes_calls_and_results(render: Render) -> None:
    assert render("mistral", *CALLED, reply("It is up.")) == (
        '<s>[INST] Sun?[/INST][TOOL_CALLS] [{"name": "see", "arguments": {"at": "noon"}, "id": "abc123def"}]</s>'
        '[TOOL_RESULTS] {"content": up, "call_id": "abc123def"}[/TOOL_RESULTS] It is up.</s>'
    )
    assert '"arguments": "{\\"at\\": 1}", "id"' in render("mistral", user("Sun?"), calls('{"at": 1}'))
    assert '"arguments": {}, "id": "abc123def"}, {"name": "see"' in render("mistral", user("Sun?"), calls({}, {}))


def test_mistral_wants_ids_of_nine(render: Render) -> None:
    short = calls({})
    short["tool_calls"][0]["id"] = "abc"
    assert refused(render, "mistral", user("Sun?"), short) == CALL_ID
    assert refused(render, "mistral", *CALLED[:2], {"role": "tool", "content": "up"}) == CALL_ID


# chatml and smollm2


def test_chatml(render: Render) -> None:
    assert render("chatml", user("Hi")) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert render("chatml", system("Be kind."), *PAIR, prompt=False) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
    )


def test_chatml_takes_any_role_in_any_order(render: Render) -> None:
    assert render("chatml", reply("a"), result("b"), result("c"), prompt=False) == (
        "<|im_start|>assistant\na<|im_end|>\n<|im_start|>tool\nb<|im_end|>\n<|im_start|>tool\nc<|im_end|>\n"
    )


def test_smollm2_has_a_system_text_of_its_own(render: Render) -> None:
    own = "<|im_start|>system\nYou are a helpful model named Smol<|im_end|>\n"
    assert render("smollm2", *EVERYWHERE) == own + render("chatml", *EVERYWHERE)
    kind = (system("Be kind."), *PAIR)
    assert render("smollm2", *kind, prompt=False) == render("chatml", *kind, prompt=False)


# llama3

LLAMA_START = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
LLAMA_DATE = "Cutting Knowledge Date: December 2023\nToday Date: 17 Mar 2025\n\n"
LLAMA_ANSWER = "<|start_header_id|>assistant<|end_header_id|>\n\n"
LLAMA_TOOL = """\
{
    "type": "function",
    "function": {
        "name": "see",
        "description": "Look up.",
        "parameters": {
            "type": "object",
            "properties": {
                "at": {
                    "type": "string"
                }
            }
        }
    }
}

"""


def test_llama3(render: Render) -> None:
    hi = "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    assert render("llama3", user(" Hi ")) == f"{LLAMA_START}{LLAMA_DATE}<|eot_id|>{hi}{LLAMA_ANSWER}"
    assert render("llama3", system("Be kind.\n"), *PAIR, prompt=False) == (
        f"{LLAMA_START}{LLAMA_DATE}Be kind.<|eot_id|>{hi}{LLAMA_ANSWER}Yes?<|eot_id|>"
    )


def test_llama3_takes_any_order(render: Render) -> None:
    assert render("llama3", reply("a"), user("b"), user("c")).endswith(
        f"{LLAMA_ANSWER}a<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nb<|eot_id|>"
        f"<|start_header_id|>user<|end_header_id|>\n\nc<|eot_id|>{LLAMA_ANSWER}"
    )


def test_the_date_of_llama3_can_be_given_and_is_fixed_without_a_clock(render: Render) -> None:
    assert "Today Date: 01 Jan 2030\n" in render("llama3", user("Hi"), date_string="01 Jan 2030")
    assert "Today Date: 26 Jul 2024\n" in bare("llama3", user("Hi"), bos_token="")


def test_llama3_lists_tools_in_the_first_question(render: Render) -> None:
    text = render("llama3", system("Be kind."), user("Sun?"), tools=[SEE])
    assert text.startswith(f"{LLAMA_START}Environment: ipython\n{LLAMA_DATE}Be kind.<|eot_id|>")
    assert text.endswith(f"{LLAMA_TOOL}Sun?<|eot_id|>{LLAMA_ANSWER}")
    assert refused(render, "llama3", system("Be kind."), tools=[SEE]) == (
        "Cannot put tools in the first user message when there's no first user message!"
    )


def test_llama3_lists_tools_in_the_system_turn_if_it_is_told(render: Render) -> None:
    text = render("llama3", system("Be kind."), user("Sun?"), tools=[SEE], tools_in_user_message=False)
    assert f"{LLAMA_TOOL}Be kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nSun?<|eot_id|>" in text


def test_llama3_writes_a_call_and_its_result(render: Render) -> None:
    assert render("llama3", *CALLED).endswith(
        f'Sun?<|eot_id|>{LLAMA_ANSWER}{{"name": "see", "parameters": {{"at": "noon"}}}}<|eot_id|>'
        f'<|start_header_id|>ipython<|end_header_id|>\n\n"up"<|eot_id|>{LLAMA_ANSWER}'
    )
    assert '"parameters": "{\\"at\\": 1}"}<|eot_id|>' in render("llama3", user("Sun?"), calls('{"at": 1}'))
    assert 'ipython<|end_header_id|>\n\n{"a": 1}<|eot_id|>' in render("llama3", *CALLED[:2], result({"a": 1}))


def test_llama3_makes_one_call_at_a_time(render: Render) -> None:
    message = "This model only supports single tool-calls at once!"
    assert refused(render, "llama3", user("Sun?"), calls({}, {})) == message


# qwen3

ANSWER = "<|im_start|>assistant\n"


def test_qwen3(render: Render) -> None:
    assert render("qwen3", user("Hi")) == f"<|im_start|>user\nHi<|im_end|>\n{ANSWER}"
    assert render("qwen3", system("Be kind."), *EVERYWHERE) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        f"{ANSWER}Yes?<|im_end|>\n<|im_start|>user\nMoon<|im_end|>\n{ANSWER}"
    )


def test_qwen3_takes_any_order(render: Render) -> None:
    assert render("qwen3", reply("a"), user("b"), user("c"), prompt=False) == (
        f"{ANSWER}a<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
    )


def test_qwen3_thinks_unless_it_is_told_not_to(render: Render) -> None:
    plain = render("qwen3", user("Hi"))
    assert render("qwen3", user("Hi"), enable_thinking=True) == plain
    assert render("qwen3", user("Hi"), enable_thinking=None) == plain
    assert render("qwen3", user("Hi"), enable_thinking=False) == f"{plain}<think>\n\n</think>\n\n"


@pytest.mark.parametrize("given", [reply("<think>\nHm.\n</think>\n\nYes?"), reply("Yes?", reasoning_content="Hm.\n")])
def test_qwen3_keeps_reasoning_only_behind_the_last_question(render: Render, given: Message) -> None:
    kept = f"<|im_start|>user\nHi<|im_end|>\n{ANSWER}<think>\nHm.\n</think>\n\nYes?<|im_end|>\n"
    assert render("qwen3", user("Hi"), given, prompt=False) == kept
    assert render("qwen3", user("Hi"), given, user("Moon")) == render("qwen3", *EVERYWHERE)
    wrapped = user("<tool_response>\nup\n</tool_response>")
    assert render("qwen3", user("Hi"), given, wrapped, prompt=False).startswith(kept)


def test_qwen3_gives_a_last_answer_without_reasoning_an_empty_one(render: Render) -> None:
    assert render("qwen3", *PAIR, prompt=False).endswith(f"{ANSWER}<think>\n\n</think>\n\nYes?<|im_end|>\n")
    assert render("qwen3", *PAIR, result("up"), prompt=False).startswith(
        f"<|im_start|>user\nHi<|im_end|>\n{ANSWER}Yes?<|im_end|>\n"
    )


def test_qwen3_lists_tools_in_the_system_turn(render: Render) -> None:
    listed = (
        '<tools>\n{"type": "function", "function": {"name": "see", "description": "Look up.", '
        '"parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}\n</tools>\n'
    )
    text = render("qwen3", system("Be kind."), user("Sun?"), tools=[SEE])
    assert text.startswith("<|im_start|>system\nBe kind.\n\n# Tools\n\n")
    assert listed in text.partition("<|im_end|>")[0]
    assert render("qwen3", user("Sun?"), tools=[SEE]).startswith("<|im_start|>system\n# Tools\n\n")


@pytest.mark.parametrize("arguments", [{"at": "noon"}, '{"at": "noon"}'])
def test_qwen3_writes_calls_alike_whatever_form_they_have(render: Render, arguments: object) -> None:
    turn = calls(arguments, arguments) | {"content": "So."}
    single = '<tool_call>\n{"name": "see", "arguments": {"at": "noon"}}\n</tool_call>'
    assert render("qwen3", user("Sun?"), turn, result("up"), result("high"), user("So?")) == (
        f"<|im_start|>user\nSun?<|im_end|>\n{ANSWER}So.\n{single}\n{single}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nup\n</tool_response>\n<tool_response>\nhigh\n</tool_response><|im_end|>\n"
        f"<|im_start|>user\nSo?<|im_end|>\n{ANSWER}"
    )
    assert f"{ANSWER}{single}<|im_end|>" in render("qwen3", user("Sun?"), calls(arguments), user("So?"))


# phi3


def test_phi3(render: Render) -> None:
    assert render("phi3", system("Be kind."), user("Hi")) == (
        "<|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n"
    )
    assert render("phi3", *PAIR, prompt=False) == "<|user|>\nHi<|end|>\n<|assistant|>\nYes?<|end|>\n<|endoftext|>"


def test_phi3_takes_any_order_and_skips_whom_it_does_not_know(render: Render) -> None:
    assert render("phi3", reply("a"), user("b"), result("up"), user("c")) == (
        "<|assistant|>\na<|end|>\n<|user|>\nb<|end|>\n<|user|>\nc<|end|>\n<|assistant|>\n"
    )


# deepseek_r1


def test_deepseek_r1(render: Render) -> None:
    assert render("deepseek_r1", *EVERYWHERE) == (
        "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>Yes?<｜end▁of▁sentence｜><｜User｜>Moon<｜Assistant｜><think>\n"
    )


def test_deepseek_r1_has_the_last_system_text_in_front(render: Render) -> None:
    assert render("deepseek_r1", system("a"), user("Hi"), system("b"), prompt=False) == (
        "<｜begin▁of▁sentence｜>b<｜User｜>Hi"
    )


def test_deepseek_r1_takes_any_order(render: Render) -> None:
    assert render("deepseek_r1", reply("a"), user("b"), user("c"), prompt=False) == (
        "<｜begin▁of▁sentence｜><｜Assistant｜>a<｜end▁of▁sentence｜><｜User｜>b<｜User｜>c"
    )


@pytest.mark.parametrize("thought", ["<think>\nHm.\n</think>", "Hm.</think>", "<think>a</think>b</think>"])
def test_deepseek_r1_forgets_what_was_thought(render: Render, thought: str) -> None:
    assert render("deepseek_r1", user("Hi"), reply(f"{thought}Yes?"), user("Moon")) == render(
        "deepseek_r1", *EVERYWHERE
    )
    assert render("deepseek_r1", user("Hi"), reply(f"{thought}Yes?")) == render("deepseek_r1", *PAIR)


def test_deepseek_r1_does_not_read_reasoning_that_is_apart(render: Render) -> None:
    assert render("deepseek_r1", user("Hi"), reply("Yes?", reasoning_content="Hm.")) == render("deepseek_r1", *PAIR)


def test_deepseek_r1_writes_calls_only_where_the_content_is_null() -> None:
    def shown(*arguments: object) -> str:
        return bare("deepseek_r1", user("Sun?"), calls(*arguments) | {"content": None}, bos_token="")

    single = '<｜tool▁call▁begin｜>function<｜tool▁sep｜>see\n```json\n{"at": 1}\n```<｜tool▁call▁end｜>'
    start = f"<｜User｜>Sun?<｜Assistant｜><｜tool▁calls▁begin｜>{single}"
    assert shown('{"at": 1}') == start
    assert shown('{"at": 1}', '{"at": 1}') == f"{start}\n{single}<｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
    with pytest.raises(TypeError, match="can only concatenate"):
        shown({"at": 1})


def test_calls_of_deepseek_r1_vanish_or_fail_in_transformers(render: Render) -> None:
    """It leaves out a content of None, so that the template takes the call for an answer."""
    asked = user("Sun?")
    assert render("deepseek_r1", asked, calls("{}") | {"content": ""}) == render("deepseek_r1", asked, reply(""))
    with pytest.raises(jinja2.UndefinedError):
        render("deepseek_r1", asked, calls("{}") | {"content": None})


def test_deepseek_r1_writes_results_and_then_waits_for_no_prompt(render: Render) -> None:
    begin = (
        "<｜begin▁of▁sentence｜><｜User｜>Sun?<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>up<｜tool▁output▁end｜>"
    )
    more = "\n<｜tool▁output▁begin｜>high<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
    results = (user("Sun?"), result("up"), result("high"))
    assert render("deepseek_r1", *results) == begin + more
    assert render("deepseek_r1", *results, reply("It is."), prompt=False) == f"{begin}{more}It is.<｜end▁of▁sentence｜>"
