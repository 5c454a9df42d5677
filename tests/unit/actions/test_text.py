from enum import Enum
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import Field

from agentic_workflows.actions.action import ActionCall
from agentic_workflows.actions.registry import make_registry
from agentic_workflows.actions.text import ModelSource, text_actions
from agentic_workflows.errors import ActionError
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.values import JsonValue


class FakeModel(BaseChatModel):
    """Gives one answer, and notes what it was asked."""

    answer: str
    said: dict[str, Any] = Field(default_factory=lambda: {"finish_reason": "stop"})
    asked: list[list[tuple[str, str]]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, messages: list[BaseMessage], *_: Any, **options: Any) -> ChatResult:
        assert "tools" not in options
        self.asked.append([(message.type, message.text) for message in messages])
        message = AIMessage(self.answer, response_metadata=self.said)
        return ChatResult(generations=[ChatGeneration(message=message)])


class ConstrainedModel(FakeModel):
    """Answers under a JSON Schema."""

    label: Any = None
    schemas: list[Any] = Field(default_factory=list)

    def with_structured_output(self, schema: Any, **options: Any) -> Runnable[Any, Any]:
        assert options == {"method": "json_schema", "strict": True}
        self.schemas.append(schema)
        return RunnableLambda(lambda _: self.label)


async def call(model: ModelSource, name: str, /, **inputs: JsonValue) -> object:
    actions = make_registry(text_actions(model, max_characters=100))
    step = WorkflowStep("step", name, inputs)
    return await actions[name].run(ActionCall(action=name, inputs=inputs, step=step, run_id="run"))


@pytest.mark.parametrize("name", ["summarize", "classify"])
async def test_a_model_and_a_function_that_gives_one_do_the_same(name: str) -> None:
    model = ConstrainedModel(answer="short", label={"label": "short"})
    more: dict[str, JsonValue] = {"labels": ["short", "long"]} if name == "classify" else {}
    assert [await call(one, name, text="A text.", **more) for one in (model, lambda: model)] == ["short", "short"]


async def test_summary_is_the_models_answer() -> None:
    model = FakeModel(answer=" A short text. \n")
    assert await call(model, "summarize", text="A text that is long.") == "A short text."
    ((system, user),) = model.asked
    assert system[0] == "system"
    assert "in one sentence" in system[1]
    assert user == ("human", "Text:\nA text that is long.")
    await call(model, "summarize", text="A text.", sentences=3)
    assert "in 3 sentences" in model.asked[-1][0][1]


@pytest.mark.parametrize(
    "answer, found",
    [
        ("129.50", "129.50"),
        ('"$129.50".', "$129.50"),
        ("NORTHWIND\n ltd", "Northwind  Ltd"),
        ("“Northwind Ltd”", "Northwind  Ltd"),
        ("$129.50.", "$129.50."),
    ],
)
async def test_extracted_value_is_copied_from_the_text(answer: str, found: str) -> None:
    text = "Invoice of Northwind  Ltd: pay $129.50."
    assert await call(FakeModel(answer=answer), "extract", text=text, what="the value") == found


@pytest.mark.parametrize("answer", ["130", "12", "29", "...", '""', ".*", "[a-z]+"])
async def test_value_that_is_not_in_the_text_is_refused(answer: str) -> None:
    with pytest.raises(ActionError, match="'the amount' was not found in the text"):
        await call(FakeModel(answer=answer), "extract", text="Pay 129 to us", what="the amount")


@pytest.mark.parametrize("answer", ["Urgent", '"urgent".', "It is urgent", "urgent\n"])
async def test_class_is_one_of_the_labels(answer: str) -> None:
    assert await call(FakeModel(answer=answer), "classify", text="Fire!", labels=["urgent", "not"]) == "urgent"


@pytest.mark.parametrize("answer", ["both urgent and calm", "resurgent", "none"])
async def test_answer_that_is_no_label_is_refused(answer: str) -> None:
    with pytest.raises(ActionError, match="which is none of the labels urgent, calm"):
        await call(FakeModel(answer=answer), "classify", text="Fire!", labels=["urgent", "calm"])


