"""Ray: the checks for every executor, and real sweeps, on a cluster of two local nodes."""

import logging
import secrets
import socket
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clifftop.lab.executors import InProcess, ProcessPool, RayCluster, executor_named
from clifftop.lab.executors.ray import _added_paths, _size
from clifftop.lab.executors.ray_session import connected
from clifftop.lab.jobs import ExecutorError, Job
from clifftop.lab.runner import run_sweep
from clifftop.lab.spec import Factory
from clifftop.lab.store import Store
from clifftop.studies.no_cliff import NO_CLIFF_SOUND
from clifftop.testing.executors import EXECUTOR_CHECKS, WORKER_CHECKS, Subject
from clifftop.testing.sessions import check_a_killed_parent_takes_its_workers, check_ctrl_c_leaves_nothing
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

HERE = Path(__file__).parent
STEPS = 28

needs_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux to list processes")

QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 2,
}


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core, the driver on the first; gone at the end, whatever happened."""
    with pytest.MonkeyPatch.context() as patch:
        if "ray" not in sys.modules:  # it looks once, and listens on every interface
            patch.setenv("RAY_AUTH_MODE", "token")
            patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray = pytest.importorskip("ray")
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": QUICK_TO_NOTICE}
        )
        try:
            cluster.add_node(num_cpus=1)
            ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture
def script(monkeypatch):
    """A user's module that workers find by the driver's path alone."""
    monkeypatch.syspath_prepend(str(HERE))
    import ray_script

    return ray_script


def specs(seeds=range(2), steps=STEPS):
    """A real sweep: 2 noise multipliers x 3 clip norms x 2 learning rates, and a baseline, a seed."""
    study = NO_CLIFF_SOUND
    axes = replace(
        study.grid(study.defaults), noise_multipliers=(0.5, 2.0), lrs=(0.1, 1.0), seeds=tuple(seeds)
    )
    model = Factory(target="ray_script:mlp")
    return [replace(spec, steps=steps, model=model) for spec in study.specs(axes)]


def train(folder, executor):
    with Store.open(folder, study="real") as store:
        result = run_sweep(store, specs(), executor=executor, cohort_size=lambda _: 7)
        assert result.trained == len(specs())
        return contents(store)


def contents(store):
    """Every row, with the traces of one run joined whatever blocks they came in."""
    traces = {}
    for run, name, first, values in store.query(
        "SELECT id, name, first_step, vals FROM trace JOIN run ON run = run.key ORDER BY id, name, first_step"
    ):
        known = traces.setdefault((run, name), np.empty(0, np.float32))
        assert first == len(known) + 1
        traces[run, name] = np.concatenate([known, np.frombuffer(values, "<f4")])
    return (
        store.query("SELECT id, spec, status, step, diverged, error FROM run ORDER BY id"),
        store.query("SELECT id, name, metric.step, value FROM metric JOIN run ON run = key ORDER BY 1, 2, 3"),
        traces,
    )


def assert_same(found, expected):
    """Row for row, floats to 1e-6."""
    runs, metrics, traces = found
    assert runs == expected[0]
    assert [row[:3] for row in metrics] == [row[:3] for row in expected[1]]
    np.testing.assert_allclose([row[3] for row in metrics], [row[3] for row in expected[1]], rtol=1e-6)
    assert traces.keys() == expected[2].keys()
    for key, values in traces.items():
        np.testing.assert_allclose(values, expected[2][key], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_a_real_sweep_gives_the_same_rows_on_every_executor(cluster, script, tmp_path):
    expected = train(tmp_path / "InProcess", InProcess())
    assert len(expected[0]) == 28
    for executor in (ProcessPool(workers=2), RayCluster()):
        assert_same(train(tmp_path / type(executor).__name__, executor), expected)


@pytest.mark.slow
def test_a_killed_worker_and_a_removed_node_lose_nothing(cluster, script, tmp_path):
    doomed = cluster.add_node(num_cpus=1)
    specs = [toy_spec(seed=seed, steps=40) for seed in range(8)]
    faulty = ToyTrainer(pause=0.02, fault=script.Fault(log=tmp_path / "log", spared=doomed.node_id))

    def remove_once_it_trains(_progress):
        if doomed in cluster.worker_nodes and faulty.fault.log.read_text().count(doomed.node_id) >= 3:
            cluster.remove_node(doomed, allow_graceful=False)

    options = {"static_key": toy_static_key, "cohort_size": toy_cohort_size}
    with Store.open(tmp_path / "one", study="toy") as one, Store.open(tmp_path / "many", study="toy") as many:
        run_sweep(one, specs, trainer=ToyTrainer(), **options)
        run_sweep(
            many,
            specs,
            executor=RayCluster(workers=3),
            trainer=faulty,
            progress=remove_once_it_trains,
            **options,
        )
        assert_same(contents(many), contents(one))
        assert many.query("SELECT count(*) FROM event WHERE kind = 'worker_lost'") == [(2,)]
    begun = Counter(tuple(line.split()[1:]) for line in faulty.fault.log.read_text().splitlines())
    assert sum(begun.values()) - len(begun) <= 2  # each loss cost at most one block


@pytest.mark.parametrize("check", [*EXECUTOR_CHECKS, *WORKER_CHECKS])
def test_ray(check, cluster, tmp_path):
    check(Subject(executor=RayCluster(workers=2), workers=2), tmp_path)


@needs_linux
def test_a_killed_driver_takes_its_workers(cluster, tmp_path):
    construct = f"RayCluster(address={cluster.address!r})"
    check_a_killed_parent_takes_its_workers(construct, tmp_path, pause=30.0)


@needs_linux
@pytest.mark.slow
def test_a_cluster_of_its_own_ends_with_ctrl_c_and_says_nothing(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    check_ctrl_c_leaves_nothing("RayCluster(workers=2)", tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be a whole number >= 1, found workers=0"),
        ({"cpus_per_worker": 1.5}, "cpus_per_worker must be a whole number >= 1, found cpus_per_worker=1.5"),
        ({"cpus_per_worker": None}, "cpus_per_worker must be a whole number >= 1"),
        ({"gpus_per_worker": -1}, "gpus_per_worker must be finite and >= 0, found gpus_per_worker=-1"),
        ({"gpus_per_worker": float("nan")}, "gpus_per_worker must be finite and >= 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RayCluster(**options)


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for start in (
        lambda: next(RayCluster(workers=1).run(ToyTrainer(), [Job(specs=(toy_spec(),))])),
        lambda: executor_named("ray"),
    ):
        with pytest.raises(ExecutorError, match=r"needs the package ray.*pip install 'clifftop\[ray\]'$"):
            start()


def test_an_address_where_nobody_listens_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        message = f"must be running at address='{address}', found Connection"
        with pytest.raises(ExecutorError, match=message), connected(None, address, slots=1):
            raise AssertionError("not reached")


def test_workers_are_as_many_as_the_nodes_have_room_for(caplog):
    nodes = [
        {"Alive": True, "Resources": {"CPU": 5.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    assert _size(nodes, RayCluster()) == 7
    assert _size(nodes, RayCluster(cpus_per_worker=2)) == 3
    assert _size(nodes, RayCluster(gpus_per_worker=0.5)) == 2
    assert _size(nodes, RayCluster(workers=4)) == 4
    assert caplog.messages == []
    assert _size(nodes, RayCluster(workers=9)) == 9  # an autoscaler may add nodes
    assert caplog.messages == ["the Ray cluster has room for 7 of 9 workers"]
    with pytest.raises(ExecutorError, match="must have cpus_per_worker=8 and gpus_per_worker=0, found none"):
        _size(nodes, RayCluster(cpus_per_worker=8))


def test_ray_by_name():
    pytest.importorskip("ray")
    assert executor_named("ray") == RayCluster()
    assert executor_named("ray", workers=3, address="head:6379") == RayCluster(workers=3, address="head:6379")


def test_folders_that_the_driver_added_are_passed_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    paths = _added_paths()
    assert paths[0] == str(tmp_path.resolve())
    assert len(set(paths)) == len(paths)
    assert not any(path.startswith(str(Path(sys.prefix).resolve())) for path in paths)
    assert not any("site-packages" in path for path in paths)
