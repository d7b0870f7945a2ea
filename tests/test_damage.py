"""Damage to what a Store holds: verify finds it, nothing outside is touched, and every verb says it in one message."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heredity.store import Step, Store, files, make_all
from heredity.store.manifests import MANIFEST
from heredity.types import Sampling, StoreError
from tests.test_faults import Described, Kind, Slow, faults, heredity, one, told


class Linking(Step):
    name: str

    def make(self, folder: Path, store: Store) -> None:
        (folder / self.name).symlink_to("/etc/hostname")


@pytest.fixture
def stored(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """Three Steps: flat files, deep files, fields of every kind, and one that reads the others."""
    monkeypatch.setenv("FAULTS_LOG", str(tmp_path / "log"))
    needs = (Slow(name="a", seconds=0.0), Slow(name="b", seconds=0.0))
    last = Described(
        sampling=Sampling(temperature=0.1, seed=5), rate=1e-3 / 3, big=10**18, kind=Kind(words=("owl", "été", 'a"b\\')),
        maybe=None, needs=needs,
    )  # fmt: skip
    store.get(last)
    return store


def _flip(path: Path, rng: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    raw[rng.randrange(len(raw))] ^= rng.randrange(1, 256)
    path.write_bytes(raw)


@pytest.mark.parametrize("kind", ["payloads", "manifests"])
def test_verify_finds_every_one_of_1000_flipped_bytes(stored: Store, kind: str) -> None:
    rng, objects_ = random.Random(5), stored.root / "objects"
    paths = sorted(p for p in objects_.rglob("*") if p.is_file())
    paths = [p for p in paths if (p.parent.parent == objects_ and p.name == MANIFEST) == (kind == "manifests")]
    assert len(paths) == {"payloads": 6, "manifests": 3}[kind]
    unnoticed = []
    for turn in range(1_000):
        path = rng.choice(paths)
        whole, key = path.read_bytes(), path.relative_to(objects_).parts[0]
        _flip(path, rng)
        if list(faults(stored)) != [key]:
            unnoticed.append((turn, path))
        path.write_bytes(whole)
    assert unnoticed == []
    assert faults(stored) == {}


def test_a_manifest_of_before_there_was_a_sum_is_checked_all_the_same(stored: Store) -> None:
    path = stored.folder(stored.keys()[-1]) / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["run"]["manifest_blake2b"]
    whole = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    path.write_text(whole)
    assert faults(stored) == {}
    rng = random.Random(6)
    for _ in range(300):
        _flip(path, rng)
        try:
            in_run = {k: v for k, v in json.loads(path.read_text()).items() if k != "run"} == {
                k: v for k, v in manifest.items() if k != "run"
            }
        except ValueError:
            in_run = False
        assert in_run or list(faults(stored)) == [path.parent.name]
        path.write_text(whole)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _rename(path: Path) -> None:
    path.rename(path.with_name("other.txt"))


def _swap(path: Path) -> None:
    other = path.parent / "deep" / "first.txt"
    path.rename(path.with_name("swap"))
    other.rename(path)
    path.with_name("swap").rename(other)


def _link(path: Path) -> None:
    path.rename(path.parent.parent.parent / "aside")
    path.symlink_to(path.parent.parent.parent / "aside")


def _linked_folder(path: Path) -> None:
    shutil.move(path.parent / "deep", path.parent.parent.parent / "aside")
    (path.parent / "deep").symlink_to(path.parent.parent.parent / "aside")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _linked_step(path: Path) -> None:
    shutil.move(path.parent, path.parent.parent.parent / "aside")
    path.parent.symlink_to(path.parent.parent.parent / "aside")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut, ["second.txt has changed"]),
        (_extend, ["second.txt has changed"]),
        (_rename, ["other.txt was not written by this step", "second.txt is missing"]),
        (_swap, ["deep/first.txt has changed", "second.txt has changed"]),
        (_link, ["second.txt is a link or no file"]),
        (_linked_folder, ["deep was not written by this step", "deep/first.txt is missing"]),
        (_pipe, ["second.txt is a link or no file"]),
        (_linked_step, ["manifest cannot be read: it is a link or no file, which this program does not follow"]),
    ],
)
def test_verify_names_the_damage(stored: Store, damage: Callable[[Path], None], words: list[str]) -> None:
    key = Slow(name="a", seconds=0.0).key
    damage(stored.folder(key) / "second.txt")
    assert faults(stored) == {key: words}


def test_steps_in_one_anothers_places_and_folders_without_a_manifest_are_found(stored: Store) -> None:
    a, b = (stored.folder(Slow(name=n, seconds=0.0).key) for n in "ab")
    (stored.root / "objects" / "Wreck-1").mkdir()
    a.rename(a.with_name("swap"))
    b.rename(a)
    a.with_name("swap").rename(b)
    assert faults(stored) == {
        a.name: [f"manifest belongs to {b.name}"], b.name: [f"manifest belongs to {a.name}"],
        "Wreck-1": ["no manifest: this is no finished step"],
    }  # fmt: skip


def test_a_forged_description_or_input_is_found(stored: Store) -> None:
    path = stored.folder(stored.keys()[-1]) / MANIFEST
    forgeries: tuple[tuple[Callable[[dict[str, Any]], Any], str], ...] = (
        (lambda m: m["step"]["fields"].update(big=1), "manifest's description does not give its key"),
        (lambda m: m["inputs"].pop(), "manifest's inputs are not those of its description"),
        (
            lambda m: m["step"].pop("fields"),
            "manifest's description cannot be read: expected an object with code, fields",
        ),
        (lambda m: m["run"].update(commit="0"), "manifest has changed"),
    )
    for forge, words in forgeries:
        whole = path.read_text()
        manifest = json.loads(whole)
        forge(manifest)
        path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        assert any(found.startswith(words) for found in faults(stored)[path.parent.name])
        path.write_text(whole)


def test_paths_that_lead_out_of_the_store_are_not_followed(stored: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("outside")
    key = stored.keys()[-1]
    path = stored.folder(key) / MANIFEST
    manifest = json.loads(path.read_text())
    seen = {"blake2b": files.file_digest(outside), "bytes": 7}
    manifest["files"] |= {"../../../outside.txt": seen, str(outside): seen, "\x1b[2J": seen}
    path.write_text(json.dumps(manifest))
    found = faults(stored)[key]
    assert {"../../../outside.txt is missing", f"{outside} is missing", "'\\x1b[2J' is missing"} <= set(found)
    (tmp_path / MANIFEST).write_text(path.read_text())
    for escape in ("../..", f"../../{tmp_path.name}", str(tmp_path)):
        done = heredity("why", escape, "--store", str(stored.root))
        assert (done.returncode, "no step in" in one(told(done))) == (2, True)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"run": 1}', "\ufeff{}", "[" * 100_000, "link"])
def test_a_damaged_manifest_is_one_message(stored: Store, damage: str) -> None:
    path = stored.folder(stored.keys()[-1]) / MANIFEST
    path.unlink()
    path.symlink_to("/etc/hostname") if damage == "link" else path.write_text(damage)
    with pytest.raises(StoreError, match=r"cannot be read .* delete .* and run again"):
        stored.manifest(path.parent.name)
    assert len(faults(stored)) == 1


@pytest.mark.parametrize("key", ["../../secret", "/etc", "Slow-" + "0" * 20])
def test_a_manifest_of_another_key_leads_nowhere(stored: Store, key: str) -> None:
    """Its key is where `record export` looks for files, and what it attests that they are of."""
    name = stored.keys()[-1]
    path = stored.folder(name) / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": key}))
    with pytest.raises(StoreError, match="it says that it is of"):
        stored.manifest(name)


def test_a_key_in_small_letters_is_the_same_result_also_where_the_disk_has_no_capitals(stored: Store) -> None:
    name = stored.keys()[-1]
    stored.folder(name).rename(stored.folder(name.lower()))  # as such a disk answers
    assert stored.manifest(name.lower())["key"] == name


def test_the_command_line_on_a_damaged_manifest_is_one_message(stored: Store) -> None:
    key = stored.keys()[-1]
    (stored.folder(key) / MANIFEST).write_text("{")
    where = ("--store", str(stored.root))
    for verb in (("show",), ("why", key)):
        done = heredity(*verb, *where)
        assert done.returncode == 2
        assert f"the manifest of {key} cannot be read" in one(told(done))
    assert heredity("verify", *where).returncode == 10
    assert make_all(stored, [Slow(name="a", seconds=0.0)]) == 0


def test_a_folder_in_a_steps_place_is_told_and_left_alone(store: Store) -> None:
    step = Described(sampling=Sampling(), rate=0.1, big=1, kind=Kind(words=()), maybe=None, needs=())
    store.folder(step.key).mkdir(parents=True)
    (store.folder(step.key) / "mine.txt").touch()
    with pytest.raises(StoreError, match="has no manifest, so it is no finished step; delete it"):
        store.make(step)
    assert (store.folder(step.key) / "mine.txt").exists()
    assert not store.has(step)


@pytest.mark.parametrize("name", ["link", MANIFEST])
def test_a_step_that_writes_what_no_payload_holds_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match=f"wrote {name} into its payload"):
        store.make(Linking(name=name))
    assert store.keys() == []