async def test_class_is_constrained_where_the_model_can_be() -> None:
    model = ConstrainedModel(answer="", label={"label": "calm"})
    assert await call(model, "classify", text="Fire!", labels=["urgent", "calm", "calm"]) == "calm"
    assert [schema["properties"] for schema in model.schemas] == [
        {"label": {"type": "string", "enum": ["urgent", "calm"]}}
    ]


@pytest.mark.parametrize("label", [None, {}, {"label": "other"}, "urgent calm", {"label": 3}])
async def test_constrained_answer_is_checked_all_the_same(label: object) -> None:
    with pytest.raises(ActionError, match="none of the labels"):
        await call(ConstrainedModel(answer="", label=label), "classify", text="Fire!", labels=["urgent", "calm"])


@pytest.mark.parametrize("labels", [[], ["one"], ["", "b"], "urgent", [str(at) for at in range(51)]])
async def test_labels_that_leave_no_choice_are_refused(labels: JsonValue) -> None:
    with pytest.raises(ActionError, match="labels"):
        await call(FakeModel(answer="one"), "classify", text="Fire!", labels=labels)


async def test_text_is_written_from_an_instruction_and_data() -> None:
    model = FakeModel(answer="Dear all")
    assert await call(model, "write_text", instruction="Greet them.") == "Dear all"
    assert await call(model, "write_text", instruction="Greet them.", text="Ada, Bob") == "Dear all"
    assert [messages[1][1] for messages in model.asked] == ["Greet them.", "Greet them.\n\nText:\nAda, Bob"]


@pytest.mark.parametrize(
    "name, inputs",
    [
        ("summarize", {}),
        ("extract", {"what": "name"}),
        ("classify", {"labels": ["a", "b"]}),
        ("write_text", {"instruction": "Shorten it."}),
    ],
)
async def test_text_that_is_too_long_is_refused_before_the_model_sees_it(name: str, inputs: Any) -> None:
    model = FakeModel(answer="a")
    with pytest.raises(ActionError, match=r"The text has \d+ characters, and the limit is 100. Give a shorter text"):
        await call(model, name, text="x" * 101, **inputs)
    assert model.asked == []


@pytest.mark.parametrize(
    "name, inputs",
    [("summarize", {"text": " \n"}), ("extract", {"text": "x", "what": ""}), ("write_text", {"instruction": ""})],
)
async def test_empty_text_is_refused(name: str, inputs: Any) -> None:
    with pytest.raises(ActionError, match="The text is empty"):
        await call(FakeModel(answer="a"), name, **inputs)


async def test_answer_that_is_empty_is_refused() -> None:
    with pytest.raises(ActionError, match="empty answer"):
        await call(FakeModel(answer=" "), "summarize", text="A text.")


class Reason(Enum):
    MAX_TOKENS = 2


@pytest.mark.parametrize(
    "metadata",
    [
        {"finish_reason": "length"},
        {"finish_reason": "MAX_TOKENS"},
        {"finish_reason": Reason.MAX_TOKENS},
        {"stop_reason": "max_tokens"},
        {"stop_reason": "model_context_window_exceeded"},
        {"stopReason": "max_tokens"},
        {"done_reason": "length"},
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    ],
)
async def test_answer_that_was_cut_off_is_refused_whoever_says_so(metadata: dict[str, Any]) -> None:
    with pytest.raises(ActionError, match="cut off at its length limit"):
        await call(FakeModel(answer="A te", said=metadata), "summarize", text="A text.")


@pytest.mark.parametrize(
    "metadata",
    [{}, {"stop_reason": "end_turn"}, {"done_reason": "stop"}, {"finish_reason": None, "incomplete_details": None}],
)
async def test_answer_that_nobody_calls_cut_is_taken(metadata: dict[str, Any]) -> None:
    assert await call(FakeModel(answer="A text", said=metadata), "summarize", text="A text.") == "A text"


def test_text_actions_change_nothing_and_touch_nothing() -> None:
    actions = text_actions(lambda: FakeModel(answer=""))
    assert [action.name for action in actions] == ["summarize", "extract", "classify", "write_text"]
    for action in actions:
        assert action.annotations.read_only
        assert action.annotations.open_world  # it tells a model, which may be anybody's
        assert action.annotations.trusted  # as far as its text is
        assert action.annotations.verbatim == (action.name == "extract")
        assert action.annotations.arguments["text"] == "content"
        assert action.resources is not None
        assert action.resources({}) == ()
