"""`policy check`, `policy test`, `policy explain`, `policy show`: policies without a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentic_workflows.cli.options import Actions, Annotations, Flags, Json, Policies, Workspace, or_stdin
from agentic_workflows.cli.output import COMPLETE, FAILED, Output
from agentic_workflows.errors import PolicyError

if TYPE_CHECKING:
    from agentic_workflows.actions.action import Registry
    from agentic_workflows.cli.build import Setup
    from agentic_workflows.policies.engine import CedarEngine

_NO_ACTIONS = "If it is an action of yours, say where it is: --actions MODULE:NAME."
_DEFAULT_ONLY = "Only the default policies were tested; name yours: --policy default --policy mine.cedar."


def make_policy() -> typer.Typer:
    """Return the group of commands."""
    told = "Check policies, test them, explain their decisions, copy a built-in one."
    group = typer.Typer(help=told, no_args_is_help=True)
    group.command()(check)
    group.command("test")(try_cases)
    group.command()(explain)
    group.command()(show)
    return group


def check(
    ctx: typer.Context,
    *,
    files: Annotated[list[str] | None, typer.Argument(help="Cedar files, or built-in ones by name.")] = None,
    policy: Policies = None,
    actions: Actions = None,
    annotations: Annotations = None,
    _json: Json = False,
) -> int:
    """Load policies together against the actions that there are, and warn of rules that never matter.

    Every mistake is an error with file and line.
    """
    from agentic_workflows.policies.idle import denies_all, idle_rules  # noqa: PLC0415 - heavy

    flags = Flags(policies=[*(files or ()), *(policy or ())], actions=actions, annotations=annotations)
    setup, catalogue, engine = _loaded(flags)
    warnings = [*denies_all(engine.policies), *idle_rules(engine.policies, catalogue)]
    rules = [
        {"id": one.rule.id, "effect": "permit" if one.is_permit else "forbid", "place": one.rule.place}
        for one in engine.policies
    ]
    ctx.obj.document({"policies": list(setup.policies), "rules": rules, "warnings": warnings})
    if not ctx.obj.is_json:
        for warning in warnings:
            ctx.obj.say(f"Warning: {warning}")
        ctx.obj.say(f"{len(rules)} rules load and fit the actions: {', '.join(setup.policies)}")
    return COMPLETE


def try_cases(
    ctx: typer.Context,
    *,
    file: Annotated[Path, typer.Argument(metavar="CASES", help="Cases in a YAML or JSON file.")],
    policy: Policies = None,
    actions: Actions = None,
    annotations: Annotations = None,
    _json: Json = False,
) -> int:
    """Decide every case of a file, and tell which decisions are not the expected ones; exit with 1 if there are any."""
    from agentic_workflows.policies.cases import check_cases, load_cases  # noqa: PLC0415 - heavy

    _, catalogue, engine = _loaded(Flags(policies=policy, actions=actions, annotations=annotations))
    try:
        results = check_cases(load_cases(file, catalogue=catalogue, policies=engine.policies), engine)
    except PolicyError as error:
        if policy:
            raise
        raise PolicyError(f"{error}\n{_DEFAULT_ONLY}") from error
    failed = [one for one in results if not one.is_as_expected]
    told = {"cases": len(results), "failed": len(failed), "results": [one.to_json() for one in results]}
    ctx.obj.document(told)
    if not ctx.obj.is_json:
        for one in failed:
            ctx.obj.say(str(one))
        ctx.obj.say(f"{len(results) - len(failed)} of {len(results)} cases are as expected.")
        if failed and not policy:
            ctx.obj.say(_DEFAULT_ONLY)
    return FAILED if failed else COMPLETE


def explain(
    ctx: typer.Context,
    *,
    plan_file: Annotated[
        Path,
        typer.Option("--plan", metavar="FILE", help="A plan in YAML or JSON, or `-` for stdin.", callback=or_stdin),
    ],
    policy: Policies = None,
    workspace: Workspace = None,
    actions: Actions = None,
    annotations: Annotations = None,
    _json: Json = False,
) -> int:
    """Show the decision on each step of a plan, and the rules that made it, with file and line."""
    from agentic_workflows.agents.plan_file import load_plan  # noqa: PLC0415 - heavy
    from agentic_workflows.cli.run import show_report  # noqa: PLC0415
    from agentic_workflows.policies.report import examine  # noqa: PLC0415

    plan = load_plan(plan_file)
    flags = Flags(workspace=workspace, policies=policy, actions=actions, annotations=annotations)
    _, catalogue, engine = _loaded(flags)
    report = examine(plan, catalogue=catalogue, engine=engine)
    code = show_report(report, ctx.obj)
    _show_rules(report.to_json()["decisions"], ctx.obj)
    return code


def show(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="Such as `default`.")] = "default",
    _json: Json = False,
) -> int:
    """Print a built-in policy file, to copy and change."""
    from agentic_workflows.policies import files  # noqa: PLC0415 - heavy

    if name not in files.BUILT_IN:
        raise PolicyError(f"{name!r} is no built-in policy. There are: {', '.join(files.BUILT_IN)}.")
    text = files.built_in_file(name).read_text(encoding="utf-8")
    ctx.obj.document({"name": name, "text": text})
    if not ctx.obj.is_json:
        ctx.obj.raw(text)
    return COMPLETE


def _loaded(flags: Flags) -> "tuple[Setup, Registry, CedarEngine]":
    """Return what flags say, the actions that there are, and the policies over them.

    Raises:
        PolicyError: the policies do not load.

    """
    from agentic_workflows.cli.build import build_actions, setup_from  # noqa: PLC0415 - heavy
    from agentic_workflows.policies.engine import CedarEngine  # noqa: PLC0415

    setup = setup_from(flags)
    catalogue = build_actions(setup)
    try:
        return setup, catalogue, CedarEngine(catalogue, setup.policies)
    except PolicyError as error:
        if setup.actions or "unrecognized action" not in str(error):
            raise
        raise PolicyError(f"{error}\n{_NO_ACTIONS}") from error


def _show_rules(decisions: object, output: Output) -> None:
    """Show each rule once, with its place and reason."""
    if output.is_json or not isinstance(decisions, dict):
        return
    rules = {rule["id"]: rule for one in decisions.values() for rule in (one.get("at_least") or one).get("rules", ())}
    if rules:
        output.say("\nRules:")
    for rule in rules.values():
        output.say(f"  {rule['id']} ({rule['place']}): {rule['reason']}")
