from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import END

from agentic_workflows.agents.scripted_agent import ScriptedAgent
from agentic_workflows.errors import RunError
from agentic_workflows.graph.build import build_graph
from agentic_workflows.graph.routing import ROUTES, Route, route
from agentic_workflows.graph.state import NO_STATE, State, WorkflowState


def test_every_state_has_its_route() -> None:
    assert {state: ROUTES[state] for state in WorkflowState} == {
        WorkflowState.PLANNING: "plan",
        WorkflowState.EXECUTING: "execute",
        WorkflowState.REVIEWING: "review",
        WorkflowState.PAUSED: "pause",
        WorkflowState.COMPLETE: END,
        WorkflowState.FAILED: END,
    }


@pytest.mark.parametrize("state", list(WorkflowState))
def test_the_route_is_one_look_up_of_the_status(state: WorkflowState) -> None:
    assert route(cast("State", {"status": state.value})) == ROUTES[state]


@given(st.none() | st.text() | st.integers() | st.sampled_from(["planning", "PLANNING ", "END", "__end__"]))
def test_an_unknown_status_is_an_error(status: object) -> None:
    with pytest.raises(RunError, match="none of PLANNING"):
        route(cast("State", {"status": status}))


async def test_langgraph_is_told_the_same_route_on_both_of_its_ways() -> None:
    state = cast("State", {"status": "PAUSED"})
    assert (Route().invoke(state), await Route().ainvoke(state)) == ("pause", "pause")


def test_a_state_without_a_status_is_an_error() -> None:
    with pytest.raises(RunError):
        route(NO_STATE)


def test_the_graph_is_five_nodes_and_their_edges() -> None:
    drawn = build_graph(ScriptedAgent([])).get_graph()
    assert set(drawn.nodes) == {"__start__", "plan", "validate", "execute", "review", "pause", "__end__"}
    edges = {source: {edge.target for edge in drawn.edges if edge.source == source} for source in drawn.nodes}
    anywhere = {*ROUTES.values()}
    assert edges == {
        "__start__": {"plan"},
        "plan": {"validate"},
        "execute": {"validate"},
        "validate": anywhere,
        "review": anywhere,
        "pause": anywhere,
        "__end__": set(),
    }
