"""Whether the answer of a chat model ended before the model was done: a part of a text or of a plan passes for all."""

from collections.abc import Mapping
from typing import Any

_REASON_KEYS = ("finish_reason", "stop_reason", "stopReason", "done_reason")
"""Where OpenAI and Google, Anthropic, Bedrock, and Ollama say why an answer ended."""
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded", "model_length"})


def is_cut(metadata: Mapping[str, Any]) -> bool:
    """Tell whether the `response_metadata` of an answer says that it reached a limit of its length."""
    reasons = [metadata.get(key) for key in _REASON_KEYS]
    details = metadata.get("incomplete_details")  # OpenAI's Responses API
    reasons.append(details.get("reason") if isinstance(details, Mapping) else None)
    # An enumeration of Google's reads `FinishReason.MAX_TOKENS`.
    return any(str(getattr(reason, "name", reason)).lower() in _CUT for reason in reasons)
