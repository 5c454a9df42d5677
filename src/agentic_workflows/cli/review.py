"""`review`: the open questions of all runs, and the answers to those of one."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from agentic_workflows.cli.options import Actions, Annotations, Database, Flags, Json, Model, Policies, Workspace
from agentic_workflows.cli.output import COMPLETE, Output
from agentic_workflows.cli.run import reopened, warn_of_policies
from agentic_workflows.errors import ReviewError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentic_workflows.graph.review import Answer
    from agentic_workflows.graph.values import JsonValue

_ALL = "all"


def review(
    ctx: typer.Context,
    *,
    thread: Annotated[
        str | None, typer.Argument(help="The run; without it, list the questions of all, cut short.")
    ] = None,
    approve: Annotated[list[str] | None, typer.Option(help="A review id, or `all` that are open; repeatable.")] = None,
    reject: Annotated[list[str] | None, typer.Option(help="A review id, or `all` that are open; repeatable.")] = None,
    edit: Annotated[str | None, typer.Option(help="A review id, with --inputs.")] = None,
    respond: Annotated[str | None, typer.Option(help="A review id, with --message.")] = None,
    feedback: Annotated[str, typer.Option(help="With --reject: what the planner should know.")] = "",
    inputs: Annotated[str | None, typer.Option(help="With --edit: all inputs, as a JSON object.")] = None,
    message: Annotated[str | None, typer.Option(help="With --respond: the result to take in its place.")] = None,
    workspace: Workspace = None,
    database: Database = None,
    policy: Policies = None,
    model: Model = None,
    actions: Actions = None,
    annotations: Annotations = None,
    _json: Json = False,
) -> int:
    """List open questions, or answer those of a run and let it go on: one by one at a terminal, or with options."""
    if thread is None:
        if approve or reject or edit or respond:
            raise ReviewError("Name the run that the answers are for: review THREAD ...")
        return _list(database, ctx.obj)
    from agentic_workflows.cli.drive import Driver  # noqa: PLC0415 - heavy

    chosen = Flags(workspace=workspace, policies=policy, model=model, actions=actions, annotations=annotations)
    with asyncio.Runner() as runner:
        workflow, folder = reopened(thread, chosen, database, runner)
        warn_of_policies(workflow, ctx.obj)
        result = runner.run(workflow.result(thread))
        if result["state"] != "REVIEWING":
            raise ReviewError(f"The run {thread} is {result['state']} and asks nothing.")
        driver = Driver(workflow, thread, ctx.obj, workspace=folder, runner=runner)
        answers = [
            *_approved(approve or (), result["reviews"]),
            *_rejected(reject or (), feedback, result["reviews"]),
            *_edited(edit, inputs),
            *_responded(respond, message),
        ]
        # Without an answer, too: what nobody answered in time is rejected now.
        return driver.resume(workflow.resume_stream(answers or None, thread_id=thread))


def _list(database: str | None, output: Output) -> int:
    from agentic_workflows.cli.runs import all_runs  # noqa: PLC0415
    from agentic_workflows.cli.tables import BESIDE_QUESTION, questions_table, width_with  # noqa: PLC0415 - heavy

    waiting = [one for one in all_runs(database) if one["reviews"]]
    output.document(
        [{"thread_id": one["thread_id"], "goal": one["goal"], "reviews": one["reviews"]} for one in waiting]
    )
    if waiting and not output.is_json:
        output.show_wide(questions_table(waiting, output.console.width), width_with(waiting, BESIDE_QUESTION))
    elif not output.is_json:
        output.say("No question is open.")
    return COMPLETE


def _approved(ids: "Sequence[str]", questions: "Sequence[Mapping[str, JsonValue]]") -> "list[Answer]":
    from agentic_workflows.graph.review import approve  # noqa: PLC0415 - heavy

    return [approve(one) for one in _expanded(ids, questions)]


def _rejected(ids: "Sequence[str]", feedback: str, questions: "Sequence[Mapping[str, JsonValue]]") -> "list[Answer]":
    from agentic_workflows.graph.review import reject  # noqa: PLC0415 - heavy

    if feedback and not ids:
        raise ReviewError("--feedback goes with --reject ID.")
    return [reject(feedback, one) for one in _expanded(ids, questions)]


def _edited(one: str | None, inputs: str | None) -> "list[Answer]":
    from agentic_workflows.graph.review import edit  # noqa: PLC0415 - heavy

    if (one is None) != (inputs is None):
        raise ReviewError("--edit ID and --inputs JSON go together.")
    if one is None or inputs is None:
        return []
    try:
        changed = json.loads(inputs)
    except ValueError as error:
        raise ReviewError(f"--inputs is no JSON: {error}.") from error
    if not isinstance(changed, dict):
        raise ReviewError(f"--inputs is a {type(changed).__name__}; give a JSON object of all inputs.")
    return [edit(changed, one)]


def _responded(one: str | None, message: str | None) -> "list[Answer]":
    from agentic_workflows.graph.review import respond  # noqa: PLC0415 - heavy

    if (one is None) != (message is None):
        raise ReviewError("--respond ID and --message TEXT go together.")
    return [] if one is None else [respond(message, one)]


def _expanded(ids: "Sequence[str]", questions: "Sequence[Mapping[str, JsonValue]]") -> list[str]:
    return [str(question["id"]) for question in questions] if _ALL in ids else list(ids)
