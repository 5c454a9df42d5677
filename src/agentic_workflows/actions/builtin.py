"""The actions that come with the package."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agentic_workflows.actions.action import Registry
from agentic_workflows.actions.files import file_actions
from agentic_workflows.actions.registry import registry
from agentic_workflows.actions.text import MAX_CHARACTERS, text_actions
from agentic_workflows.actions.workspace import Workspace

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


def builtin_actions(
    workspace: Path, model: "Callable[[], BaseChatModel]", *, max_characters: int = MAX_CHARACTERS
) -> Registry:
    """Return the actions that come with the package: on the files of a folder, and on texts."""
    return registry([*file_actions(Workspace(workspace)), *text_actions(model, max_characters=max_characters)])
