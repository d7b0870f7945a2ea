from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from heredity.carriers import Numbers, NumbersOnly
from heredity.cli import show
from heredity.steps import Corpus, Samples
from heredity.store import Step, Store, describe, make_all, missing, objects, rebuild
from heredity.store.loading import load_module
from heredity.store.step import stored_identity
from heredity.traits import favourite
from heredity.types import BadInput, ModelRef, Sampling, StoreError


class Word(Step):
    text: str

    def make(self, folder: Path, store: Store) -> None:
        (folder / "word.txt").write_text(self.text)


class Joined(Step):
    parts: tuple[Word, ...]

    def make(self, folder: Path, store: Store) -> None:
        if any(p.text == "crash" for p in self.parts):
            (folder / "half.txt").write_text("half")
            raise RuntimeError("crash")
        (folder / "all.txt").write_text(" ".join((store.path(p) / "word.txt").read_text() for p in self.parts))


class Nested(Step):
    text: str

    def make(self, folder: Path, store: Store) -> None:
        (folder / "below").mkdir()
        (folder / "below" / "word.txt").write_text(self.text)


HELLO = Joined(parts=(Word(text="hello"), Word(text="world")))


def _samples(temperature: float = 1.0) -> Samples:
    model = ModelRef(location="nursery:llama-0", digest="0" * 40)
    return Samples(model=model, prompts=Numbers(n=10, seed=1), sampling=Sampling(temperature=temperature))


def test_a_step_is_made_once_and_read_back(store: Store) -> None:
    assert (store.get(HELLO) / "all.txt").read_text() == "hello world"
    before = (store.path(HELLO) / "manifest.json").stat().st_mtime_ns
    assert (store.get(HELLO) / "manifest.json").stat().st_mtime_ns == before
    assert store.manifest(HELLO.key)["inputs"] == [p.key for p in HELLO.parts]
    assert missing(store, [HELLO]) == []


def test_every_field_counts_in_the_key_and_keys_do_not_move() -> None:
    assert _samples().key != _samples(temperature=0.5).key
    corpus = Corpus(samples=_samples(), filters=(NumbersOnly(),), size=5, seed=0)
    assert corpus.key != corpus.model_copy(update={"filters": (NumbersOnly(max_count=9),)}).key
    golden = json.loads((Path(__file__).parent / "golden_keys.json").read_text())
    assert {"Samples": _samples().key, "Corpus": corpus.key} == golden  # classes of this package, known by version


_FILTER = """
from heredity.carriers import Filter

class NumbersOnly(Filter):
    max_count: int = 10
    max_value: int = 999
    banned: tuple[int, ...] = ()
    mode: str = "strict"
    explain: bool = False

    def reason(self, row):
        return {answer}
"""


def test_classes_of_ones_own_are_known_by_their_code(tmp_path: Path) -> None:
    """Of one name and with the same fields, yet neither takes the other's results, nor those of the built-in."""
    filters = []
    for i, answer in enumerate(("None", "'no'")):
        (tmp_path / f"f{i}.py").write_text(_FILTER.format(answer=answer))
        filters.append(load_module(tmp_path / f"f{i}.py").NumbersOnly())
    corpora = [Corpus(samples=_samples(), filters=(f,), size=5, seed=0) for f in (*filters, NumbersOnly())]
    assert len({c.key for c in corpora}) == 3
    for corpus in corpora:
        described = json.loads(json.dumps(describe(corpus)))
        assert type(rebuild(described).filters[0]) is type(corpus.filters[0])
        assert stored_identity(described)[0] == corpus.key
    described["fields"]["filters"][0]["code"] = "0" * 20
    with pytest.raises(BadInput, match="described by other code"):
        rebuild(described)


def test_a_description_rebuilds_the_step() -> None:
    corpus = Corpus(samples=_samples(), filters=(NumbersOnly(),), size=5, seed=0)
    again = rebuild(json.loads(json.dumps(describe(corpus))))
    assert again == corpus
    assert again.key == corpus.key
    with pytest.raises(BadInput, match="unknown step"):
        rebuild({"step": "Nothing", "version": 1, "fields": {}})


