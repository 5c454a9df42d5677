"""A recording gives back exactly what a model answered, tokens included, and nothing that it did not."""

import json

import pytest
from langchain_core.callbacks import get_usage_metadata_callback

from agentic_workflows.agents.recording import RecordingModel, ReplayModel
from agentic_workflows.errors import ModelError

SCHEMA = {"title": "t", "description": "d", "type": "object", "properties": {"a": {"type": "integer"}}}
OPTIONS = {"method": "json_schema", "strict": True}


async def test_replay_needs_no_model(endpoint, model, tmp_path):
    path = tmp_path / "deep" / "answers.jsonl"
    recording, replay = RecordingModel(path=path, model=model), ReplayModel(path=path)
    endpoint.content = '{"a": 1}'
    with get_usage_metadata_callback() as recorded:
        plain = await recording.ainvoke("hello")
        structured = await recording.with_structured_output(SCHEMA, **OPTIONS).ainvoke("hello")
    assert (plain.text, structured) == ('{"a": 1}', {"a": 1})
    assert endpoint.requests[1]["response_format"]["type"] == "json_schema"
    with get_usage_metadata_callback() as replayed:
        again = await replay.ainvoke("hello")
        assert await replay.with_structured_output(SCHEMA, **OPTIONS).ainvoke("hello") == {"a": 1}
    assert len(endpoint.requests) == 2
    assert (again.text, again.usage_metadata) == (plain.text, plain.usage_metadata)
    assert recorded.usage_metadata == replayed.usage_metadata
    assert [used["total_tokens"] for used in replayed.usage_metadata.values()] == [20]


def test_recording_and_replay_work_without_an_event_loop(endpoint, model, tmp_path):
    path = tmp_path / "answers.jsonl"
    endpoint.content = "hi"
    assert RecordingModel(path=path, model=model).invoke("hello").text == "hi"
    assert ReplayModel(path=path).invoke("hello").text == "hi"


async def test_raw_answers_and_what_is_no_json_are_replayed_too(endpoint, model, tmp_path):
    path = tmp_path / "answers.jsonl"
    endpoint.content = "no json"
    asked = {**OPTIONS, "include_raw": True}
    await RecordingModel(path=path, model=model).with_structured_output(SCHEMA, **asked).ainvoke("hello")
    answer = await ReplayModel(path=path).with_structured_output(SCHEMA, **asked).ainvoke("hello")
    assert (answer["raw"].text, answer["parsed"]) == ("no json", None)
    assert answer["parsing_error"] is not None


@pytest.mark.parametrize("include_raw", [True, False])
async def test_an_answer_that_is_a_call_of_a_tool_is_replayed_too(endpoint, model, tmp_path, include_raw):
    path = tmp_path / "answers.jsonl"
    said = endpoint.answer()
    called = {"id": "1", "type": "function", "function": {"name": "t", "arguments": '{"a": 1}'}}
    said["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [called]}
    endpoint.body = json.dumps(said)
    asked = {"method": "function_calling", "include_raw": include_raw}
    answers = [
        await kind.with_structured_output(SCHEMA, **asked).ainvoke("hello")
        for kind in (RecordingModel(path=path, model=model), ReplayModel(path=path))
    ]
    assert [answer["parsed"] if include_raw else answer for answer in answers] == [{"a": 1}, {"a": 1}]
    assert len(endpoint.requests) == 1


async def test_another_question_or_schema_is_a_miss_that_is_told(endpoint, model, tmp_path):
    path = tmp_path / "answers.jsonl"
    endpoint.content = '{"a": 1}'
    await RecordingModel(path=path, model=model).with_structured_output(SCHEMA, **OPTIONS).ainvoke("hello")
    replay = ReplayModel(path=path)
    for missing in (replay, replay.with_structured_output({**SCHEMA, "title": "u"}, **OPTIONS)):
        with pytest.raises(ModelError, match=r"answers\.jsonl lacks the answer"):
            await missing.ainvoke("hello")
    with pytest.raises(ModelError, match="lacks the answer"):
        await replay.with_structured_output(SCHEMA, **OPTIONS).ainvoke("hello!")


async def test_the_last_answer_of_a_recording_counts(endpoint, model, tmp_path):
    recording = RecordingModel(path=tmp_path / "answers.jsonl", model=model)
    for endpoint.content in ("old", "new"):
        await recording.ainvoke("hello")
    assert (await ReplayModel(path=tmp_path / "answers.jsonl").ainvoke("hello")).text == "new"


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r", "\r\n", "\n"])
async def test_an_answer_may_hold_whatever_ends_a_line(endpoint, model, tmp_path, end):
    path = tmp_path / "answers.jsonl"
    recording = RecordingModel(path=path, model=model)
    for endpoint.content in (f"one{end}two", "other"):
        await recording.ainvoke(endpoint.content)
    assert (await ReplayModel(path=path).ainvoke(f"one{end}two")).text == f"one{end}two"


async def test_a_recording_holds_no_question(model, tmp_path):
    path = tmp_path / "answers.jsonl"
    await RecordingModel(path=path, model=model).ainvoke("a private question")
    assert "private" not in path.read_text()
    assert json.loads(path.read_text()).keys() == {"key", "answer"}


@pytest.mark.parametrize("text,problem", [(None, "cannot be read"), ("{", "not JSON lines"), ("3\n", "no answer")])
async def test_a_recording_that_is_none_is_told(tmp_path, text, problem):
    path = tmp_path / "answers.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ModelError, match=problem):
        await ReplayModel(path=path).ainvoke("hello")


def test_only_json_schemas_are_recorded(tmp_path):
    with pytest.raises(ModelError, match="JSON Schema"):
        ReplayModel(path=tmp_path / "a").with_structured_output(int)
