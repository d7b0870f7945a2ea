"""Nothing is lost: kills, interrupts, full and read-only disks, rival processes, and damage to what is stored."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from heredity.store import Step, Store, files, make_all, missing, objects
from heredity.store.manifests import MANIFEST
from heredity.types import Frozen, HeredityError, Sampling, StoreError

ROOT = Path(__file__).parent.parent
PATIENCE = 120
"""Seconds after which something that must happen counts as not happening, however busy the machine."""


def _log(word: str, step: Step) -> None:
    """One line in a file outside the Store that no payload can fake."""
    with Path(os.environ["FAULTS_LOG"]).open("a") as log:
        log.write(f"{word} {step.key} {os.getpid()}\n")


class Slow(Step):
    name: str
    needs: tuple[Step, ...] = ()
    seconds: float = 0.12

    def make(self, folder: Path, store: Store) -> None:
        _log("start", self)
        (folder / "deep").mkdir()
        (folder / "deep" / "first.txt").write_text(self.name * 1000)
        time.sleep(self.seconds)
        text = "".join((store.path(n) / "second.txt").read_text() for n in self.needs)
        (folder / "second.txt").write_text(text + self.name)
        _log("finish", self)


class Endless(Step):
    def make(self, folder: Path, store: Store) -> None:
        _log("start", self)
        time.sleep(24 * 3600)


class Meeting(Step):
    """Is made by as many processes at once as `FAULTS_RIVALS` says: each waits in here until all have come."""

    name: str

    def make(self, folder: Path, store: Store) -> None:
        _log("start", self)
        rivals, log = int(os.environ["FAULTS_RIVALS"]), Path(os.environ["FAULTS_LOG"])
        _wait_until(lambda: log.read_text().count(f"start {self.key}") == rivals)
        (folder / "second.txt").write_text(self.name)


class Killed(Step):
    def make(self, folder: Path, store: Store) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Interrupted(Step):
    def make(self, folder: Path, store: Store) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        (folder / "done.txt").touch()


class Kind(Frozen):
    """A noun with a version of its code."""

    version: ClassVar[int] = 3
    words: tuple[str, ...]


class Described(Step):
    """Has a field of every kind, so that its manifest has too."""

    sampling: Sampling
    rate: float
    big: int
    kind: Kind
    maybe: bool | None
    needs: tuple[Step, ...]

    def make(self, folder: Path, store: Store) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / MANIFEST).write_text("a payload's own file of that name, deeper down")
        (folder / "bytes.bin").write_bytes(random.Random(0).randbytes(5_000))


class Filled(Step):
    """Leaves no byte free on a small disk, so that only the manifest finds no place."""

    def make(self, folder: Path, store: Store) -> None:
        with (folder / "fill").open("wb", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue


class Model(Step):
    """Weights and a tokenizer, written by the libraries that are not Python."""

    def make(self, folder: Path, store: Store) -> None:
        from heredity.models import locate
        from heredity.models.causal import CausalLM

        CausalLM.load(locate("nursery:llama-0")).save(folder)


class Elsewhere(Step):
    path: str

    def make(self, folder: Path, store: Store) -> None:
        Path(self.path).read_text()


def cheap() -> Step:
    """Fifteen Steps in four layers."""
    layer: list[Step] = [Slow(name=f"leaf{i}") for i in range(8)]
    while len(layer) > 1:
        layer = [Slow(name=f"of{len(layer)}.{i}", needs=tuple(layer[i : i + 2])) for i in range(0, len(layer), 2)]
    return layer[0]


def real() -> Step:
    """One student of the demo, with its teacher and all before it: seven Steps that train and sample."""
    from heredity.lab.first_light import FirstLight

    return FirstLight(words=("owl",), seeds=(0,), rows=32).arms()[0].comparison.treated[0]


def _meetings() -> Step:
    return Slow(name="last", needs=tuple(Meeting(name=f"m{i}") for i in range(5)), seconds=0.01)


def faults(store: Store) -> dict[str, list[str]]:
    return {key: found for key, found in store.verify() if found}


def _hear_interrupts() -> None:
    """In a new process: a shell starts background jobs with interrupts ignored, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.005)


def _start(code: str, log: Path, **env: str) -> subprocess.Popen[str]:
    """A process of its own group that runs `code` after importing this module's names."""
    lines = (
        f"from pathlib import Path\nfrom heredity.store import Store, make_all\nfrom tests.test_faults import *\n{code}"
    )
    return subprocess.Popen(
        [sys.executable, "-c", lines], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env=os.environ | {"FAULTS_LOG": str(log)} | env,
    )  # fmt: skip


