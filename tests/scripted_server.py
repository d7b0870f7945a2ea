"""A server whose answers a test writes, and that remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from heredity.models.endpoint import find_endpoint
from heredity.types import (
    Chat,
    Message,
    Served,
)

KEY = "sk-9f3c-not-a-real-key"
LAB = find_endpoint("lab", {"HEREDITY_SERVER_LAB": "http://127.0.0.1:8000/v1", "HEREDITY_SERVER_LAB_KEY": KEY})
ECHO = Served(location="server:lab/echo")
Reply = tuple[int, dict[str, str], str]


def ask(*texts: str) -> list[Chat]:
    return [(Message(role="user", content=text),) for text in texts]


def good(text: str = "fine", tokens: int = 7, **choice: Any) -> Reply:
    said = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | choice
    return 200, {}, json.dumps({"model": "echo-1", "choices": [said], "usage": {"total_tokens": tokens}})


def echo(body: dict[str, Any]) -> Reply:
    """The question and the seed, so that every row is known by its text."""
    return good(f"{body['messages'][-1]['content']}#{body.get('seed')}")


class Server(ThreadingHTTPServer):
    """Answers by a function of the body, after the scripted replies are used up; remembers what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Reply] = []
        self.answer: Callable[[dict[str, Any]], Reply] = echo
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.stalls: list[float] = []
        self.slow_s, self.now, self.most = 0.0, 0, 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server, body = self.server, json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            server.now += 1
            server.most = max(server.most, server.now)
            server.bodies.append(body | {"path": self.path})
            server.headers.append(dict(self.headers))
            server.times.append(time.monotonic())
            status, headers, text = server.script.pop(0) if server.script else server.answer(body)
            wait = server.stalls.pop(0) if server.stalls else server.slow_s
        time.sleep(wait)
        with server.lock:
            server.now -= 1
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(text.encode()))}).items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # whoever stopped waiting is gone
            self.wfile.write(text.encode())

    def log_message(self, *args: Any) -> None:
        """Nothing."""
