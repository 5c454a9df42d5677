"""`plan`, `run`, `resume`: what makes a run and takes it further."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from agentic_workflows.cli.options import (
    Actions,
    Annotations,
    Database,
    Flags,
    Goal,
    Json,
    MaxIterations,
    Model,
    NewThread,
    PlanFile,
    Policies,
    Thread,
    Workspace,
)
from agentic_workflows.cli.output import BAD_INPUT, COMPLETE, FAILED, Output, in_line, indented
from agentic_workflows.errors import PlanError, PlanningError, RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentic_workflows.graph.plan import Plan
    from agentic_workflows.graph.state import Limits
    from agentic_workflows.policies.report import Report
    from agentic_workflows.workflow import AgenticWorkflow

_GOAL_ITERATIONS = 20
_PLAN_SPARE = 10


def plan(
    ctx: typer.Context,
    *,
    goal: Goal = None,
    plan_file: PlanFile = None,
    workspace: Workspace = None,
    policy: Policies = None,
    model: Model = None,
    actions: Actions = None,
    annotations: Annotations = None,
    max_seconds: Annotated[float, typer.Option(help="How long the model may take.")] = 600,
    _json: Json = False,
) -> int:
    """Show a plan with its order, a decision on every step and all findings; run nothing."""
    from agentic_workflows.cli.build import build_workflow, setup_from  # noqa: PLC0415 - heavy
    from agentic_workflows.graph.state import Limits  # noqa: PLC0415
    from agentic_workflows.journal.database import MEMORY  # noqa: PLC0415

    given = _given(goal, plan_file)
    given_flags = Flags(workspace=workspace, policies=policy, model=model, actions=actions, annotations=annotations)
    workflow = build_workflow(setup_from(given_flags), MEMORY, limits=Limits(max_seconds=max_seconds))
    warn_of_policies(workflow, ctx.obj)
    try:
        report = workflow.examine(given) if given else asyncio.run(workflow.create_plan(goal or ""))
    except (PlanError, PlanningError) as error:
        ctx.obj.error(error)
        return FAILED
    return show_report(report, ctx.obj, refused=BAD_INPUT if given else FAILED)


def show_report(report: "Report", output: Output, *, refused: int = BAD_INPUT) -> int:
    """Show a plan, the decisions and the findings; return the exit code, `refused` where there are findings."""
    from agentic_workflows.cli.tables import plan_table, sources_table  # noqa: PLC0415 - heavy

    shown = report.to_json()
    output.document(shown)
    if not output.is_json:
        output.say(f"Goal: {indented(report.plan.goal, 6)}\n")
        output.show(plan_table(report.plan.to_json(), shown))
        if sources := {step: told for step, one in report.provenance.items() if (told := one.to_json())}:
            output.say("\nWhere arguments come from:")
            output.show(sources_table(sources))
        for finding in report.findings:
            output.say(f"\nFinding: {in_line(str(finding))}")
    return refused if report.findings else COMPLETE


def run(
    ctx: typer.Context,
    *,
    goal: Goal = None,
    plan_file: PlanFile = None,
    workspace: Workspace = None,
    database: Database = None,
    policy: Policies = None,
    model: Model = None,
    actions: Actions = None,
    annotations: Annotations = None,
    max_iterations: MaxIterations = None,
    max_replans: Annotated[int, typer.Option(help="New plans after a failed step; a plan file has none.")] = 2,
    max_parallel: Annotated[int, typer.Option(help="Action calls at the same time.")] = 8,
    max_seconds: Annotated[float, typer.Option(help="Wall clock; waiting for people does not count.")] = 3_600,
    max_tokens: Annotated[int, typer.Option(help="Tokens of all planner calls.")] = 1_000_000,
    review_seconds: Annotated[
        float, typer.Option(help="A question that nobody answers for this long counts as rejected.")
    ] = 604_800,
    grant_seconds: Annotated[
        float, typer.Option(help="An approval that is not used for this long is asked for again.")
    ] = 86_400,
    thread: NewThread = None,
    _json: Json = False,
) -> int:
    """Plan a goal or take a plan file, and run it until it is complete, fails, or waits for a person."""
    from agentic_workflows.graph.state import Limits  # noqa: PLC0415 - heavy

    given = _given(goal, plan_file)
    usual = len(given.steps) + _PLAN_SPARE if given else _GOAL_ITERATIONS
    limits = Limits(
        max_iterations=usual if max_iterations is None else max_iterations,
        max_replans=0 if given else max_replans,
        max_parallel=max_parallel,
        max_seconds=max_seconds,
        max_tokens=max_tokens,
        review_seconds=review_seconds,
        grant_seconds=grant_seconds,
    )
    chosen = Flags(workspace=workspace, policies=policy, model=model, actions=actions, annotations=annotations)
    if thread is not None and not thread.strip():
        raise RunError("--thread is empty. Give the run a name, or leave the option out for a new one.")
    name = uuid4().hex[:8] if thread is None else thread
    return _run(
        goal or "",
        ctx.obj,
        given=given,
        plan_file=plan_file,
        chosen=chosen,
        limits=limits,
        database=database,
        thread=name,
    )


def resume(
    ctx: typer.Context,
    *,
    thread: Thread,
    workspace: Workspace = None,
    database: Database = None,
    policy: Policies = None,
    model: Model = None,
    actions: Actions = None,
    annotations: Annotations = None,
    max_iterations: Annotated[
        int | None, typer.Option(help="A higher limit, for a run that used up its own.", show_default=False)
    ] = None,
    _json: Json = False,
) -> int:
    """Continue a run that is paused, waits for answers, was left behind, or ran out of iterations."""
    from agentic_workflows.cli.drive import Driver  # noqa: PLC0415 - heavy

    chosen = Flags(workspace=workspace, policies=policy, model=model, actions=actions, annotations=annotations)
    with asyncio.Runner() as runner:
        workflow, folder = reopened(thread, chosen, database, runner)
        warn_of_policies(workflow, ctx.obj)
        driver = Driver(workflow, thread, ctx.obj, workspace=folder, runner=runner)
        return driver.resume(workflow.resume_stream(thread_id=thread, max_iterations=max_iterations))


def warn_of_policies(workflow: "AgenticWorkflow", output: Output) -> None:
    """Warn where every call is denied: that is no fault of the plan."""
    from agentic_workflows.policies.idle import denies_all  # noqa: PLC0415 - heavy

    for warning in denies_all(workflow.engine.policies):
        output.say(f"Warning: {warning}")


def reopened(thread: str, chosen: Flags, database: str | None, runner: asyncio.Runner) -> tuple["AgenticWorkflow", str]:
    """Return the workflow that continues a run, and its workspace; what the run kept is used where flags are silent.

    Raises:
        RunError: there is no such run, or it has kept no workspace, and none is given.

    """
    from agentic_workflows.cli.build import build_reader, build_workflow, saved_setup, setup_from  # noqa: PLC0415

    reader = build_reader(database)
    kept = runner.run(reader.metadata_of(thread))
    if not saved_setup(kept) and chosen.workspace is None:
        _refuse_homeless(runner.run(reader.result(thread)))
    setup = setup_from(chosen, kept)
    return build_workflow(setup, database), setup.workspace


def _refuse_homeless(result: "Mapping[str, Any]") -> None:
    """Refuse to go on in the current folder with a run that may work in another one.

    Raises:
        RunError: it could go on here.

    """
    if result["state"] not in ("COMPLETE", "UNKNOWN") and not result["outer"]:
        raise RunError(
            f"The run {result['thread_id']} was begun by another program, such as a LangGraph server, which did not "
            f"write down what it works on. Go on with it there, or give its --workspace, and --policy, --actions and "
            f"--annotations where it has its own."
        )


def _run(
    goal: str,
    output: Output,
    *,
    given: "Plan | None",
    plan_file: Path | None,
    chosen: Flags,
    limits: "Limits",
    database: str | None,
    thread: str,
) -> int:
    from agentic_workflows.cli.build import build_workflow, setup_from  # noqa: PLC0415 - heavy
    from agentic_workflows.cli.drive import Driver  # noqa: PLC0415

    setup = setup_from(chosen)
    workflow = build_workflow(setup, database, limits=limits)
    warn_of_policies(workflow, output)
    if given and (findings := workflow.examine(given).findings):
        raise PlanError(findings, source=f"The plan file {plan_file}")
    if given is None:
        output.say("Preparing the model ...")
        from agentic_workflows.agents.chat_model import chat_model  # noqa: PLC0415 - two seconds

        chat_model(setup.model)  # one that does not exist ends it here, and not once for each iteration of the run
    with asyncio.Runner() as runner:
        driver = Driver(workflow, thread, output, workspace=setup.workspace, runner=runner)
        return driver.drive(workflow.stream(goal or (given.goal if given else ""), plan=given, thread_id=thread))


def _given(goal: str | None, file: Path | None) -> "Plan | None":
    """Return the plan of a file; without one there must be a goal."""
    if file is None:
        if not (goal or "").strip():
            raise RunError("There is no goal. Say in one sentence what is wanted, or give a --plan file.")
        return None
    from agentic_workflows.agents.plan_file import load_plan  # noqa: PLC0415 - heavy

    return load_plan(file)
