"""From options to an `AgenticWorkflow`, and from what a run keeps of them to another one."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Final, cast

from agentic_workflows.actions.builtin import builtin_actions
from agentic_workflows.actions.overlay import annotated
from agentic_workflows.actions.registry import make_registry
from agentic_workflows.actions.workspace import Workspace
from agentic_workflows.cli.options import Flags, absolute
from agentic_workflows.errors import ActionError, RunError, WorkflowError, said
from agentic_workflows.graph.state import SETTING, Limits
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.policies.files import BUILT_IN, DEFAULT

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from agentic_workflows.actions.action import Registry
    from agentic_workflows.workflow import AgenticWorkflow

KEPT: Final = "agentic_setup"
"""Key of a run's metadata; the value is JSON text, because checkpoints keep no nested metadata."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a run is made of, so that another process can continue it without being told again."""

    workspace: str
    policies: tuple[str, ...]
    model: str | None
    actions: tuple[str, ...]
    folder: str
    """Where the actions were found; only named in errors, for a database must not say from where code is run."""
    annotations: tuple[str, ...]

    def to_metadata(self) -> JsonObject:
        """Return it as metadata of a run."""
        return {KEPT: json.dumps(asdict(self))}


def setup_from(flags: Flags, kept: JsonObject | None = None) -> Setup:
    """Return the setup that flags say, and where they are silent what a run has kept."""
    saved = {} if kept is None else saved_setup(kept)
    here = absolute(flags.workspace or Path())
    named = tuple(one if one in BUILT_IN else str(absolute(Path(one))) for one in flags.policies or ())
    notes = tuple(str(absolute(Path(one))) for one in flags.annotations or ())
    return Setup(
        workspace=str(here) if flags.workspace else saved.get("workspace") or str(here),
        policies=named or tuple(saved.get("policies") or (DEFAULT,)),
        model=flags.model or saved.get("model"),
        actions=tuple(flags.actions or saved.get("actions") or ()),
        folder=str(Path.cwd()) if flags.actions else saved.get("folder") or "",
        annotations=notes or tuple(saved.get("annotations") or ()),
    )


def saved_setup(kept: JsonObject) -> dict[str, Any]:
    """Return what a run has kept of its setup: that of the command, or of a server; nothing where it has kept none."""
    saved: dict[str, Any] = json.loads(str(kept[KEPT])) if KEPT in kept else cast("dict[str, Any]", kept[SETTING])
    return saved


def build_workflow(setup: Setup, named: str | None, *, limits: Limits | None = None) -> "AgenticWorkflow":
    """Return the workflow of a setup, over the database that an option names.

    Raises:
        RunError: the option names none.
        WorkspaceError: the workspace is not there.
        ActionError: own actions cannot be imported, or annotations do not fit.
        PolicyError: a policy does not load.
        DatabaseError: the database cannot be used.

    """
    from agentic_workflows.agents.model_agent import ModelAgent  # noqa: PLC0415 - heavy
    from agentic_workflows.workflow import AgenticWorkflow  # noqa: PLC0415

    database = _database(named)
    Workspace(Path(setup.workspace)).check()
    model = _model_factory(setup.model)
    actions = build_actions(setup, model)
    chosen = limits or Limits()
    return AgenticWorkflow(
        ModelAgent(model, actions),
        chosen.max_iterations,
        actions=actions.values(),
        policies=setup.policies,
        database=database,
        limits=chosen,
        metadata=setup.to_metadata(),
    )


def build_reader(named: str | None) -> "AgenticWorkflow":
    """Return a workflow that can look at runs and stop them, and run none, in the database that an option names.

    Raises:
        RunError: the option names none, or one that does not exist yet, so there is no run in it.
        DatabaseError: it is no name of a database.

    """
    from agentic_workflows.agents.scripted_agent import ScriptedAgent  # noqa: PLC0415 - heavy
    from agentic_workflows.journal.database import MEMORY, refuse_settings  # noqa: PLC0415
    from agentic_workflows.workflow import AgenticWorkflow  # noqa: PLC0415

    database = _database(named)
    refuse_settings(database)
    if database != MEMORY and "://" not in str(database) and not Path(database).exists():
        raise RunError(f"There is no run: the database {database} does not exist. Give another --database.")
    return AgenticWorkflow(ScriptedAgent([]), actions=[], database=database)


def build_actions(setup: Setup, model: "Callable[[], BaseChatModel] | None" = None) -> "Registry":
    """Return the built-in actions and the user's own, under the annotations of the setup.

    Args:
        setup: names them.
        model: makes the model of the text actions; by default that of the setup.

    Raises:
        ActionError: own actions cannot be imported, or are declared or annotated wrongly.

    """
    rules = [one for one in (*setup.policies, *setup.annotations) if one not in BUILT_IN]
    builtin = builtin_actions(Path(setup.workspace), model or _model_factory(setup.model), reserved=rules)
    own = (one for name in setup.actions for one in _imported(name, setup.folder))
    return annotated(make_registry([*builtin.values(), *own]), setup.annotations)


def _model_factory(name: str | None) -> "Callable[[], BaseChatModel]":
    """Return what makes the model when it is first asked, and keeps it."""

    @lru_cache(maxsize=1)
    def make() -> "BaseChatModel":
        from agentic_workflows.agents.chat_model import chat_model  # noqa: PLC0415 - a plan file needs none

        return chat_model(name)

    return make


def _database(named: str | None) -> str | Path:
    from agentic_workflows.journal.database import DEFAULT_DATABASE  # noqa: PLC0415 - heavy

    if named is not None and not named.strip():
        raise RunError("--database is empty. Name a file or a URL, or leave the option out.")
    return DEFAULT_DATABASE if named is None else named


def _imported(name: str, folder: str) -> Iterable[Any]:
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise ActionError(f"--actions {name!r} is not MODULE:NAME, such as my_actions:ACTIONS.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:
        kind = "" if isinstance(error, ImportError | AttributeError | WorkflowError) else f"{type(error).__name__}: "
        remedy = "Modules of the current folder are found, too."
        if folder and folder != here:
            remedy = f"The run was begun in {folder}; resume it there, or with that folder in PYTHONPATH."
        problem = said(error).rstrip(".")
        raise ActionError(
            f"--actions {name} cannot be imported: {_place_of(error)}{kind}{problem}. {remedy}"
        ) from error
    values = found.values() if hasattr(found, "values") else found
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise ActionError(f"--actions {name} is a {type(found).__name__}, not a list of actions.")
    return values


def _place_of(error: BaseException) -> str:
    """Return the file and line of the module that was being imported, to stand before an error; empty for none."""
    lines = [(frame.f_code, line) for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_name == "<module>"]
    return f"{lines[-1][0].co_filename}:{lines[-1][1]}: " if lines else ""
