"""Our models in Inspect: `--model heredity/nursery:llama-0`, a folder, a server's model, or a Step's key."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from anyio import to_thread
from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, ModelUsage, StopReason, modelapi
from inspect_ai.tool import ToolChoice, ToolInfo

import heredity.lab  # noqa: F401  the Steps that a key may belong to
from heredity.models import model_ref, open_lm
from heredity.models.causal import CausalLM
from heredity.models.endpoint import find_endpoint
from heredity.models.server import ServerLM
from heredity.steps import open_writer
from heredity.store import Store, rebuild
from heredity.types import LM, BadInput, Chat, Completion, Message, Sampling, Served

DEFAULT_TOKENS = 256
"""Most tokens in an answer where the task does not say."""
_REFUSED: dict[str, tuple[Any, ...]] = {
    "top_p": (1,), "top_k": (), "num_choices": (1,), "stop_seqs": ([],), "frequency_penalty": (0,),
    "presence_penalty": (0,), "logit_bias": ({},), "best_of": (1,), "response_schema": (),
}  # fmt: skip
"""Settings that these models do not have, and the values of each that ask for nothing."""
_UNKNOWN = 8
"""Most answers looked for at a time where the environment does not describe the endpoint."""
_FINISH: dict[str, StopReason] = {"stop": "stop", "length": "max_tokens", "error": "unknown"}


@modelapi(name="heredity")
class heredity_models(ModelAPI):  # noqa: N801  Inspect names it so
    """A model of ours. Each request is answered by itself, from its own seed (`--seed`, or the task's).

    A model of this machine answers one request at a time, in a thread, so that Inspect's loop is never held up and an
    answer never depends on what else is asked; several requests go to a server at a time. `-M store=FOLDER` names
    the Store that keys are looked up in, and beside whose results a server's answers are kept.
    """

    def __init__(
        self, model_name: str, base_url: str | None = None, api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  Inspect's own default
        store: str = "heredity-store", lm: LM | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model_name, base_url, api_key, [], config)
        self.lm = open_named(model_name, Store(Path(store))) if lm is None else lm
        self._one_at_a_time = threading.Lock()

    def max_connections(self) -> int:
        """Most requests under way: a server takes several, this machine one."""
        if not isinstance(self.lm, ServerLM):
            return 1
        try:
            return find_endpoint(self.lm.ref.endpoint).concurrency
        except BadInput:  # what is kept needs no endpoint; a request that does is refused with this message
            return _UNKNOWN

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """One completion."""
        chat, sampling = as_chat(input), as_sampling(config, tools)
        answer, usage = await to_thread.run_sync(self._answer, chat, sampling)
        output = ModelOutput.from_content(self.model_name, answer.text, _FINISH[answer.finish])
        output.usage = usage
        return output

    def _answer(self, chat: Chat, sampling: Sampling) -> tuple[Completion, ModelUsage]:
        if isinstance(self.lm, ServerLM):
            return self.lm.answer(chat, sampling), ModelUsage()
        with self._one_at_a_time:
            answer = self.lm.generate([chat], sampling)[0]
            return answer, used(self.lm, chat, answer)


def open_named(name: str, store: Store) -> LM:
    """The model that a Step of the store made, by (the beginning of) its key, or the one at a location."""
    known = store.keys() if "-" in name else []
    if any(key.lower().startswith(name.lower()) for key in known):
        manifest = store.manifest(name)
        if not {"config.json", "adapter_config.json"} & manifest["files"].keys():
            raise BadInput(f"{manifest['key']} is no model: it has no config.json; name a Teacher or a Student")
        return open_writer(rebuild(manifest["step"]), store)
    ref = model_ref(name)
    return ServerLM(ref, store.answers) if isinstance(ref, Served) else open_lm(ref)


def as_chat(messages: list[ChatMessage]) -> Chat:
    """Inspect's messages as a Chat; BadInput for those of tools."""
    for message in messages:
        if message.role == "tool":
            raise BadInput("these models call no tools, and read no message of one")
    return tuple(Message(role=m.role, content=m.text) for m in messages)  # type: ignore[arg-type]


def as_sampling(config: GenerateConfig, tools: list[ToolInfo]) -> Sampling:
    """How Inspect wants it drawn; BadInput for settings that these models do not have."""
    set_so = [name for name, neutral in _REFUSED.items() if getattr(config, name, None) not in (None, *neutral)]
    if set_so or tools:
        raise BadInput(f"models of heredity have no {(set_so or ['tools'])[0]}; leave it out (temperature, max_tokens "
                       "and seed are theirs)")  # fmt: skip
    return Sampling(
        temperature=1.0 if config.temperature is None else float(config.temperature),
        max_new_tokens=config.max_tokens or DEFAULT_TOKENS, seed=config.seed or 0,
    )  # fmt: skip


def used(lm: Any, chat: Chat, answer: Completion) -> ModelUsage:
    """Tokens read and written; none are counted where a model has no tokenizer here."""
    if not isinstance(lm, CausalLM):
        return ModelUsage()
    read = len(lm.render([chat])[0])
    written = len(lm.tokenizer(answer.text, add_special_tokens=False)["input_ids"])
    return ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)