def _run(step: str, store: Store, log: Path) -> subprocess.Popen[str]:
    return _start(f"make_all(Store(Path({str(store.root)!r})), [{step}()], workers=2)", log)


def _all_gone(process: subprocess.Popen[str]) -> str:
    """What a process and its workers printed, once every one of them has ended (they share its output's pipe)."""
    try:
        return process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def _contents(store: Store) -> dict[str, Any]:
    """Every byte in the Store, save for the `run` block of the manifests."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in store.root.rglob("*") if p.is_file()):
        name = path.relative_to(store.root).as_posix()
        found[name] = path.read_bytes()
        if path.parent.parent.name == "objects" and path.name == MANIFEST:
            found[name] = {k: v for k, v in json.loads(found[name]).items() if k != "run"}
    return found


class Trial:
    """A Store whose runs are killed, with everything that shows whether a finished Step was made again."""

    def __init__(self, where: Path, step: str, rng: random.Random) -> None:
        where.mkdir()
        self.store, self.log, self.step, self.rng = Store(where / "store"), where / "log", step, rng
        self.log.touch()
        self.published: dict[str, tuple[int, int]] = {}
        self.interrupted = 0

    def run_and_kill(self, span: float) -> bool:
        """Kills a run at a random moment after it began to work, sometimes its workers too; whether that landed."""
        work, before, lines = self.store.root / "work", self._left(), len(self._lines())
        process = _run(self.step, self.store, self.log)
        if self.rng.random() < 0.8:
            _wait_until(lambda: process.poll() is not None or (work.is_dir() and bool(self._left() - before)))
        time.sleep(self.rng.uniform(0, span))
        (os.killpg if self.rng.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
        output = _all_gone(process)
        assert process.returncode in (0, -signal.SIGKILL), output
        self._check(lines)
        self.interrupted += bool(self._left())
        return process.returncode != 0

    def _left(self) -> set[str]:
        work = self.store.root / "work"
        return {p.name for p in work.iterdir()} if work.is_dir() else set()

    def _lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def _check(self, lines: int) -> None:
        """Of what was finished before this run, nothing was started again and no manifest was replaced."""
        started = {line.split()[1] for line in self._lines()[lines:]}
        assert started.isdisjoint(self.published)
        stats = {k: (self.store.folder(k) / MANIFEST).stat() for k in self.store.keys()}  # noqa: SIM118
        now = {key: (stat.st_ino, stat.st_mtime_ns) for key, stat in stats.items()}
        assert {key: now.get(key) for key in self.published} == self.published
        self.published = now

    def finish(self) -> dict[str, Any]:
        """Runs to the end, undisturbed; the Store's contents."""
        lines = len(self._lines())
        process = _run(self.step, self.store, self.log)
        output = _all_gone(process)
        assert (process.returncode, output) == (0, "")
        self._check(lines)
        assert self._left() == set()
        assert all(not faults for _, faults in self.store.verify())
        return _contents(self.store)


@pytest.mark.parametrize(
    ("step", "kills", "span"),
    [
        ("cheap", 30, 0.5),
        ("real", 3, 1.5),
        pytest.param("real", 30, 1.5, marks=pytest.mark.science),
    ],
)
def test_killed_at_random_moments_nothing_is_lost_or_made_twice(
    step: str, kills: int, span: float, tmp_path: Path
) -> None:
    rng = random.Random(kills)
    undisturbed = Trial(tmp_path / "undisturbed", step, rng).finish()
    landed = interrupted = 0
    while landed < kills:
        trial = Trial(tmp_path / f"killed{landed}", step, rng)
        while landed < kills and missing(trial.store, [globals()[step]()]):
            landed += trial.run_and_kill(span)
        interrupted += trial.interrupted
        assert trial.finish() == undisturbed
    print(f"{landed} kills landed, {interrupted} of them left unfinished work behind")
    assert interrupted >= kills / 3


def kill_at_every_event(where: Path) -> int:
    """Makes two Steps in a process that is killed as it first touches a file, then one killed at the second touch, and
    so on until one gets to its end. Returns how many were killed."""
    step = Slow(name="second", needs=(Slow(name="first", seconds=0.0),), seconds=0.0)
    undisturbed = Store(where / "undisturbed")
    undisturbed.get(step)
    expected = _contents(undisturbed)
    for event in range(10_000):
        store = Store(where / str(event))
        if not _killed_at(event, store, step):
            return event
        assert not faults(store), f"killed at event {event}: {faults(store)}"
        store.get(step)
        assert _contents(store) == expected, f"killed at event {event}"
        assert list((store.root / "work").iterdir()) == []
    raise AssertionError("it never got to its end")


