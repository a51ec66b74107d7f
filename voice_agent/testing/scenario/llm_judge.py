"""The LLM judge: a model says whether a text meets a criterion in plain words. Off unless ``--judge`` names one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from livekit.agents import llm

from ...config import load, models, provider_key
from ...errors import ProviderError
from ...llm.client import ChatLLM
from ...llm.endpoints import resolve
from ...llm.start import running
from .director import Judge
from .expect import Judgement

_PROMPT = (
    "You judge one line of a conversation. Answer YES if it meets the criterion, NO if it does not, then a dash and"
    " the reason in a few words."
)


@contextlib.asynccontextmanager
async def judging(spec: str | None) -> AsyncIterator[Judge | None]:
    """The judge for ``spec`` (as ``--llm`` takes it), or None. Raises ConfigError, ProviderError."""
    if spec is None:
        yield None
        return
    config = load(flags={"llm.spec": spec, "llm.temperature": 0.0}).llm
    with running(resolve(config, provider_key), models.smollm2) as endpoint:
        model = ChatLLM.from_config(config, endpoint)
        try:
            await model.connection.choose()

            async def judge(criterion: str, text: str) -> Judgement:
                return await ask(model, criterion, text)

            yield judge
        finally:
            await model.aclose()


async def ask(model: llm.LLM[object], criterion: str, text: str) -> Judgement:
    """One question to the judge. An answer that is neither yes nor no does not pass, and is shown."""
    history = llm.ChatContext.empty()
    history.add_message(role="system", content=_PROMPT)
    history.add_message(role="user", content=f"Criterion: {criterion}\nLine: {text}")
    try:
        answer = (await model.chat(chat_ctx=history).collect()).text.strip()
    except ProviderError as error:
        return False, f"the judge failed: {error}"
    return answer.upper().lstrip("*\"' ").startswith("YES"), answer[:200] or "the judge said nothing"
