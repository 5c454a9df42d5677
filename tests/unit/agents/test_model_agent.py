"""A model agent turns answers into plain plans, and every fault of a model into one clear error."""

import asyncio
import json
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from pydantic import Field

from agentic_workflows.actions.registry import make_registry
from agentic_workflows.agents.model_agent import ModelAgent
from agentic_workflows.agents.planning_prompt import Example
from agentic_workflows.agents.recording import ReplayModel
from agentic_workflows.errors import ActionError, ModelError
from agentic_workflows.graph.catalogue import ActionSpec
from agentic_workflows.graph.plan import from_json
from agentic_workflows.graph.values import JsonObject

TEXT: JsonObject = {"type": "string"}
CATALOGUE = {
    "read": ActionSpec(
        name="read",
        input_schema={
            "type": "object",
            "properties": {"path": TEXT, "limit": {"type": "integer"}},
            "required": ["path"],
        },
        output_schema={"type": "array"},
    ),
    "save": ActionSpec(
        name="save", input_schema={"type": "object", "properties": {"text": TEXT}, "required": ["text"]}
    ),
}
ANSWER = {
    "steps": [
        {"name": "r", "action": "read", "inputs": {"path": "a", "limit": None}, "outputs": ["rows"]},
        {"name": "s", "action": "save", "inputs": {"text": "${rows}"}, "outputs": []},
    ]
}
PLAN = {
    "goal": "Save a.",
    "steps": [
        {"name": "r", "action": "read", "inputs": {"path": "a"}, "outputs": ["rows"]},
        {
            "name": "s",
            "action": "save",
            "inputs": {"text": '${rows[*].to_string(@) | join(`"\\n"`, @)}'},
            "outputs": [],
        },
    ],
}


async def test_plan_is_a_plain_mapping_and_its_tokens_are_counted(endpoint, model):
    endpoint.content = json.dumps(ANSWER)
    with get_usage_metadata_callback() as usage:
        plan = await ModelAgent(model, CATALOGUE).create_plan("Save a.", [])
    assert plan == PLAN
    assert [step.name for step in from_json(plan).steps] == ["r", "s"]
    assert [used["total_tokens"] for used in usage.usage_metadata.values()] == [10]


async def test_model_is_held_to_the_schema_of_the_catalogue(endpoint, model):
    endpoint.content = json.dumps(ANSWER)
    example = Example(goal="Save b.", steps=[{"name": "s", "action": "save", "inputs": {"text": "b"}}])
    await ModelAgent(model, CATALOGUE, examples=[example]).create_plan("Save a.", [])
    [request] = endpoint.requests
    shape = request["response_format"]["json_schema"]
    assert shape["strict"] is True
    branches = shape["schema"]["properties"]["steps"]["items"]["anyOf"]
    assert [branch["properties"]["action"]["const"] for branch in branches] == ["read", "read", "save", "save"]
    assert [message["content"] for message in request["messages"]][1::2] == ["Save b.", "Save a."]


async def test_findings_and_feedback_reach_the_model(endpoint, model):
    endpoint.content = json.dumps(ANSWER)
    history = [{"step": None, "result": {"findings": [{"step": "r", "problem": "is wrong."}], "feedback": "Not a."}}]
    await ModelAgent(model, CATALOGUE).create_plan("Save a.", history)
    assert "- r: is wrong.\n- Not a.\n" in endpoint.requests[0]["messages"][-1]["content"]


@tool
def look_up(title: str) -> str:
    """Look up a book."""
    return title


@pytest.mark.parametrize("catalogue", [
    [CATALOGUE["read"]], (CATALOGUE["read"],), CATALOGUE["read"], [look_up], {"look_up": look_up}, {"read": None},
    ["read"], "read", None, 3,
])  # fmt: skip
def test_a_catalogue_that_is_none_is_told_with_what_makes_one(catalogue):
    with pytest.raises(ActionError, match=r"is no mapping of names to actions. `make_registry\(\[...\]\)` of"):
        ModelAgent(Caller, catalogue)


