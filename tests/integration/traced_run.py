"""A program that runs two goals, and prints what a collector within the process saw of them and whom it contacted."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tracers.langchain import get_client, wait_for_all_tracers
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agentic_workflows import AgenticWorkflow, action, approve
from agentic_workflows.actions.action import Action
from agentic_workflows.actions.text import text_actions
from agentic_workflows.testing import RecordingAction

CONFIDENTIAL = "confidential-4711"
GOOD = {
    "steps": [
        {"name": "load", "action": "load", "outputs": ["texts"]},
        {"name": "shout", "action": "shout", "inputs": {"text": "${item}"}, "foreach": "${texts}", "outputs": ["loud"]},
        {"name": "try twice", "action": "flaky", "retries": 1},
        {"name": "sum up", "action": "summarize", "inputs": {"text": "${texts[0]}"}, "outputs": ["summary"]},
        {"name": "send", "action": "send", "inputs": {"text": "${summary}"}, "human_review_required": True},
    ],
}
BAD = {"steps": [{"name": "break", "action": "break"}]}


def says(text: str) -> AIMessage:
    """Return a model's answer with its tokens."""
    return AIMessage(text, usage_metadata={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7})


def model(*texts: str) -> GenericFakeChatModel:
    """Return a model that gives these answers."""
    return GenericFakeChatModel(messages=iter([says(text) for text in texts]))


class Planner:
    """Plans with a model whose answer is a plan."""

    def __init__(self) -> None:
        self._model = model(json.dumps(GOOD), json.dumps(BAD))

    async def create_plan(self, goal: str, history: Sequence[Mapping[str, Any]]) -> Any:
        """Return what the model says."""
        del history
        return json.loads((await self._model.ainvoke(goal)).text)


@action(read_only=True, open_world=False)
def shout(text: str) -> str:
    """Shout a text."""
    return text.upper()


def actions() -> Iterator[Action]:
    """Yield what the plans call."""
    attempts = iter((ValueError("not yet"), None))

    def flaky(_: object) -> str:
        if error := next(attempts):
            raise error
        return "done"

    yield RecordingAction("load", result={"texts": [CONFIDENTIAL, "b"]})
    yield shout
    yield RecordingAction("flaky", result=flaky)
    yield RecordingAction("send", result="sent")
    yield RecordingAction("break", error=ValueError(CONFIDENTIAL))
    summarizer = model("short")
    yield from text_actions(lambda: summarizer)


async def run() -> None:
    """Run a goal that needs a review, and one that fails."""
    workflow = AgenticWorkflow(Planner(), actions=actions())
    waiting = await workflow.run("Send a summary.", thread_id="first")
    assert waiting["state"] == "REVIEWING", waiting
    done = await workflow.resume(approve())
    assert done["state"] == "COMPLETE", done
    failed = await workflow.run("Break.", thread_id="second")
    assert failed["state"] == "FAILED", failed


def collected() -> Any:
    """Return where spans go that stay in this process."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def main() -> None:
    """Run, and print the spans as JSON."""
    contacted: set[str] = set()

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo"):
            contacted.add(str(arguments[1] if event == "socket.connect" else arguments[0]))

    sys.addaudithook(note)
    exporter = None if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ else collected()
    asyncio.run(run())
    tracing = os.environ.get("LANGSMITH_TRACING") == "true"
    if tracing:
        wait_for_all_tracers()
        get_client().flush()
        trace.get_tracer_provider().force_flush()  # type: ignore[attr-defined]  # the SDK's provider has it
    spans = [shown(span) for span in exporter.get_finished_spans()] if exporter else []
    print(json.dumps({"spans": spans, "contacted": sorted(contacted)}))  # noqa: T201 - a program's result


def shown(span: Any) -> dict[str, Any]:
    """Return a span as JSON."""
    return {
        "name": span.name,
        "start": span.start_time,
        "id": span.context.span_id,
        "trace": span.context.trace_id,
        "parent": span.parent and span.parent.span_id,
        "status": span.status.status_code.name,
        "attributes": dict(span.attributes),
        "events": [dict(event.attributes) for event in span.events],
    }


if __name__ == "__main__":
    main()
