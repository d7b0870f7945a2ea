"""The crew of a Ray cluster: Steps are made on its nodes, into one Store folder that all of them see."""

from __future__ import annotations

import importlib
import json
import os
import secrets
import shutil
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from heredity.store.crews import QUIET, Fault, make_here, sendable
from heredity.store.loading import MODULE, load_module, loaded_files, tell_files, told_files
from heredity.store.objects import Store
from heredity.store.step import Step, describe, opens_checkpoint, rebuild
from heredity.types import BadInput, Frozen, HeredityError, StoreError

RETRIES = 5
"""How often Ray makes a Step anew after its worker or node died."""
PATIENCE_S = 30.0
"""How long a finished Step may take to show in the Store here: network disks keep for a while what they last saw."""
_EVERYWHERE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_OWN = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_raylet_start_wait_time_s": "300"}
"""For a node of our own. The first makes Ray take 127.0.0.1 for this machine's address and listen on nothing else; the
last lets it start on a busy machine."""


class RayCrew:
    """Workers of the cluster that RAY_ADDRESS names; without it, of one on this machine for the length of the run.

    A connection that the process has already is used and left open. All nodes must have this package, and see the
    Store, the experiment's files and the working directory under the same paths. Nodes may die: what they were making
    is made elsewhere.
    """

    def __init__(self, root: Path, workers: int | None) -> None:
        self._store, self._workers = Store(root.resolve()), workers
        self._ray, self._ours, self._folder = _connected(workers)
        self._task = self._ray.remote(num_cpus=1, max_retries=RETRIES, retry_exceptions=False)(attempt)
        self._running: dict[Future[Exception | None], tuple[Step, Any]] = {}

    def size(self) -> int:
        """The cores of all living nodes, or `workers` where that is less."""
        cores = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        return min(self._workers or cores, cores)

    def submit(self, step: Step) -> Future[Exception | None]:
        """Hands a Step to Ray, which finds a node for it."""
        files, modules = [str(file) for file in loaded_files()], sorted(_modules(step, set()))
        task = self._task.options(num_gpus=1) if self._wants_gpu(step) else self._task
        reference = task.remote(
            str(self._store.root), str(Path.cwd()), files, told_files(), modules, json.dumps(describe(step))
        )
        future: Future[Exception | None] = reference.future()
        self._running[future] = (step, reference)
        return future

    def _wants_gpu(self, step: Step) -> bool:
        """Whether a node's card is kept for it: where the cluster has any, and real models are to use them."""
        there = os.environ.get("HEREDITY_DEVICE") != "cpu" and self._ray.cluster_resources().get("GPU", 0) >= 1
        return there and opens_checkpoint(step)

    def error(self, done: Future[Exception | None]) -> Exception | None:
        """What the node told, what Ray tells of the node, or that the result is not here."""
        step, _ = self._running.pop(done)
        raised = done.exception()
        if raised is not None:
            return self._lost(step, raised)
        return done.result() or (None if self._arrived(step) else self._elsewhere(step))

    def _lost(self, step: Step, error: BaseException) -> Exception:
        cause = getattr(error, "cause", None)
        if cause is not None:  # the task itself failed, before it could make the Step
            return HeredityError(f"a node cannot make {step.key}: {type(cause).__name__}: {cause}; every node needs "
                                 "this package, and must see the working directory")  # fmt: skip
        first = str(error).strip().splitlines()[:1]
        return HeredityError(f"{step.key} was tried {RETRIES + 1} times, and each time its worker or node died (out of "
                             f"memory?); Ray says {type(error).__name__}: {''.join(first)}")  # fmt: skip

    def _arrived(self, step: Step) -> bool:
        until = time.monotonic() + PATIENCE_S
        while not self._store.has(step):
            if time.monotonic() > until:
                return False
            time.sleep(0.2)
        return True

    def _elsewhere(self, step: Step) -> StoreError:
        return StoreError(f"a node made {step.key}, but it is not in {self._store.root} here: nodes must see the same "
                          "folder; name one on a shared disk with --store")  # fmt: skip

    def renew(self) -> None:
        """Nothing to do: Ray replaces its workers."""

    def stop(self) -> None:
        """Kills the workers that make Steps of ours."""
        references = [reference for _, reference in self._running.values()]
        for reference in references:
            self._ray.cancel(reference, force=True)
        if references:
            self._ray.wait(references, num_returns=len(references), timeout=10)
        self.close()

    def close(self) -> None:
        """Leaves the cluster, and ends it where it was ours."""
        if self._ours:
            self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _connected(workers: int | None) -> tuple[Any, bool, Path | None]:
    """Ray, whether the connection is ours to close, and the folder of the nodes that were started for it."""
    address = os.environ.get("RAY_ADDRESS")
    os.environ.update(_EVERYWHERE if address else _EVERYWHERE | _OWN)
    try:
        import ray
    except ImportError as error:
        raise BadInput(
            "--on ray needs Ray; in heredity's checkout run pip install -e '.[ray]', or leave --on out"
        ) from error
    if ray.is_initialized():
        return ray, False, None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address:
        try:
            ray.init(**quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            first = str(error).strip().splitlines()[:1]
            raise BadInput(f"no Ray cluster answers at RAY_ADDRESS ({''.join(first)}); start one with `ray start "
                           "--head`, or unset it to use this machine alone") from error  # fmt: skip
        return ray, True, None
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    folder = Path(tempfile.mkdtemp(prefix="heredity-ray-"))  # a socket's path must be short
    ray.init(address="local", num_cpus=workers, include_dashboard=False, _temp_dir=str(folder), **quiet)
    return ray, True, folder


def _modules(value: Any, seen: set[Step]) -> set[str]:
    """The modules that define the classes of a value, without those of experiment files, which are loaded by path."""
    if isinstance(value, tuple):
        return set().union(*(_modules(item, seen) for item in value))
    if not isinstance(value, Frozen) or value in seen:
        return set()
    if isinstance(value, Step):
        seen.add(value)
    own = type(value).__module__
    inner = set().union(*(_modules(getattr(value, name), seen) for name in type(value).model_fields))
    return inner if own.startswith(MODULE) else inner | {own}


def attempt(
    root: str, folder: str, files: Sequence[str], told: Mapping[str, Any], modules: Sequence[str], described: str
) -> Exception | None:
    """Makes a Step on a node from its description; returns what went wrong.

    The description names the versions and the code of its classes, so a node with others refuses it.
    """
    os.environ.update(QUIET)
    os.chdir(folder)
    tell_files(told)
    try:
        for file in files:
            load_module(Path(file))
        for module in modules:
            importlib.import_module(module)
        make_here(Path(root), rebuild(json.loads(described)))
    except HeredityError as error:
        return sendable(error)
    except Exception as error:  # its traceback would not be sent with it
        return Fault(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    return None