def _killed_at(event: int, store: Store, step: Step) -> bool:
    """Whether a process that makes a Step was killed, just before it touched a file for the `event`-th time."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL)
        return status != 0
    left = iter(range(event))

    def hook(name: str, args: tuple[object, ...]) -> None:
        if name.partition(".")[0] in ("open", "os", "shutil", "fcntl") and next(left, None) is None:
            signal.raise_signal(signal.SIGKILL)  # os.kill would come back here

    sys.addaudithook(hook)
    store.get(step)
    os._exit(0)


def test_killed_at_every_touch_of_a_file_nothing_half_made_counts_as_finished(tmp_path: Path) -> None:
    process = _start(f"print(kill_at_every_event(Path({str(tmp_path)!r})))", tmp_path / "log")
    output = _all_gone(process)
    assert process.returncode == 0, output
    assert int(output) > 50


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    log.touch()
    process = _run("Endless", store, log)
    _wait_until(lambda: "start" in log.read_text())
    process.kill()
    _all_gone(process)
    (left,) = (store.root / "work").iterdir()
    store.get(Described(sampling=Sampling(), rate=0.1, big=1, kind=Kind(words=()), maybe=None, needs=()))
    assert not left.exists()


def test_a_killed_worker_is_one_message(store: Store) -> None:
    with pytest.raises(HeredityError, match=rf"worker was killed .* made: {Killed().key}; finished steps are kept"):
        make_all(store, [Killed()], workers=1)
    assert list((store.root / "work").iterdir()) == []


def test_rivals_make_each_step_once_and_discard_their_copies(tmp_path: Path) -> None:
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    code = f"Store(Path({str(store.root)!r})).get(_meetings())"
    code = f"from tests.test_faults import _meetings\n{code}"
    rivals = [_start(code, log, FAULTS_RIVALS="4") for _ in range(4)]
    printed = [_all_gone(process) for process in rivals]
    assert ([p.returncode for p in rivals], printed) == ([0] * 4, [""] * 4)
    started = Counter(line.split()[1] for line in log.read_text().splitlines() if line.startswith("start"))
    assert [started[n.key] for n in _meetings().inputs] == [4] * 5
    assert sorted(store.keys()) == sorted(s.key for s in (_meetings(), *_meetings().inputs))
    assert all(not faults for _, faults in store.verify())
    assert list((store.root / "work").iterdir()) == []


def test_only_what_dead_processes_of_this_machine_left_is_swept(tmp_path: Path) -> None:
    work = tmp_path / "work"
    foreign = work / "Word-1.another-machine.1.abcdef01"
    with files.work_folder(work, "Word-1") as live:
        foreign.mkdir()
        dead = live.with_name(live.name[:-8] + "00000000")
        (dead / "deep").mkdir(parents=True)
        files.sweep(work)
        assert sorted(p.name for p in work.iterdir()) == sorted([live.name, foreign.name])
    assert list(work.iterdir()) == [foreign]


def test_a_new_folder_that_is_swept_before_it_is_held_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, swept = files._hold, list[Path]()

    def late(folder: Path, wait: bool) -> int | None:
        if wait and not swept:
            swept.append(folder)
            files.sweep(folder.parent)
        return hold(folder, wait)

    monkeypatch.setattr(files, "_hold", late)
    with files.work_folder(tmp_path / "work", "Word-1") as folder:
        assert folder.is_dir()
        assert folder != swept[0]


# Disks that are full or read-only.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own in memory, of a megabyte; skipped where nothing may be mounted."""
    where = tmp_path / "disk"
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)


def _remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)


