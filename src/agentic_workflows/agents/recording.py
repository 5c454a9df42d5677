"""Record what a chat model answers, and replay it without the model.

A recording is a JSON-lines file: one line for each answer, found again by the digest of everything that was asked, the
schema of a structured answer included. It holds the answers, and of the questions only their digests.
"""

import asyncio
import contextvars
import json
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap, RunnablePassthrough

from agentic_workflows.errors import ModelError
from agentic_workflows.graph.values import digest

_KEPT = {"content", "tool_calls", "additional_kwargs", "response_metadata", "usage_metadata"}
_writing = Lock()


class ReplayModel(BaseChatModel):
    """Answers from a recording; there is no model behind it."""

    path: Path
    """The recording."""

    @property
    def _llm_type(self) -> str:
        return "recording"

    def with_structured_output(
        self, schema: Any, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable that answers with JSON; the schema and every option are part of what was asked."""
        if not isinstance(schema, Mapping):
            raise ModelError(f"A recording takes a JSON Schema, not {schema!r}.")
        asked = self.bind(structured={"schema": dict(schema), **kwargs})
        if not include_raw:
            return asked | _structured
        parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | _structured, parsing_error=lambda _: None)
        unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=asked) | parsed.with_fallbacks([unparsed], exception_key="parsing_error")

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the base class's shape
        **kwargs: Any,
    ) -> ChatResult:
        key = _key(messages, stop, kwargs)
        for line in reversed(_lines(self.path)):
            if line["key"] == key:
                return _result(AIMessage(**line["answer"]))
        raise ModelError(f"The recording {self.path} lacks the answer to this request ({key[:12]}). Record it again.")


class RecordingModel(ReplayModel):
    """Asks a model, and adds what it answers to the recording."""

    model: BaseChatModel

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the base class's shape
        **kwargs: Any,
    ) -> ChatResult:
        # An empty context: this model's own run is the one that is traced and counted.
        asked = self._asked(stop, kwargs)
        answer = _message(contextvars.Context().run(asked.invoke, messages))
        _append(self.path, _key(messages, stop, kwargs), answer)
        return _result(answer)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the base class's shape
        **kwargs: Any,
    ) -> ChatResult:
        asking = self._asked(stop, kwargs).ainvoke(messages)
        answer = _message(await asyncio.create_task(asking, context=contextvars.Context()))
        await asyncio.to_thread(_append, self.path, _key(messages, stop, kwargs), answer)
        return _result(answer)

    def _asked(self, stop: list[str] | None, options: Mapping[str, Any]) -> Runnable[LanguageModelInput, Any]:
        plain = {name: value for name, value in options.items() if name != "structured"}
        if stop is not None:
            plain["stop"] = stop
        if structured := options.get("structured"):
            return self.model.with_structured_output(**structured, **plain, include_raw=True)
        return self.model.bind(**plain)


def _key(messages: Sequence[BaseMessage], stop: list[str] | None, options: Mapping[str, Any]) -> str:
    try:
        asked = [[message.type, message.content] for message in messages]
        return digest({"messages": asked, "stop": stop, "options": options})
    except (TypeError, ValueError) as error:
        raise ModelError(f"A recording takes only requests that are JSON: {error}.") from error


def _message(answer: Any) -> AIMessage:
    raw = answer["raw"] if isinstance(answer, Mapping) else answer
    if not isinstance(raw, AIMessage):
        raise ModelError(f"The model answered with a {type(raw).__name__}, and a recording holds messages.")
    return raw


@RunnableLambda
def _structured(answer: AIMessage) -> Any:
    """Return a structured answer: what a model calls its tool with, or else writes as JSON."""
    return answer.tool_calls[0]["args"] if answer.tool_calls else JsonOutputParser().invoke(answer)


def _result(answer: AIMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=answer)])


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        # Not `splitlines`: an answer may hold other characters that end a line.
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except OSError as error:
        raise ModelError(f"The recording {path} cannot be read: {error.strerror}. Record it first.") from error
    except ValueError as error:
        raise ModelError(f"The recording {path} is not JSON lines: {error}. Record it again.") from error
    if not all(isinstance(line, dict) and {"key", "answer"} <= line.keys() for line in lines):
        raise ModelError(f"The recording {path} has a line that is no answer. Record it again.")
    return cast("list[dict[str, Any]]", lines)


def _append(path: Path, key: str, answer: AIMessage) -> None:
    line = json.dumps({"key": key, "answer": answer.model_dump(mode="json", include=_KEPT)}, ensure_ascii=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _writing, path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise ModelError(f"The recording {path} cannot be written: {error.strerror}. Give another path.") from error
