"""Servers that the environment names: address, key and limits. None of them is part of a result, or is ever shown.

`HEREDITY_SERVER_NAME` is the address of the endpoint NAME, up to and with `/v1`; the same with `_KEY`, `_CONCURRENCY`,
`_TIMEOUT`, `_MAX_REQUESTS`, `_MAX_TOKENS`, `_PRICE` and `_BATCHES` sets the rest. A step described in a file can
therefore name an endpoint, but can neither choose an address nor which key goes there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from heredity.models.answers import Spent
from heredity.types import BadInput

_NO_LIMIT = 2**60  # fits SQLite's integers


class Endpoint(NamedTuple):
    """An endpoint as the environment describes it."""

    name: str
    url: str
    key: SecretStr | None
    concurrency: int
    """Most requests that wait for an answer at a time, in each process."""
    timeout: float
    """Seconds that one request may take, its answer included."""
    limit: Spent
    """Most requests, and most tokens, that a Store may spend on it in all."""
    batches: Path | None
    """Folder of batch files, where requests are written to files and none is sent."""

    @property
    def local(self) -> bool:
        """Whether it is on this machine, so that no proxy is asked."""
        return urlsplit(self.url).hostname in {"localhost", "127.0.0.1", "::1"}

    def hide(self, text: str) -> str:
        """The text without the key."""
        return text.replace(self.key.get_secret_value(), "[key]") if self.key else text


def variable(name: str, rest: str = "") -> str:
    """The environment variable of an endpoint's address, or of something else about it."""
    return f"HEREDITY_SERVER_{name.upper()}{rest}"


def find_endpoint(name: str, env: Mapping[str, str] | None = None) -> Endpoint:
    """The endpoint of that name; BadInput, which tells no value of a variable, where it is not described right."""
    env = os.environ if env is None else env
    url = env.get(variable(name), "").strip().rstrip("/")
    if not url:
        raise BadInput(f"no server named {name!r}: set {variable(name)} to its address, for example "
                       f"http://127.0.0.1:8000/v1, and {variable(name, '_KEY')} to its key if it wants one "
                       "(docs/real-models.md)")  # fmt: skip
    folder = env.get(variable(name, "_BATCHES"))
    return Endpoint(
        name, _address(name, url), _key(name, env), _number(env, name, "_CONCURRENCY", 8, int),
        _number(env, name, "_TIMEOUT", 120.0, float),
        Spent(_number(env, name, "_MAX_REQUESTS", _NO_LIMIT, int), _number(env, name, "_MAX_TOKENS", _NO_LIMIT, int)),
        Path(folder) if folder else None,
    )  # fmt: skip


def price(name: str, env: Mapping[str, str] | None = None) -> float | None:
    """What a million tokens of an endpoint cost, in any currency; None where the environment does not tell."""
    env = os.environ if env is None else env
    return float(_number(env, name, "_PRICE", 0.0, float)) if env.get(variable(name, "_PRICE"), "").strip() else None


def _address(name: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in url or parts.query or parts.fragment or not url.isprintable():
        raise BadInput(f"{variable(name)} must be an address such as http://127.0.0.1:8000/v1, with no user, password "
                       "or query in it: a key goes into the variable with _KEY")  # fmt: skip
    return url


def _key(name: str, env: Mapping[str, str]) -> SecretStr | None:
    key = env.get(variable(name, "_KEY"), "").strip()
    if not all("!" <= c <= "~" for c in key):  # what is no header would be told in the error of whoever sends it
        raise BadInput(f"{variable(name, '_KEY')} holds a blank or a character outside ASCII; no key does")
    return SecretStr(key) if key else None


def _number(env: Mapping[str, str], name: str, rest: str, default: Any, kind: type[int] | type[float]) -> Any:
    text = env.get(variable(name, rest), "").strip().replace("_", "")
    try:
        value = kind(text) if text else default
    except ValueError:
        value = 0
    if not (math.isfinite(value) and 0 < value <= _NO_LIMIT):
        raise BadInput(f"{variable(name, rest)} must be a number above 0")
    return value
