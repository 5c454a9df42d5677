"""Which chat model is used where nobody chose one: an endpoint that the environment names, else the embedded model."""

import os
from typing import TYPE_CHECKING

from agentic_workflows.agents.local_model import MODEL_NAME, local_chat_model
from agentic_workflows.errors import ModelError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

DEFAULT_ENDPOINT_MODEL = "gpt-5-mini"


def chat_model(name: str | None = None) -> "BaseChatModel":
    """Return a chat model, ready to be asked.

    Args:
        name: a model of the endpoint; `local` is the embedded model, whatever the environment says. By default
            `OPENAI_MODEL` of the endpoint that `OPENAI_API_KEY` or `OPENAI_BASE_URL` gives, and without one the
            embedded model.

    Raises:
        ModelError: the named model needs an endpoint and there is none, or the embedded model is not usable.

    """
    if name == MODEL_NAME:
        return local_chat_model()
    if has_endpoint():
        return _endpoint_model(name or os.environ.get("OPENAI_MODEL") or DEFAULT_ENDPOINT_MODEL)
    if name is not None:
        raise ModelError(
            f"The model {name!r} needs an endpoint, and neither OPENAI_API_KEY nor OPENAI_BASE_URL is set. "
            f"Set one of them, or use the model {MODEL_NAME!r}."
        )
    try:
        return local_chat_model()
    except ModelError as error:
        raise ModelError(f"{error} Or set OPENAI_API_KEY, or OPENAI_BASE_URL.") from error


def has_endpoint() -> bool:
    """Tell whether the environment names an OpenAI-compatible endpoint."""
    return bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))


def _endpoint_model(name: str) -> "BaseChatModel":
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - two seconds that only a model's user should pay
    from pydantic import SecretStr  # noqa: PLC0415

    # An endpoint of one's own often wants no key, and the client insists on one.
    key = os.environ.get("OPENAI_API_KEY") or "none"
    return ChatOpenAI(model=name, api_key=SecretStr(key), timeout=300, max_retries=2)
