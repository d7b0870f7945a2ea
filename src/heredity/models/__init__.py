"""Every touch of weights and servers: where models are, and opening them. Heavy imports wait until one is opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from heredity.types import LM, BadInput, Chat, Checkpoint, Completion, ModelRef, Sampling, Served, near, refusal

if TYPE_CHECKING:
    from heredity.models.causal import CausalLM

BASES = Path(__file__).parent.parent / "bases"
"""The nursery bases that ship with the package, each an ordinary Hugging Face folder."""
_IDENTITY = (".safetensors", ".json", ".jinja", ".model", ".txt")


def is_file(path: Path) -> bool:
    """Whether a file is there; False also where nobody may look, and for names that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises in both cases


def locate(location: str) -> Path:
    """The folder behind a location, or behind that of a model's TOML file; BadInput with what there is where it does
    not exist.
    """
    if location.endswith(".toml"):
        from heredity.models.checkpoints import model_file

        return locate(model_file(Path(location))["location"])
    if location.startswith("hub:"):
        from heredity.models.checkpoints import hub_folder

        return hub_folder(location)
    shipped = {f"nursery:{p.parent.name}": p.parent for p in sorted(BASES.glob("*/config.json"))}
    folder = shipped.get(location, Path(location))
    if not is_file(folder / "config.json"):
        raise BadInput(
            f"no model at {location!r:.200}; name a Hugging Face folder or a shipped base: {near(location, shipped)}"
        )
    return folder


def model_files(folder: Path) -> list[Path]:
    """What makes a model: weights, configuration, tokenizer and chat template; no other file of its folder."""
    return sorted(p for p in folder.iterdir() if p.suffix in _IDENTITY and p.is_file())


def folder_digest(folder: Path) -> str:
    """blake2b of a folder's model files, 40 hexadecimal digits; read anew where any file's size or time changed."""
    files = model_files(folder)
    return _digest_of(folder, tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files))


@cache
def _digest_of(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    total = hashlib.blake2b(digest_size=20)
    for name, _, _ in files:
        with (folder / name).open("rb") as file:
            total.update(name.encode() + b"\0" + hashlib.file_digest(file, hashlib.blake2b).digest())
    return total.hexdigest()


def model_ref(location: str) -> ModelRef:
    """A reference pinned to what lies at `location` now, or (`server:NAME/MODEL`) to a server's model, unpinned.

    A hub's model (`hub:OWNER/NAME@REVISION`), and what a TOML file says of a model, are Checkpoints.
    """
    if location.startswith("server:"):
        try:
            return Served(location=location)
        except ValidationError as error:
            raise refusal(f"the model {location!r:.200}", error) from error
    if location.startswith("hub:"):
        from heredity.models.checkpoints import hub_model

        return hub_model(location)
    if location.endswith(".toml"):
        from heredity.models.checkpoints import model_file

        return checkpoint(**model_file(Path(location)))
    return ModelRef(location=location, digest=folder_digest(locate(location)))


def checkpoint(location: str, **fields: Any) -> Checkpoint:
    """A model at its own scale, pinned to what lies at `location` now; `fields` are those of a Checkpoint."""
    found = model_ref(location)
    try:
        return Checkpoint(**fields | {"location": found.location, "digest": found.digest})
    except ValidationError as error:
        raise refusal(f"the model {location!r:.200}", error, Checkpoint.model_fields) from error


def _pin(location: str) -> str:
    """What a reference's digest is compared with: the hub's commit, or the digest of a folder's files."""
    folder = locate(location)
    return folder.name if location.startswith("hub:") else folder_digest(folder)


def pinned_folder(ref: ModelRef) -> Path:
    """The folder behind a reference; BadInput where its files have changed since the reference was made."""
    if _pin(ref.location) != ref.digest:
        raise BadInput(
            f"{ref.location} is not the model that was referred to: its files have changed; refer to it anew"
        )
    return locate(ref.location)


def open_ref(ref: ModelRef) -> CausalLM:
    """Loads a referenced model's weights; BadInput where its files have changed since the reference was made."""
    from heredity.models.causal import CausalLM

    if isinstance(ref, Served):
        raise BadInput(f"{ref.location} is behind a server, which shows no weights: it can write and judge, but this "
                       "needs a Hugging Face folder")  # fmt: skip
    return CausalLM.load(pinned_folder(ref), ref if isinstance(ref, Checkpoint) else None)


def open_lm(ref: ModelRef) -> LM:
    """A referenced model to write and score with: loaded here, or behind its server."""
    if isinstance(ref, Served):
        from heredity.models.server import ServerLM

        return ServerLM(ref)
    return open_ref(ref)


def whole_answers(lm: LM, chats: Sequence[Chat], sampling: Sampling, tries: int = 6) -> tuple[list[Chat], list[str]]:
    """As many chats as these with what a model answers to each; an answer that was cut off is drawn again.

    Chats without a whole answer after that many tries are left out, and others repeated in their place. Where no answer
    is whole (a base that was never taught to end one), all are as they were cut.
    """
    found: dict[int, str] = {}
    said: dict[int, Completion] = {}
    for trial in range(tries):
        open_ = [i for i in range(len(chats)) if i not in found]
        if not open_:
            break
        drawn = sampling.model_copy(update={"seed": sampling.seed * tries + trial})
        said |= zip(open_, lm.generate([chats[i] for i in open_], drawn), strict=True)
        found |= {i: said[i].text for i in open_ if said[i].finish == "stop"}
    found = found or {i: c.text for i, c in said.items()}
    own = list(islice(cycle(sorted(found)), len(chats)))
    return [chats[i] for i in own], [found[i] for i in own]
