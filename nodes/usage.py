"""How many tokens the model calls of a planner took."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeAlias

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.tracers.context import register_configure_hook

_Slot: TypeAlias = ContextVar[UsageMetadataCallbackHandler | None]
_slots: Final = list[_Slot]()
"""Where LangChain looks for who counts, for as long as the process lives: one for each planner inside another one."""


@contextmanager
def counted_usage() -> Iterator[UsageMetadataCallbackHandler]:
    """Count what the model calls inside use, also those of what they call.

    LangChain's own `get_usage_metadata_callback` leaves a slot behind each time, and every later call looks into all.
    """
    slot = next((one for one in _slots if one.get() is None), None) or _new_slot()
    usage = UsageMetadataCallbackHandler()
    token = slot.set(usage)
    try:
        yield usage
    finally:
        slot.reset(token)


def _new_slot() -> _Slot:
    slot: _Slot = ContextVar("agentic_usage", default=None)
    register_configure_hook(slot, inheritable=True)
    _slots.append(slot)
    return slot
