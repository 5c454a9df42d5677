"""A model agent turns answers into plain plans, and every fault of a model into one clear error."""

import asyncio
import json

import pytest
from langchain_core.callbacks import get_usage_metadata_callback

from agentic_workflows.agents.model_agent import ModelAgent
from agentic_workflows.agents.planning_prompt import Example
from agentic_workflows.errors import ModelError
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
