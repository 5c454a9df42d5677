"""Which model is taken: an endpoint that the environment names, else the embedded one."""

import os
import subprocess
import sys

import pytest
from langchain_openai import ChatOpenAI

from agentic_workflows.agents import chat_model as module
from agentic_workflows.agents.chat_model import chat_model, has_endpoint
from agentic_workflows.errors import ModelError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("AGENTIC_MODEL_PATH", str(tmp_path / "none.gguf"))


def endpoint_model(name=None):
    model = chat_model(name)
    assert isinstance(model, ChatOpenAI)
    return model


def test_an_endpoint_comes_first(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert endpoint_model().model_name == module.DEFAULT_ENDPOINT_MODEL
    assert endpoint_model("big").model_name == "big"
    monkeypatch.setenv("OPENAI_MODEL", "mine")
    assert endpoint_model().model_name == "mine"


def test_an_endpoint_of_ones_own_needs_no_key(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert has_endpoint()
    assert str(endpoint_model("m").root_client.base_url) == "http://127.0.0.1:1/v1/"


@pytest.mark.usefixtures("no_weights")
def test_without_endpoint_and_weights_the_error_says_what_to_do():
    with pytest.raises(ModelError, match=r"none\.gguf cannot be read.*Or set OPENAI_API_KEY"):
        chat_model()


@pytest.mark.usefixtures("no_weights")
def test_local_is_the_embedded_model_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(ModelError, match=r"none\.gguf"):
        chat_model("local")


def test_a_named_model_needs_an_endpoint():
    with pytest.raises(ModelError, match="'big' needs an endpoint"):
        chat_model("big")


def test_nothing_heavy_is_imported_before_a_model_is_made():
    code = (
        "import sys, agentic_workflows.agents.chat_model, agentic_workflows.agents.plan_file;"
        "print([m for m in ('langchain_openai', 'langchain_core', 'xllamacpp', 'langgraph') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
