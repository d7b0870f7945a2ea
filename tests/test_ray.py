"""Steps on a Ray cluster of two nodes on this machine, one of which is killed half-way (the extra `ray`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from heredity.store import Store

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parent.parent

_CELLS = """
import os, time
from pathlib import Path
from heredity.store import Step, Store

class Cell(Step):
    name: str
    log: str
    needs: tuple[Step, ...] = ()

    def make(self, folder: Path, store: Store) -> None:
        import ray
        node, doomed = ray.get_runtime_context().get_node_id(), Path(self.log).with_name("doomed")
        self._say("start " + node)
        time.sleep(1)
        if doomed.exists() and doomed.read_text() == node:
            self._say("waits")
            time.sleep(300)
        read = [(store.path(n) / "cell.txt").read_text() for n in self.needs]
        (folder / "cell.txt").write_text(" ".join([self.name, *read]))
        self._say("end")

    def _say(self, what: str) -> None:
        with Path(self.log).open("a") as log:
            log.write(f"{self.key} {what}\\n")

leaves = [Cell(name=str(i), log=LOG) for i in range(10)]
pairs = [Cell(name=f"pair {i}", log=LOG, needs=tuple(leaves[i : i + 2])) for i in range(0, 10, 2)]
"""

_DRIVER = """
import json, os, secrets, shutil, socket, sys, tempfile, time
from pathlib import Path
os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
                   "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
                   "RAY_TMPDIR": (short := tempfile.mkdtemp(prefix="hr-")), "RAY_raylet_start_wait_time_s": "600"})
import psutil, ray
from ray.cluster_utils import Cluster
from heredity.store import Store, make_all
from heredity.store.loading import load_experiment

store, file, log, told = (Path(a) for a in sys.argv[1:5])
AGENTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")

def node():
    # ports that are told need not be waited for, for which Ray has little patience on a busy machine
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in AGENTS]
    ports = {name: one.getsockname()[1] for name, one in zip(AGENTS, taken)}
    for one in taken:
        one.close()
    return {"num_cpus": 1, "node_ip_address": "127.0.0.1"} | ports

cluster = Cluster(initialize_head=True, head_node_args=node() | {"include_dashboard": False})
second = cluster.add_node(**node())
ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"]]
ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
heard = sorted({c.laddr.ip for p in ours for c in p.net_connections("tcp") if c.status == "LISTEN"})
steps, killed = load_experiment(file), []
(doomed,) = (n["NodeID"] for n in ray.nodes() if n["ObjectStoreSocketName"] == second.plasma_store_socket_name)

def report(now):
    if now.done >= 4 and not killed:  # half-way through the leaves, both nodes make one
        log.with_name("doomed").write_text(doomed)
        while "waits" not in log.read_text():
            time.sleep(0.05)
        killed.append(doomed)
        cluster.remove_node(second, allow_graceful=False)

made = make_all(Store(store), steps.values(), report=report, on="ray")
again = make_all(Store(store), steps.values(), on="ray")
until = time.monotonic() + 120
while len(alive := [n["NodeID"] for n in ray.nodes() if n["Alive"]]) > 1 and time.monotonic() < until:
    time.sleep(0.2)  # Ray asks a few times before it believes
told.write_text(json.dumps({"made": made, "again": again, "nodes": nodes, "killed": killed, "listening": heard,
                            "keys": [s.key for s in steps.values()], "alive": alive}))
ray.shutdown()
cluster.shutdown()
shutil.rmtree(short, ignore_errors=True)
"""


def run(code: str, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("ray", reason="pip install -e '.[ray]'")
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONWARNINGS": "default"}, timeout=1500,
    )  # fmt: skip


def test_a_node_is_killed_and_nothing_is_lost_and_nothing_stored_twice(tmp_path: Path) -> None:
    store, file, log = Store(tmp_path / "store"), tmp_path / "cells.py", tmp_path / "log"
    file.write_text(_CELLS.replace("LOG", repr(str(log))))
    done = run(_DRIVER, store.root, file, log, tmp_path / "told.json")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["made"], told["again"], len(told["nodes"]), len(told["killed"])) == (15, 0, 2, 1)
    assert told["alive"] == [n for n in told["nodes"] if n not in told["killed"]]
    assert sorted(store.keys()) == sorted(told["keys"])
    assert [faults for _, faults in store.verify() if faults] == []
    lines = [line.split() for line in log.read_text().splitlines()]
    starts, ends = (Counter(key for key, what, *_ in lines if what == word) for word in ("start", "end"))
    assert {node for _, what, *rest in lines if what == "start" for node in rest} == set(told["nodes"])  # both worked
    assert set(ends.values()) == {1}  # no result was finished a second time
    (lost,) = {key for key, what, *_ in lines if what == "waits"}  # in progress on the node that was killed
    assert {key for key, n in starts.items() if n > 1} == {lost}
    assert starts[lost] == 2
    assert list((store.root / "work").iterdir()) == []
    assert told["listening"]
    assert set(told["listening"]) <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_the_command_runs_on_nodes_of_its_own_and_reports_what_fails_there(tmp_path: Path) -> None:
    file = tmp_path / "cells.py"
    cells = (
        _CELLS.replace("LOG", repr(str(tmp_path / "log")))
        .replace("range(10)", "range(2)")
        .replace("0, 10, 2", "0, 2, 2")
    )
    file.write_text(cells + "\nbroken = Cell(name='x', log='/nowhere/log')\n")
    pytest.importorskip("ray", reason="pip install -e '.[ray]'")
    command = [sys.executable, "-m", "heredity", "run", str(file), "--on", "ray", "--workers", "2", "--store"]
    done = subprocess.run(
        [*command, str(tmp_path / "s")], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1500,
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "No such file or directory: '/nowhere/log'" in done.stderr.splitlines()[-1]
    assert len(Store(tmp_path / "s").keys()) == 3
