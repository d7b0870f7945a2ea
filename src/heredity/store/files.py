"""Files of the Store: what lies in a folder, folders for unfinished work, and leaving no trace of killed processes."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_HOST = re.sub(r"[^A-Za-z0-9_-]", "_", platform.node())[:60] or "host"


def file_digest(path: Path) -> str:
    """blake2b of a file's bytes, 40 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def is_plain(path: Path) -> bool:
    """Whether it is an ordinary file: no link, pipe, socket or device."""
    return stat.S_ISREG(path.lstat().st_mode)


def entries(folder: Path) -> dict[str, Path]:
    """Everything below a folder that is no folder itself, by its relative name. Links are listed, never followed."""
    found = []
    for where, folders, files in os.walk(folder, followlinks=False):
        here = Path(where)
        found += [here / name for name in files]
        found += [here / name for name in folders if (here / name).is_symlink()]
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


@contextmanager
def work_folder(work: Path, name: str) -> Iterator[Path]:
    """A new folder for one result. It is gone at the end unless it was moved away, and `sweep` spares it until then."""
    folder, held = _claim(work, name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def _claim(work: Path, name: str) -> tuple[Path, int | None]:
    """Makes a folder and holds it. One that a `sweep` took in between (it was not held yet) is made anew."""
    while True:
        folder = work / f"{name}.{_HOST}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        held = _hold(folder, wait=True)
        if folder.exists():
            return folder, held
        if held is not None:
            os.close(held)


def _hold(folder: Path, wait: bool) -> int | None:
    """A descriptor that holds the folder until it is closed, at the latest by its process's end, however that comes.

    None where somebody else holds it, where it is gone, or where the file system knows no such lock.
    """
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def sweep(work: Path) -> None:
    """Removes what killed processes of this machine left behind. Whatever a living process holds is spared.

    Other machines' folders are spared too, as a shared disk need not share its locks.
    """
    with suppress(OSError):  # what cannot be listed or removed stays, and harms nothing
        for folder in work.iterdir():
            held = _hold(folder, wait=False) if folder.name.split(".")[1:2] == [_HOST] else None
            if held is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


def settle(folder: Path) -> None:
    """Waits until a folder's files are on the disk, so that a power cut after the rename finds them whole."""
    paths = list(entries(folder).values())
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for below in {folder, *(path.parent for path in paths)}:
        settle_names(below)


def settle_names(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