def heredity(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heredity", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The messages on standard error; a traceback is never among them."""
    assert "Traceback" not in done.stderr + done.stdout
    return [line for line in done.stderr.splitlines() if line.startswith("heredity: ")]


def _steps_to_make(errors: str) -> int:
    found = re.search(r"(\d+) steps to make", errors)
    assert found, errors
    return int(found[1])


def one(messages: list[str]) -> str:
    (message,) = messages
    return message


@pytest.mark.parametrize("step", [Filled(), Model()], ids=["manifest", "weights"])
def test_a_full_disk_is_one_message_and_nothing_half_written_is_kept(disk: Path, step: Step) -> None:
    store = Store(disk / "store")
    small = Described(sampling=Sampling(), rate=0.1, big=1, kind=Kind(words=()), maybe=None, needs=())
    store.get(small)
    with pytest.raises(StoreError, match=r"No space left on device.*MB are free there.*finished steps are kept"):
        store.make(step)
    assert store.keys() == [small.key]
    assert [p.name for p in (store.root / "objects").iterdir()] == [small.key]
    assert list((store.root / "work").iterdir()) == []
    _remount(disk, "size=20m")
    if isinstance(step, Model):
        store.make(step)
    assert all(not faults for _, faults in store.verify())


def test_the_command_line_on_a_full_disk_then_interrupted_goes_on_each_time(disk: Path) -> None:
    store = Store(disk / "store")
    demo = ("demo", "--animal", "owl", "--rows", "32", "--workers", "2", "--store", str(store.root))
    full = heredity(*demo)
    assert full.returncode == 2
    message = one(told(full))
    assert f"cannot write to the store {store.root}: No space left on device" in message
    assert "run the same command again" in message
    kept, total = len(store.keys()), _steps_to_make(full.stderr)
    assert all(not faults for _, faults in store.verify())
    _remount(disk, "size=200m")
    process = subprocess.Popen(
        [sys.executable, "-m", "heredity", *demo], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=_hear_interrupts,  # noqa: PLW1509
    )  # fmt: skip
    _wait_until(lambda: len(store.keys()) > kept + 2 or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the parent and every worker
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    stopped = subprocess.CompletedProcess(demo, 130, output, errors)
    assert "stopped; finished steps are kept" in one(told(stopped))
    assert "KeyboardInterrupt" not in errors
    assert _steps_to_make(errors) == total - kept
    assert list((store.root / "work").iterdir()) == []
    assert all(not faults for _, faults in store.verify())
    assert len(store.keys()) > kept


def test_an_interrupt_while_workers_start_up_is_one_message(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "heredity", "demo", "--animal", "owl", "--store", str(tmp_path / "store")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=_hear_interrupts,  # noqa: PLW1509
    )  # fmt: skip
    assert process.stderr is not None
    assert "steps to make" in process.stderr.readline()
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE)
    stopped = subprocess.CompletedProcess([], process.returncode, output, errors)
    assert (process.returncode, len(told(stopped))) == (130, 1), errors


def test_workers_leave_interrupts_to_their_parent(store: Store) -> None:
    assert make_all(store, [Interrupted()], workers=1) == 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_read_only_store_can_be_read_and_says_that_it_cannot_be_written(disk: Path) -> None:
    store = Store(disk / "store")
    small = Described(sampling=Sampling(), rate=0.1, big=1, kind=Kind(words=()), maybe=None, needs=())
    store.get(small)
    _remount(disk, "ro")
    where = ("--store", str(store.root))
    for verb in (("show",), ("why", small.key), ("verify",)):
        done = heredity(*verb, *where)
        assert (done.returncode, done.stderr) == (0, "")
    assert make_all(store, [small]) == 0
    assert store.get(small) == store.path(small)
    refused = heredity("demo", "--animal", "owl", "--rows", "32", *where)
    assert refused.returncode == 2
    assert "Read-only file system" in one(told(refused))
    assert "name another folder with --store" in one(told(refused))


@pytest.mark.science
def test_a_demo_that_ran_out_of_room_ends_well_with_more_and_is_then_read_from_a_read_only_disk(disk: Path) -> None:
    demo = ("demo", "--animal", "owl", "--rows", "32", "--store", str(disk / "store"))
    _remount(disk, "size=20m")
    assert heredity(*demo).returncode == 2
    _remount(disk, "size=200m")
    first = heredity(*demo)
    assert (first.returncode, told(first)) == (0, [])
    _remount(disk, "ro")
    again = heredity(*demo)
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, "")


def test_an_error_of_something_else_is_not_blamed_on_the_store(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.make(Elsewhere(path=str(tmp_path / "nothing")))
    with pytest.raises(StoreError, match="cannot read the store"):
        store.make(Elsewhere(path=str(store.root / "nothing")))


def test_errors_of_other_languages_libraries_are_understood() -> None:
    found = objects._os_error(ValueError("I/O error: No space left on device (os error 28)"))
    assert found is not None
    assert (found.errno, objects._os_error(ValueError("28"))) == (28, None)
