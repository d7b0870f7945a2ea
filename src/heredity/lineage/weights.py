"""Rows of weight matrices, straight from safetensors files: no model is loaded and nothing is run.

A file is not trusted: its header is checked whole before a byte of a tensor is read, as strictly as the format's own
reader does (huggingface/safetensors, "Format"), and only by positions that were checked.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heredity.types import BadInput

Floats = NDArray[np.float32]

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_SCALED = ("I8", "F8_E4M3", "F8_E5M2")
"""Types that mean nothing without the scales beside them."""
_PLAIN = ("F32", "F16", "BF16", "F64")
_MOST_HEADER = 32_000_000
"""Bytes; a header of a model with a hundred thousand tensors has about a third."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_INDEX = "model.safetensors.index.json"


class Entry(NamedTuple):
    """Where a tensor lies: a checked range of a checked file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    """First byte, from the beginning of the file."""


class Weights:
    """The tensors in a model's folder by name, and how much of them was read."""

    def __init__(self, folder: Path) -> None:
        self.entries = read_entries(folder)
        self.rows_read = self.bytes_read = 0

    def take(self, name: str, count: int, columns: bool = False, first: int = 0) -> Floats:
        """Some rows of a matrix (or columns, as rows), (count, width), dequantised to float32."""
        values = self.take_unchecked(name, count, columns, first)
        if not np.isfinite(values).all():
            raise self.not_finite(name)
        return values

    def take_unchecked(self, name: str, count: int, columns: bool = False, first: int = 0) -> Floats:
        """As `take`, but numbers may be infinite or nan: the caller looks."""
        entry = self.entries[name]
        tall, wide = entry.shape
        at, shape = ((0, first), (tall, count)) if columns else ((first, 0), (count, wide))
        values = _decode(self._block(entry, at, shape), entry.dtype).reshape(shape)
        if entry.dtype in _SCALED:
            values = values * self._scales(name, entry, at, shape)
        self.rows_read += count
        return np.ascontiguousarray(values.T) if columns else values

    def not_finite(self, name: str) -> BadInput:
        """What is said of a matrix with a number that is infinite or nan."""
        return BadInput(
            f"{self.entries[name].path}: {name!r:.80} holds numbers that are not finite; the file is damaged"
        )

    def _block(self, entry: Entry, at: tuple[int, int], shape: tuple[int, int]) -> bytes:
        """A part of a matrix; where whole rows are wanted, in one read."""
        if entry.dtype not in _SCALED and entry.dtype not in _PLAIN:
            raise BadInput(f"{entry.path}: weights of type {entry.dtype} cannot be read; dequantise the model "
                           "(`model.dequantize()` in transformers) and save it again")  # fmt: skip
        size, (rows, wanted), wide = _BITS[entry.dtype] // 8, shape, entry.shape[1]
        start = entry.start + (at[0] * wide + at[1]) * size
        with _opened(entry.path) as (file, _):
            if wanted == wide:
                out = _read(file, entry.path, start, rows * wide * size)
            else:
                starts = range(start, start + rows * wide * size, wide * size)
                out = b"".join(_read(file, entry.path, place, wanted * size) for place in starts)
        self.bytes_read += len(out)
        return out

    def _scales(self, name: str, entry: Entry, at: tuple[int, int], shape: tuple[int, int]) -> Floats:
        """What a part of a quantised matrix is multiplied by: one scale, one a row, or one a block.

        bitsandbytes writes `SCB` (the row's largest magnitude, for 127), compressed-tensors `weight_scale`, and
        DeepSeek `weight_scale_inv` (which multiplies as well, in spite of its name).
        """
        stem = name.removesuffix(".weight")
        if f"{name}_zero_point" in self.entries:
            raise BadInput(f"{entry.path}: {name!r:.80} has zero points; dequantise the model and save it again")
        for beside, factor in ((f"{stem}.SCB", 1 / 127), (f"{name}_scale", 1.0), (f"{name}_scale_inv", 1.0)):
            if beside in self.entries:
                return _spread(self._whole(beside, entry.shape) * np.float32(factor), entry.shape, at, shape)
        raise BadInput(f"{entry.path}: {name!r:.80} is {entry.dtype} and no scales lie beside it (SCB, weight_scale)")

    def _whole(self, name: str, of: tuple[int, ...]) -> Floats:
        """All of a small table of scales, as a matrix."""
        entry = self.entries[name]
        if entry.dtype not in _PLAIN or len(entry.shape) > 2 or math.prod(entry.shape) > math.prod(of):
            raise BadInput(f"{entry.path}: {name!r:.80} of type {entry.dtype} and shape {list(entry.shape)} holds no "
                           f"scales of a matrix of shape {list(of)}")  # fmt: skip
        shape = entry.shape if len(entry.shape) == 2 else (math.prod(entry.shape), 1)
        return _decode(self._block(entry._replace(shape=shape), (0, 0), shape), entry.dtype).reshape(shape)