async def test_what_makes_a_mapping_of_actions_is_a_catalogue(endpoint, model):
    endpoint.content = json.dumps(ANSWER)
    pairs = cast("Any", list(CATALOGUE.items()))
    for catalogue in (MappingProxyType(CATALOGUE), pairs, make_registry([look_up]), {}):
        assert (await ModelAgent(model, catalogue).create_plan("Save a.", []))["goal"] == "Save a."


@pytest.mark.parametrize("wrap", [lambda _: "gpt-4o", lambda _: None, lambda model: model.with_retry(), lambda _: {}])
def test_what_is_no_model_is_told_when_the_agent_is_made(model, wrap):
    with pytest.raises(
        ModelError, match=r"is no chat model\. Give a LangChain chat model as it was made, or a function"
    ):
        ModelAgent(wrap(model), CATALOGUE)


async def test_whatever_can_be_called_may_make_the_model(endpoint, model):
    class Maker:
        def __call__(self):
            return model

    endpoint.content = json.dumps(ANSWER)
    for maker in (Maker(), partial(lambda made: made, model), Maker().__call__):
        assert await ModelAgent(maker, CATALOGUE).create_plan("Save a.", []) == PLAN


async def test_model_is_made_at_the_first_plan_and_once(endpoint, model):
    made = []
    endpoint.content = json.dumps(ANSWER)
    agent = ModelAgent(lambda: made.append(1) or model, CATALOGUE)
    assert made == []
    assert await agent.create_plan("Save a.", []) == await agent.create_plan("Save a.", [])
    assert made == [1]


@pytest.mark.parametrize("content,problem", [
    ("Sure! Here is your plan.", "answered with no plan: 'Sure! Here is your plan.'"),
    ("null", "answered with no plan: 'null'"),
    ("[]", "answered with no plan: '\\[\\]'"),
    ('{"steps": 3}', "answered with no plan"),
    ("", "gave an empty answer"),
    (None, "gave an empty answer"),
])  # fmt: skip
async def test_an_answer_that_is_no_plan_is_an_error(endpoint, model, content, problem):
    endpoint.content = content
    with pytest.raises(ModelError, match=problem):
        await ModelAgent(model, CATALOGUE).create_plan("Save a.", [])


async def test_a_refusal_is_told(endpoint, model):
    endpoint.content, endpoint.refusal = None, "I must not."
    with pytest.raises(ModelError, match="I must not"):
        await ModelAgent(model, CATALOGUE).create_plan("Save a.", [])


async def test_an_answer_that_was_cut_off_is_an_error(endpoint, model):
    endpoint.content, endpoint.finish = '{"steps": [', "length"
    with pytest.raises(ModelError, match="length"):
        await ModelAgent(model, CATALOGUE).create_plan("Save a.", [])


WHOLE = json.dumps(ANSWER)
FIRST_STEP = WHOLE[: WHOLE.index(', {"name": "s"')]


@pytest.mark.parametrize(
    "cut", [FIRST_STEP, WHOLE[:-2], WHOLE[:-1], f"```json\n{FIRST_STEP}", f"Sure.\n```\n{FIRST_STEP}"]
)
async def test_no_part_of_a_plan_passes_for_the_plan(endpoint, model, cut):
    endpoint.content = cut
    with pytest.raises(ModelError, match=r"cut off, so its plan is not whole\. Raise its max_tokens"):
        await ModelAgent(model, CATALOGUE).create_plan("Save a.", [])


@pytest.mark.parametrize("content", [
    f"```json\n{WHOLE}\n```",
    f"Here is {{a}} plan:\n```json\n{WHOLE}\n```\nIt saves {{a}}.",
    f"```\n{WHOLE}",
    f"\n{WHOLE}\n\n\n",
    f"{WHOLE} That is all.",
    json.dumps(ANSWER, indent=2),
    WHOLE.replace('"a"', '"\\u0061"'),
    json.dumps({"steps": [dict(reversed(step.items())) for step in ANSWER["steps"]]}),
])  # fmt: skip
async def test_a_whole_plan_is_taken_however_it_is_written(endpoint, model, content):
    endpoint.content = content
    assert await ModelAgent(model, CATALOGUE).create_plan("Save a.", []) == PLAN


