"""Traces: a span for every step and every call of it, below those of the nodes.

LangSmith's environment variables turn them on and say where they go; LangGraph and LangChain give the spans of nodes
and model calls. Off, a run asks once a pass and each call pays for an empty context.

A span's metadata holds names, numbers and states only. Whatever may hold somebody's text stands in its inputs and
outputs, an error's reason too, so `LANGSMITH_HIDE_INPUTS` and `LANGSMITH_HIDE_OUTPUTS` hide all of it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

from agentic_workflows.graph.outcome import Outcome
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.values import JsonValue

Record: TypeAlias = Callable[[Outcome], None]
"""Says what became of the step or call that a span stands for."""
Span: TypeAlias = Callable[[WorkflowStep, Mapping[str, JsonValue], int | None], AbstractContextManager[Record]]
"""Opens a span for a step with these inputs, or for one item of it."""


def current_span() -> Span:
    """Return what opens spans in the trace that is under way; without one they are empty."""
    from langsmith.utils import tracing_is_enabled  # noqa: PLC0415 - a run has it loaded, an import has not

    return _traced if tracing_is_enabled() else _untraced


def _untraced(step: WorkflowStep, inputs: Mapping[str, JsonValue], item: int | None) -> AbstractContextManager[Record]:  # noqa: ARG001 - a span's shape
    return _NOTHING


def _forget(outcome: Outcome) -> None:
    """Take note of nothing."""


_NOTHING: AbstractContextManager[Record] = nullcontext(_forget)


@contextmanager
def _traced(step: WorkflowStep, inputs: Mapping[str, JsonValue], item: int | None) -> Iterator[Record]:
    from langsmith.run_helpers import trace  # noqa: PLC0415 - only who traces pays for it

    named = {"step": step.name, "action": step.action} | ({} if item is None else {"item": item})
    with trace(step.name, run_type="tool", inputs=dict(inputs), metadata=named) as span:

        def record(outcome: Outcome) -> None:
            # LangSmith hides outputs on request, but never an error's text.
            error = f"{step.name}: {outcome.status}, its outputs say why." if outcome.status.is_failure else None
            reason = outcome.reason or (outcome.ask or {}).get("reason")
            span.end(
                outputs={"result": outcome.result, "reason": reason},
                error=error,
                metadata={"status": str(outcome.status), "attempts": outcome.attempts},
            )

        yield record
