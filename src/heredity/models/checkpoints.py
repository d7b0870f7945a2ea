"""Real models by name: a folder, a hub's model at a revision that lies in the local cache, or a TOML file about one.

Nothing here opens a connection: what is missing is named, with the command that fetches it.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from heredity.types import BadInput, Checkpoint, Frozen, refusal

_HUB = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LIMIT = 2**20
"""Most bytes of a TOML file, and of a template."""


def hub_folder(location: str) -> Path:
    """The cached files of `hub:OWNER/NAME@REVISION`, in a folder named after the commit."""
    found = _HUB.fullmatch(location)
    if found is None:
        raise BadInput(f"{location!r:.200} names no model of a hub: expected hub:OWNER/NAME@REVISION, with the "
                       "revision (a commit, or a branch or tag, which is pinned to its commit)")  # fmt: skip
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    name, revision = found["name"], found["revision"]
    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, FileNotFoundError) as error:
        raise BadInput(
            f"{location} is not in the local cache, and this program fetches nothing by itself; run: hf download "
            f"{name} --revision {revision}"
        ) from error
    if not (folder / "config.json").is_file() or _COMMIT.fullmatch(folder.name) is None:
        raise BadInput(f"{folder} holds no whole model; run: hf download {name} --revision {revision}")
    return folder


def hub_model(location: str) -> Checkpoint:
    """A reference to a hub's model, pinned to the commit that its revision has in the local cache."""
    commit = hub_folder(location).name
    return Checkpoint(location=f"{location.rsplit('@', 1)[0]}@{commit}", digest=commit)


def hub_name(location: str) -> tuple[str, str] | None:
    """(OWNER/NAME, revision) of a hub's model; None of anything else."""
    found = _HUB.fullmatch(location)
    return (found["name"], found["revision"]) if found else None


class _ModelFile(Frozen):
    """The whole of a model's TOML file. `template` is the path of a Jinja file, seen from where the program runs."""

    location: Annotated[str, Field(min_length=1)]
    dtype: str = "float32"
    attention: str = "sdpa"
    template: str | None = None
    system: str | None = None
    date: str | None = None


def model_file(path: Path) -> dict[str, Any]:
    """What a TOML file says of a model: fields of a Checkpoint but its digest. BadInput where it cannot be used."""
    try:
        entry = _ModelFile.model_validate(tomllib.loads(_text(path)))
        fields = entry.model_dump()
        if entry.template is not None:
            fields["template"] = _text(Path(entry.template))
        Checkpoint(**fields | {"digest": ""})
        if entry.location.endswith(".toml"):
            raise BadInput(
                f"{path}: it names a TOML file, {entry.location!r:.100}; expected a folder or hub:OWNER/NAME@REVISION"
            )
    except ValidationError as error:
        raise refusal(str(path), error, _ModelFile.model_fields) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: {str(error)[:200]!r}; expected a model's TOML (docs/real-models.md)") from error
    return fields


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LIMIT:
            raise BadInput(f"{path} is larger than {_LIMIT} bytes; expected a model's TOML file or a Jinja template")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
