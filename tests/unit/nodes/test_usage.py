"""Counting the tokens of planners."""

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tracers import context

from agentic_workflows.nodes.usage import counted_usage


async def call(tokens: int) -> None:
    usage = {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens}
    said = AIMessage("x", usage_metadata=usage, response_metadata={"model_name": "m"})
    await GenericFakeChatModel(messages=iter([said])).ainvoke("x")


async def test_a_planner_inside_another_one_is_counted_for_both() -> None:
    with counted_usage() as outer:
        await call(1)
        with counted_usage() as inner:
            await call(2)
        await call(4)
    await call(8)
    assert (outer.usage_metadata["m"]["total_tokens"], inner.usage_metadata["m"]["total_tokens"]) == (7, 2)


async def test_langchain_is_left_nothing_to_look_at_by_each_planner_call() -> None:
    with counted_usage(), counted_usage():
        pass
    before = len(context._configure_hooks)
    for _ in range(20):
        with counted_usage(), counted_usage():
            await call(1)
    assert len(context._configure_hooks) == before
