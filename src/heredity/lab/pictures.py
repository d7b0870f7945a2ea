"""Labelled pictures: MNIST's idx files, any arrays, or scikit-learn's bundled digits."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heredity.types import ADDED, BadInput, Frozen

OFFLINE = "scikit-learn:digits"
"""1,797 pictures of 8 x 8 pixels that come with scikit-learn (`pip install -e '.[digits]'`)."""
_IDX = {
    "train": "train-images-idx3-ubyte", "train_labels": "train-labels-idx1-ubyte",
    "test": "t10k-images-idx3-ubyte", "test_labels": "t10k-labels-idx1-ubyte",
}  # fmt: skip
_OFFLINE_TRAIN = 1_437
_LARGEST = 2**31


class Pictures(NamedTuple):
    """Pictures as rows of pixels in [-1, 1], with labels 0, 1, 2, ..."""

    train_ND: NDArray[np.float32]
    train_labels_N: NDArray[np.int64]
    test_ND: NDArray[np.float32]
    test_labels_N: NDArray[np.int64]

    @property
    def pixels(self) -> int:
        """Pixels of one picture."""
        return int(self.train_ND.shape[1])

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return int(self.train_labels_N.max()) + 1


class PicturesRef(Frozen):
    """Pictures outside the Store, pinned by the digest of their files."""

    location: str
    """A folder of MNIST's four idx files (plain or .gz), an .npz file, or `scikit-learn:digits`."""
    digest: str
    """blake2b of the pixels and labels."""
    classes: Annotated[int, ADDED] = 10
    """How many labels there are."""


def pictures_ref(location: str | Path) -> PicturesRef:
    """A reference pinned to the pictures that are at `location` now."""
    raw = _read(str(location))
    labels = _labels("train", raw["train_labels"], len(raw["train"]))
    return PicturesRef(location=str(location), digest=_digest(raw), classes=int(labels.max()) + 1)


@lru_cache(maxsize=1)  # one worker opens the same ones for many models
def open_pictures(ref: PicturesRef) -> Pictures:
    """The pictures; BadInput where they have changed since the reference was made."""
    raw = _read(ref.location)
    if _digest(raw) != ref.digest:
        raise BadInput(f"the pictures at {ref.location} have changed since they were referred to; refer to them anew")
    return pictures(**raw)


def pictures(
    train: NDArray[Any], train_labels: NDArray[Any], test: NDArray[Any], test_labels: NDArray[Any]
) -> Pictures:
    """Any arrays: pictures of any shape, (N, ...), whose least and largest training pixel become -1 and 1."""
    _check_pixels(train, test)
    low, high = float(train.min()), float(train.max())
    if not (math.isfinite(low) and math.isfinite(high) and low < high and np.isfinite(test).all()):
        raise BadInput(f"pixels must be finite and not all the same; those to train on run from {low} to {high}")
    train_y, test_y = _labels("train", train_labels, len(train)), _labels("test", test_labels, len(test))
    if test_y.max() > train_y.max():
        raise BadInput(f"label {test_y.max()} is only in the test set; labels to train on end at {train_y.max()}")
    return Pictures(_scaled(train, low, high), train_y, _scaled(test, low, high), test_y)


def _check_pixels(train: NDArray[Any], test: NDArray[Any]) -> None:
    for name, array in (("train", train), ("test", test)):
        if array.ndim < 2 or not array.size or array.dtype.kind not in "uifb":
            raise BadInput(f"{name}: expected numbers of shape (pictures, pixels); found {array.dtype} {array.shape}")
    if train.shape[1:] != test.shape[1:]:
        raise BadInput(f"pictures to train on have shape {train.shape[1:]}, those to test on {test.shape[1:]}")


def _labels(name: str, labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    if labels.shape != (count,) or labels.dtype.kind not in "ui":
        raise BadInput(f"{name}: {count} pictures need {count} whole labels; found {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= 1000:
        raise BadInput(f"{name}: labels run from {labels.min()} to {labels.max()}; expected 0 to at most 999")
    return labels.astype(np.int64)


def _scaled(array: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    flat = array.reshape(len(array), -1).astype(np.float32)
    flat -= np.float32(low)
    flat *= np.float32(2 / (high - low))
    flat -= 1
    return flat


def _read(location: str) -> dict[str, NDArray[Any]]:
    if location == OFFLINE:
        return _offline()
    path = Path(location)
    if path.suffix == ".npz":
        return _npz(path)
    if not path.is_dir():
        raise BadInput(f"no pictures at {location!r:.200}; name a folder of idx files, an .npz file, or {OFFLINE!r}")
    return {name: read_idx(_idx_file(path, stem)) for name, stem in _IDX.items()}


def _digest(raw: dict[str, NDArray[Any]]) -> str:
    total = hashlib.blake2b(digest_size=20)
    for name in _IDX:
        array = np.ascontiguousarray(raw[name])
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return total.hexdigest()


def _idx_file(folder: Path, stem: str) -> Path:
    for path in (folder / f"{stem}.gz", folder / stem):
        if path.is_file():
            return path
    raise BadInput(f"{folder} lacks {stem} (or {stem}.gz); MNIST has four files: {', '.join(_IDX.values())}")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of bytes in an idx file, plain or gzip; BadInput that says what is wrong with a damaged one."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
                raise BadInput(f"{path} is no idx file of bytes: expected it to begin 00 00 08, found {head.hex(' ')}")
            sizes = file.read(4 * head[3])
            if len(sizes) < 4 * head[3]:
                raise BadInput(f"{path} ends within its header")
            shape = struct.unpack(f">{head[3]}I", sizes)
            expected = math.prod(shape)
            if expected > _LARGEST:
                raise BadInput(f"{path} announces {expected} bytes; expected at most {_LARGEST}")
            data = file.read(expected + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(f"{path} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) != expected:
        found = f"only {len(data)}" if len(data) < expected else "more"
        raise BadInput(f"{path} announces {expected} bytes of shape {shape} and holds {found}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        if not zipfile.is_zipfile(path):  # numpy would open a single array, or a pickle, under this name as well
            raise BadInput(f"cannot read {path}: it is no .npz file")
        with np.load(path, allow_pickle=False) as arrays:
            if missing := [name for name in _IDX if name not in arrays]:
                raise BadInput(f"{path} lacks {', '.join(missing)}; expected the arrays {', '.join(_IDX)}")
            return {name: arrays[name] for name in _IDX}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(f"cannot read {path}: {error}") from error


def _offline() -> dict[str, NDArray[Any]]:
    """The bundled digits in a fixed shuffle (writers come one after another), the first 80 % to train on."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise BadInput(
            "the bundled digits need scikit-learn; in heredity's checkout run pip install -e '.[digits]'"
        ) from error
    found = load_digits()
    order = np.random.Generator(np.random.Philox(0)).permutation(len(found.target))
    images, labels = found.images[order].astype(np.uint8), found.target[order]
    cut = _OFFLINE_TRAIN
    return {"train": images[:cut], "train_labels": labels[:cut], "test": images[cut:], "test_labels": labels[cut:]}