@pytest.mark.parametrize("value", ["1.0", "1e2", '"a\nb"', '"a\tb"', '"\\ud83d\\ude00"', '"```json {"'])
async def test_a_value_may_be_written_in_any_way(endpoint, model, value):
    endpoint.content = f'{{"steps": [{{"action": "fly", "inputs": {{"x": {value}}}}}]}}'
    expected = json.loads(value, strict=False)
    plan = await ModelAgent(model, CATALOGUE).create_plan("Fly.", [])
    assert plan["steps"] == [{"action": "fly", "inputs": {"x": expected}}]


class Caller(BaseChatModel):
    """Answers with a call of the tool that it is given, as many models do."""

    text: str = ""
    said: dict[str, object] = Field(default_factory=dict)

    @property
    def _llm_type(self):
        return "caller"

    def bind_tools(self, tools, **options):  # noqa: ARG002 - the base class's shape
        return self.bind()

    def _generate(self, messages, stop=None, run_manager=None, **options):  # noqa: ARG002 - the base class's shape
        made = {"name": "plan", "args": ANSWER, "id": "1"}
        message = AIMessage(self.text, tool_calls=[made], response_metadata=self.said)
        return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.mark.parametrize("text", ["", "Here it is.", '{"steps": [', json.dumps(ANSWER)])
@pytest.mark.parametrize("metadata", [{}, {"stop_reason": "tool_use"}, {"finish_reason": "tool_calls"}])
async def test_a_plan_may_come_as_the_call_of_a_tool(text, metadata):
    assert await ModelAgent(Caller(text=text, said=metadata), CATALOGUE).create_plan("Save a.", []) == PLAN


@pytest.mark.parametrize("metadata", [{"stop_reason": "max_tokens"}, {"finish_reason": "length"}])
async def test_a_call_of_a_tool_that_was_cut_off_is_no_plan(metadata):
    with pytest.raises(ModelError, match="cut off"):
        await ModelAgent(Caller(said=metadata), CATALOGUE).create_plan("Save a.", [])


class Writer(ReplayModel):
    """Answers with a text, under no schema that its server knows of."""

    path: Path = Path()
    text: str
    said: dict[str, object]

    def _generate(self, messages, stop=None, run_manager=None, **options):  # noqa: ARG002 - the base class's shape
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.text, response_metadata=self.said))])


async def test_a_whole_plan_before_spaces_up_to_the_limit_is_taken():
    model = Writer(text=json.dumps(ANSWER) + " " * 50, said={"done_reason": "length"})
    assert await ModelAgent(model, CATALOGUE).create_plan("Save a.", []) == PLAN


@pytest.mark.parametrize("status,body,problem", [
    (500, '{"error": {"message": "out of memory"}}', "out of memory"),
    (401, '{"error": {"message": "bad key"}}', "bad key"),
    (404, '{"error": {"message": "no such model"}}', "no such model"),
    (200, "<html>", "The model"),
    (200, "{}", "The model"),
])  # fmt: skip
async def test_an_http_fault_is_a_model_error(endpoint, model, status, body, problem):
    endpoint.status, endpoint.body = status, body
    with pytest.raises(ModelError, match=problem):
        await ModelAgent(model, CATALOGUE).create_plan("Save a.", [])


async def test_a_hanging_model_is_cut_by_cancelling(endpoint, model):
    endpoint.hang.clear()
    planning = asyncio.create_task(ModelAgent(model, CATALOGUE).create_plan("Save a.", []))
    await asyncio.to_thread(endpoint.came.wait, 10)
    planning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(planning, 2)


async def test_a_model_that_cannot_be_made_says_why():
    def broken():
        raise ModelError("The weights are missing.")

    with pytest.raises(ModelError, match=r"^The weights are missing\.$"):
        await ModelAgent(broken, CATALOGUE).create_plan("Save a.", [])


async def test_steps_that_are_no_steps_are_left_for_the_plan_check(endpoint, model):
    endpoint.content = json.dumps({"steps": [1, {"action": "fly"}, {"action": "read", "inputs": 3}]})
    plan = await ModelAgent(model, CATALOGUE).create_plan("Save a.", [])
    assert plan["steps"] == [1, {"action": "fly"}, {"action": "read", "inputs": 3}]
