"""An endpoint on loopback that speaks OpenAI's protocol and says what it is told to."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr


class Endpoint:
    """Answers every request with `status` and `body`, or with `content` as a chat completion."""

    def __init__(self):
        self.url = ""
        self.status, self.body, self.content, self.finish = 200, None, "{}", "stop"
        self.refusal = None
        self.requests = []
        self.hang = threading.Event()
        self.hang.set()
        self.came = threading.Event()

    def answer(self):
        message = {"role": "assistant", "content": self.content, "refusal": self.refusal}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "fake",
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }


def make_responder(endpoint):
    class Responder(BaseHTTPRequestHandler):
        def do_POST(self):
            endpoint.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            endpoint.came.set()
            endpoint.hang.wait(30)
            body = (endpoint.body if endpoint.body is not None else json.dumps(endpoint.answer())).encode()
            self.send_response(endpoint.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *arguments):  # noqa: A002 - the library's name
            pass

        def handle(self):
            with contextlib.suppress(ConnectionError):
                super().handle()

    return Responder


@pytest.fixture
def endpoint():
    told = Endpoint()
    server = ThreadingHTTPServer(("127.0.0.1", 0), make_responder(told))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield told
    told.hang.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def model(endpoint):
    return ChatOpenAI(base_url=endpoint.url, api_key=SecretStr("k"), model="fake", max_retries=0, timeout=20)
