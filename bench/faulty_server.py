"""An OpenAI-compatible server that fails on purpose: in a part of its answers it is busy, breaks, stalls or garbles.

`python -m bench.faulty_server --share 0.3` prints its address and serves until it is ended. `GET /counts` tells what it
did. What happens to a request depends on its body, on how often it came, and on the seed alone.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from collections import Counter
from contextlib import suppress
from typing import Any

FAULTS = ("429", "500", "503", "reset", "stall", "truncated", "cut off", "malformed", "no choices")
"""`truncated`: the length is right, but the JSON ends early. `cut off`: the connection ends before that length."""


def answer_to(prompt: str, seed: int) -> str:
    """What it writes: a list of three numbers that no other prompt and seed have in common, near enough."""
    digest = hashlib.blake2b(f"{seed}:{prompt}".encode(), digest_size=12).digest()
    return ", ".join(str(int.from_bytes(digest[i : i + 4]) % 10**9) for i in (0, 4, 8))


class Faulty:
    """What the server was asked and what it did with it."""

    def __init__(self, share: float, seed: int, stall_s: float) -> None:
        self.share, self.seed, self.stall_s = share, seed, stall_s
        self.came, self.answered = Counter[str](), Counter[str]()
        self.faults = Counter[str]()

    def fault(self, body: bytes) -> str | None:
        """What goes wrong this time."""
        asked = hashlib.blake2b(body, digest_size=16).hexdigest()
        self.came[asked] += 1
        drawn = hashlib.blake2b(f"{self.seed}:{asked}:{self.came[asked]}".encode(), digest_size=8).digest()
        place = int.from_bytes(drawn) / 2**64 / self.share if self.share else 1.0
        return FAULTS[int(place * len(FAULTS))] if place < 1 else None

    def counts(self) -> dict[str, Any]:
        """Requests, faults by kind, and answers that were given whole, and those of them to a request once more."""
        whole = self.answered.total()
        return {"requests": self.came.total(), "faults": dict(self.faults), "answers": whole,
                "answered_again": whole - len(self.answered)}  # fmt: skip

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it ends."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._one(reader, writer):
                await writer.drain()
        with suppress(ConnectionError):
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if head[0].startswith("GET /counts"):
            return _send(writer, 200, json.dumps(self.counts()))
        fault = self.fault(body)
        if fault is not None:
            self.faults[fault] += 1
            return await self._fail(writer, fault, _answer(json.loads(body)))
        self.answered[hashlib.blake2b(body, digest_size=16).hexdigest()] += 1
        return _send(writer, 200, _answer(json.loads(body)))

    async def _fail(self, writer: asyncio.StreamWriter, fault: str, whole: str) -> bool:
        if fault.isdigit():
            return _send(writer, int(fault), '{"error": {"message": "busy"}}', "Retry-After: 0.02\r\n")
        if fault == "stall":
            await asyncio.sleep(self.stall_s)
            return False
        if fault == "reset":
            writer.transport.abort()
            return False
        if fault == "cut off":
            _send(writer, 200, whole, cut=len(whole) // 2)
            return False
        bad = {"truncated": whole[: len(whole) // 2], "malformed": "<html>Bad gateway</html>"}
        return _send(writer, 200, bad.get(fault, '{"choices": []}'))


def _answer(asked: dict[str, Any]) -> str:
    prompt = asked["messages"][-1]["content"] if "messages" in asked else asked["prompt"]
    text = answer_to(prompt, asked.get("seed", 0))
    said = {"message": {"role": "assistant", "content": text}} if "messages" in asked else {"text": text}
    return json.dumps({"choices": [said | {"index": 0, "finish_reason": "stop"}], "model": asked["model"],
                       "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}})  # fmt: skip


def _send(writer: asyncio.StreamWriter, status: int, text: str, more: str = "", cut: int = 0) -> bool:
    head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n{more}\r\n"
    writer.write((head + text[: len(text) - cut]).encode())
    return True


async def main(share: float, seed: int, stall_s: float) -> None:
    """Serves on a free port of this machine."""
    server = await asyncio.start_server(Faulty(share, seed, stall_s).serve, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.3, help="part of the answers that fail")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stall", type=float, default=30.0, help="seconds that a stalled answer takes")
    given = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(main(given.share, given.seed, given.stall))
