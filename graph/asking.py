"""Interrupts, and which of the values that LangGraph gives to one are meant for it.

What comes by the id of an interrupt, `Command(resume={id: value})`, is for that one. A single value,
`Command(resume=value)`, LangGraph keeps until the outermost graph has made a step, and gives it to whatever is asked by
then: inside another graph, and after a kill, that may be another question than the one that was answered.
"""

from typing import Any, Final, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.types import interrupt

from agentic_workflows.graph.inside import SCRATCHPAD, configured, unanswered

_BY_ID: Final = "__pregel_resume_map"
"""Key of the configuration of a node: the values that came by the id of an interrupt."""


class Given(NamedTuple):
    """The values that were given to an interrupt so far."""

    values: list[object]
    """In the order in which they came. Those before the last were no answer: the node interrupted again."""
    is_meant: bool
    """Whether the last one came by the id of this interrupt."""
    waiting: GraphInterrupt
    """The interrupt, to be raised where none of them is an answer."""


def single_value(config: RunnableConfig) -> object:
    """Return the single value that LangGraph has for whatever a node asks; None where there is none, or some by id."""
    configurable = config.get("configurable", {})
    return None if configurable.get(_BY_ID) else configurable[SCRATCHPAD].get_null_resume()


def asked(
    value: object, config: RunnableConfig, *, takes_single: bool, response_schema: dict[str, Any] | None = None
) -> Given:
    """Interrupt a node with a question, and return what was given as an answer.

    Args:
        value: the question.
        config: of the node.
        takes_single: whether a single value is taken; otherwise it is left for what is asked beside this or after it.
        response_schema: of an answer.

    """
    configurable = config.get("configurable", {})
    by_id = configurable.get(_BY_ID) or {}
    # A single value beside those by id was given before them, to another question.
    own = {SCRATCHPAD: unanswered(configurable[SCRATCHPAD])} if by_id or not takes_single else {}
    values: list[object] = []
    with configured(own):
        while True:
            try:
                values.append(interrupt(value, response_schema=response_schema))
            except GraphInterrupt as waiting:
                is_meant = any(one is values[-1] for one in by_id.values() if values)
                return Given(values, is_meant, waiting)