def _spread(scales: Floats, whole: tuple[int, ...], at: tuple[int, int], shape: tuple[int, int]) -> Floats:
    """The scale of each number in a part of a matrix; a table is stretched over the matrix in blocks."""
    if 0 in scales.shape:
        raise BadInput("a table of scales is empty; the file is damaged")
    for axis in (0, 1):
        blocks = scales.shape[axis]
        usual = 1 < blocks == -(-whole[axis] // 128)  # the last block may be cut
        block = 128 if usual else -(-whole[axis] // blocks)
        scales = scales.take(np.arange(at[axis], at[axis] + shape[axis]) // block, axis=axis)
    return scales


def _small_floats() -> Floats:
    """The 256 numbers of F8_E4M3 (Micikevicius et al. 2022, arXiv:2209.05433, table 1): no infinity, two nans."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, (code & 7) / 8
    size = np.where(exponent == 0, mantissa * 2.0**-6, (1 + mantissa) * 2.0 ** (exponent - 7.0))
    size[(code & 127) == 127] = np.nan
    return np.where(code < 128, size, -size).astype(np.float32)


def _decode(raw: bytes, dtype: str) -> Floats:
    """Little-endian numbers as float32, flat."""
    if dtype == "BF16":
        upper: Floats = np.left_shift(np.frombuffer(raw, "<u2"), 16, dtype=np.uint32).view(np.float32)
        return upper
    if dtype == "F8_E4M3":
        return _small_floats()[np.frombuffer(raw, np.uint8)]
    if dtype == "F8_E5M2":  # the upper half of a half-precision number
        return (np.frombuffer(raw, np.uint8).astype(np.uint16) << 8).view(np.float16).astype(np.float32)
    kind = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I8": "i1"}[dtype]
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as that
        return np.frombuffer(raw, kind).astype(np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """A descriptor of an ordinary file and its size; never waits for a pipe."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise BadInput(f"cannot open {path}: {error.strerror}") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(f"{path} is no ordinary file")
        yield file, status.st_size
    finally:
        os.close(file)


def read_text(path: Path) -> str:
    """A small text file, whatever it is: BadInput where it is no ordinary file, too large, or no text."""
    with _opened(path) as (file, size):
        if size > _MOST_HEADER:
            raise BadInput(f"{path} has {size} bytes; that is no configuration")
        try:
            return _read(file, path, 0, size).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(f"{path} is no text: {error.reason}") from error


def _read(file: int, path: Path, start: int, count: int) -> bytes:
    parts, got = [], 0
    while got < count:
        part = os.pread(file, min(count - got, 1 << 30), start + got)
        if not part:
            raise BadInput(f"{path} is cut off: {count} bytes were expected at {start}, and {got} are there")
        parts.append(part)
        got += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _inside(folder: Path, name: str) -> Path:
    """The file of that name in a folder; a link may lead nowhere else, but into the blobs of a Hugging Face cache."""
    if name != os.path.basename(name) or name in ("", ".", "..") or "\0" in name or "\\" in name:  # noqa: PTH119
        raise BadInput(f"{folder}: the index names the file {name!r:.80}; expected a file of the same folder")
    try:
        home, path = folder.resolve(strict=True), (folder / name).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise BadInput(f"{folder}: {name!r:.80} is named and not there; download the model again") from error
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    if path.parent not in (home, blobs):
        raise BadInput(f"{folder}: {name!r:.80} is a link that leads out of the folder; copy the file there instead")
    return path


def read_entries(folder: Path) -> dict[str, Entry]:
    """Every tensor of a model's folder by its name; BadInput where a file lies, is damaged, or is a pickle."""
    names = sorted(p.name for p in folder.iterdir())
    if "model.safetensors" in names:
        return read_header(_inside(folder, "model.safetensors"))
    if _INDEX in names:
        return _sharded(folder)
    files = [n for n in names if n.endswith(".safetensors") and not n.startswith("adapter_")]
    if len(files) == 1:
        return read_header(_inside(folder, files[0]))
    if files:
        raise BadInput(f"{folder} holds {len(files)} safetensors files and no {_INDEX} that says how they belong")
    if any(n.endswith(_PICKLES) for n in names):
        raise BadInput(
            f"{folder} holds a pickle checkpoint, which can run code when it is opened, so it is not. Where you trust "
            "it, convert it: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )
    raise BadInput(f"{folder} holds no safetensors file; save the model with save_pretrained")


def _sharded(folder: Path) -> dict[str, Entry]:
    path = _inside(folder, _INDEX)
    with _opened(path) as (file, size):
        index = _json(path, _read(file, path, 0, size)) if size <= _MOST_HEADER else None
    where = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(where, dict) or not where or not all(isinstance(n, str) for n in where.values()):
        raise BadInput(f"{path}: expected a weight_map from names of tensors to names of files")
    shards = {name: read_header(_inside(folder, name)) for name in sorted(set(where.values()))}
    lost = [tensor for tensor, name in where.items() if tensor not in shards[name]]
    if lost:
        raise BadInput(f"{path}: {lost[0]!r:.80} is not in the file that the index names; download the model again")
    return {tensor: shards[name][tensor] for tensor, name in where.items()}


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors of one file. Their ranges fill it without a gap or an overlap, or it is refused."""
    with _opened(path) as (file, size):
        if size < 8:
            raise BadInput(f"{path} has {size} bytes; no safetensors file is that short")
        length = int.from_bytes(_read(file, path, 0, 8), "little")
        if length > min(_MOST_HEADER, size - 8):
            raise BadInput(f"{path}: the header claims {length} bytes and the file has {size}; it is damaged, cut "
                           "off, or no safetensors file")  # fmt: skip
        raw = _json(path, _read(file, path, 8, length))
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: the header is no object")
    raw.pop("__metadata__", None)
    found = {name: _entry(path, name, said, 8 + length) for name, said in raw.items()}
    _check_ranges(path, sorted((e.start, e.start + _bytes(e)) for e in found.values()), 8 + length, size)
    return found


def _check_ranges(path: Path, ranges: list[tuple[int, int]], first: int, size: int) -> None:
    ends = [(first, first), *ranges, (size, size)]
    for (_, end), (start, _) in pairwise(ends):
        if end != start:
            what = "overlap, or lie beyond its end" if end > start else "leave a gap"
            raise BadInput(f"{path}: the tensors that its header names {what} (at byte {min(end, start)}); it is "
                           "damaged or cut off")  # fmt: skip


def _bytes(entry: Entry) -> int:
    return math.prod(entry.shape) * _BITS[entry.dtype] // 8


def _json(path: Path, text: bytes) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(out := dict(pairs)) != len(pairs):
            raise ValueError("a name stands twice")
        return out

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=once, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not valid JSON where it should be ({str(error)[:80]})") from error


def _entry(path: Path, name: str, said: Any, first: int) -> Entry:
    """One tensor as the header describes it, where the description holds together."""
    fields: dict[str, Any] = said if isinstance(said, dict) else {}
    if set(fields) != {"dtype", "shape", "data_offsets"} or not (_whole(fields["shape"]) and _ends(fields)):
        raise BadInput(f"{path}: {name!r:.80} needs a dtype, a shape, and two data_offsets that are whole numbers")
    dtype, shape, (start, end) = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise BadInput(f"{path}: {name!r:.80} has the unknown type {dtype!r:.40}")
    if len(shape) > 16 or math.prod(shape) * _BITS[dtype] != 8 * (end - start):
        raise BadInput(f"{path}: {name!r:.80} of type {dtype} and shape {shape!r:.60} does not have the size of its "
                       f"data_offsets, {start} to {end}")  # fmt: skip
    return Entry(path, dtype, tuple(shape), first + start)


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)


def _ends(fields: dict[str, Any]) -> bool:
    return _whole(fields["data_offsets"]) and len(fields["data_offsets"]) == 2
