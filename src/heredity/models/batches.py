"""Batch files (`/v1/batches`): requests that are handed in as a file and answered within a day, mostly for less.

Nothing is sent: a run writes the requests that have no answer to files, and goes on with what does not need them. The
user hands them in, puts what comes back into the same folder, and runs the same command again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.models.answers import Answers
from heredity.models.calls import NOTHING, Again, declined, reading
from heredity.models.endpoint import Endpoint, variable
from heredity.types import BadInput, Waiting

if TYPE_CHECKING:
    from heredity.models.server import Request

_INPUT = ".input.jsonl"
_MOST_LINES, _MOST_BYTES = 50_000, 190 * 2**20
"""Of one file (OpenAI takes 50,000 requests and 200 MB)."""


def ask_by_file(endpoint: Endpoint, missing: Sequence[Request], kept: Answers) -> None:
    """Takes over answers from the folder's files; Waiting, after the rest was written to files, where any is missing.

    Files of requests end in `.input.jsonl`; every other `.jsonl` there is taken for a batch's output.
    """
    folder = endpoint.batches
    assert folder is not None
    wanted = {request.id: request for request in missing}
    failed = 0
    for path in sorted(folder.glob("*.jsonl")):
        if not path.name.endswith(_INPUT):
            failed += _take_over(endpoint, path, wanted, kept)
    answered = kept.read(list(wanted))
    rest = [request for id_, request in wanted.items() if id_ not in answered]
    if rest:
        files = write_batches(endpoint, folder, rest)
        again = f" ({failed} answers in the folder are errors or damaged)" if failed else ""
        raise Waiting(
            f"{len(rest)} requests for the server {endpoint.name!r} are in {', '.join(map(str, files))}{again}: hand "
            f"them in as batches, put the output files into {folder}, and run the same command again"
        )


def write_batches(endpoint: Endpoint, folder: Path, requests: Sequence[Request]) -> list[Path]:
    """Writes requests as a batch's input, in as many files as are needed; the same requests give the same files."""
    name = hashlib.blake2b("".join(sorted(r.id for r in requests)).encode(), digest_size=6).hexdigest()
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, lines in enumerate(_parts(requests)):
            path = folder / f"{endpoint.name}-{name}-{number}{_INPUT}"
            half = path.with_suffix(".part")
            half.write_bytes(b"".join(lines))
            files.append(half.rename(path))
    except OSError as error:
        raise BadInput(f"cannot write batches into {folder}: {error.strerror}; name another folder in "
                       f"{variable(endpoint.name, '_BATCHES')}") from error  # fmt: skip
    return files


def _parts(requests: Sequence[Request]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for request in requests:
        line = _line(request)
        if part and (len(part) == _MOST_LINES or size + len(line) > _MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line)
    yield part


def _line(request: Request) -> bytes:
    asked = {"custom_id": request.id, "method": "POST", "url": f"/v1{request.path}", "body": request.body}
    return json.dumps(asked).encode() + b"\n"


def _take_over(endpoint: Endpoint, path: Path, wanted: dict[str, Request], kept: Answers) -> int:
    """Keeps the answers to what is wanted; returns how many lines about it hold none."""
    failed = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record: Any = json.loads(line) if line.strip() else {}
                request = wanted.get(str(record.get("custom_id")))
            except (ValueError, AttributeError, RecursionError) as error:
                raise BadInput(f"{path}:{number}: no line of a batch's output: expected a JSON object with custom_id "
                               "and response") from error  # fmt: skip
            if request is not None:
                try:
                    kept.write(request.id, reading(endpoint, request.scored, _body(record["response"])))
                except (KeyError, TypeError, Again):
                    failed += 1
    return failed


def _body(response: Any) -> bytes:
    """What a server would have sent."""
    body = json.dumps(response["body"]).encode()
    return NOTHING if declined(response.get("status_code"), body) else body