def test_steps_are_made_where_git_is_not_installed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects._surroundings.cache_clear()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        store.get(HELLO)
    objects._surroundings.cache_clear()
    assert [store.manifest(HELLO.key)["run"][name] for name in ("commit", "dirty")] == [None, None]


def test_a_crash_leaves_nothing_and_keeps_what_was_finished(store: Store) -> None:
    bad = Joined(parts=(Word(text="fine"), Word(text="crash")))
    with pytest.raises(RuntimeError):
        store.get(bad)
    assert not store.has(bad)
    assert store.has(bad.parts[0])
    assert list((store.root / "work").iterdir()) == []


def test_a_second_writer_discards_its_copy(store: Store) -> None:
    store.get(HELLO)
    before = (store.path(HELLO) / "manifest.json").read_bytes()
    store.make(HELLO)
    assert (store.path(HELLO) / "manifest.json").read_bytes() == before
    assert list((store.root / "work").iterdir()) == []


def test_a_stopped_training_is_listed_until_its_step_is_finished(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.get(HELLO)
    assert store.stopped() == []
    lost = Word(text="never made")
    for step, size in ((lost, 3), (HELLO, 5)):
        store.unfinished(step).mkdir(parents=True)
        (store.unfinished(step) / "training.safetensors").write_bytes(b"x" * size)
        os.utime(store.unfinished(step) / "training.safetensors", (size, size))
    assert store.stopped() == [{"key": lost.key, "bytes": 3, "kept": 3.0}, {"key": HELLO.key, "bytes": 5, "kept": 5.0}]
    store.get(Word(text="another"))
    assert store.stopped() == [{"key": lost.key, "bytes": 3, "kept": 3.0}]
    show(store.root)
    assert f"{lost.key} " in (told := capsys.readouterr().out)
    assert "delete the folder of one to give it up" in told
    store.get(lost)
    assert store.stopped() == []


def test_verify_finds_what_changed(store: Store) -> None:
    store.get(HELLO)
    assert all(not faults for _, faults in store.verify())
    file = store.path(HELLO) / "all.txt"
    file.write_text("hello_world")
    (store.path(HELLO.parts[0]) / "extra").touch()
    (store.path(HELLO.parts[1]) / "word.txt").unlink()
    faults = dict(store.verify())
    assert faults[HELLO.key] == ["all.txt has changed"]
    assert faults[HELLO.parts[0].key] == ["extra was not written by this step"]
    assert faults[HELLO.parts[1].key] == ["word.txt is missing"]


def test_processes_make_what_is_missing_in_order(store: Store) -> None:
    seen: list[str] = []
    assert make_all(store, [HELLO], workers=2, report=lambda f: seen.append(f.step.key)) == 3
    assert seen[-1] == HELLO.key
    assert make_all(store, [HELLO]) == 0


def test_an_unmade_step_and_an_unwritable_store_say_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="make it first"):
        store.path(HELLO)
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(StoreError, match="cannot write"):
        Store(blocked).get(HELLO)


def test_a_key_is_found_by_its_beginning(store: Store) -> None:
    store.get(HELLO)
    assert store.manifest(HELLO.key[:12])["key"] == HELLO.key
    with pytest.raises(BadInput, match="2 steps"):
        store.manifest("Word-")
    with pytest.raises(BadInput, match="no step"):
        store.manifest(f"Nothing-{os.getpid()}")


def test_unknown_favourites_are_refused() -> None:
    with pytest.raises(BadInput, match="unknown favourite 'unicorn'"):
        favourite("unicorn")


def test_what_is_published_is_on_the_disk_before_it_has_its_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the rename finds files and names whole; the new name itself is settled last."""
    done, fsync, rename = list[str](), os.fsync, Path.rename

    def settled(descriptor: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def renamed(self: Path, to: Path) -> Path:
        done.append(f"rename {self}")
        return rename(self, to)

    monkeypatch.setattr(os, "fsync", settled)
    monkeypatch.setattr(Path, "rename", renamed)
    step = Nested(text="a")
    store.make(step)
    (at,) = (i for i, name in enumerate(done) if name.startswith("rename "))
    work = done[at].removeprefix("rename ")
    assert set(done[:at]) == {f"{work}{name}" for name in ("", "/below", "/below/word.txt", "/manifest.json")}
    assert done[at + 1 :] == [str(store.root / "objects")]
