"""The actions that come with the package."""

import os
from collections.abc import Iterable
from pathlib import Path

from agentic_workflows.actions.action import Registry
from agentic_workflows.actions.files import file_actions
from agentic_workflows.actions.registry import make_registry
from agentic_workflows.actions.text import MAX_CHARACTERS, ModelSource, text_actions
from agentic_workflows.actions.workspace import Workspace


def builtin_actions(
    workspace: Path,
    model: ModelSource,
    *,
    max_characters: int = MAX_CHARACTERS,
    reserved: Iterable[str | Path] = (),
) -> Registry:
    """Return the actions that come with the package: on the files of a folder, and on texts, as `text_actions`.

    Args:
        workspace: the folder.
        model: of the text actions.
        max_characters: of a text that the model is given.
        reserved: files and folders that no plan changes, such as policies and annotations that lie in the workspace.

    """
    kept = frozenset(Path(os.path.realpath(one)) for one in reserved)
    folder = Workspace(workspace, reserved=kept)
    return make_registry([*file_actions(folder), *text_actions(model, max_characters=max_characters)])
