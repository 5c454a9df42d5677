"""The actions that come with the package."""

from pathlib import Path

from agentic_workflows.actions.action import Registry
from agentic_workflows.actions.files import file_actions
from agentic_workflows.actions.registry import registry
from agentic_workflows.actions.text import MAX_CHARACTERS, ModelSource, text_actions
from agentic_workflows.actions.workspace import Workspace


def builtin_actions(workspace: Path, model: ModelSource, *, max_characters: int = MAX_CHARACTERS) -> Registry:
    """Return the actions that come with the package: on the files of a folder, and on texts, as `text_actions`."""
    return registry([*file_actions(Workspace(workspace)), *text_actions(model, max_characters=max_characters)])
