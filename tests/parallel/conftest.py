"""Real processes as ranks: started together, waited for within a limit, and none left behind."""

import multiprocessing
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

LIMIT = 60.0
# Importing torch takes longer than any test here: done once, in the server that ranks are forked from.
PRELOADED = ["torch._dynamo", "torch.distributed.fsdp", "torch.distributed.optim", "clifftop.training"]


class Job:
    """The processes of one run of the script, which find each other through a file in ``folder``."""

    def __init__(self, folder, scenario, *arguments, world_size, **options):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.processes = []
        try:
            for rank in range(world_size):
                arguments_of_rank = (folder, rank, world_size, scenario.__name__, *arguments)
                process = context.Process(
                    target=sys.modules["rank_script"].main,
                    args=arguments_of_rank,
                    kwargs=options,
                    daemon=True,
                )
                process.start()
                self.processes.append(process)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.join()

    def wait_for(self, name):
        """Until a rank made the file ``name``."""
        end = time.monotonic() + LIMIT
        while not (self.folder / name).exists():
            assert time.monotonic() < end, f"no {name}: {self.tails()}"
            assert all(process.is_alive() for process in self.processes), self.tails()
            time.sleep(0.005)

    def finish(self):
        """Until every rank ended, all well."""
        for process in self.processes:
            process.join(LIMIT)
            assert process.exitcode == 0, self.tails()

    def send(self, rank, sent=signal.SIGKILL):
        self.processes[rank]._popen._send_signal(sent)

    def failure(self, rank):
        """The last line of a rank that failed, and the seconds until it ended."""
        start = time.monotonic()
        self.processes[rank].join(LIMIT)
        assert self.processes[rank].exitcode == 1, self.tails()
        lines = (self.folder / f"output.{rank}").read_text().strip().splitlines()
        return lines[-1], time.monotonic() - start

    def tails(self):
        outputs = sorted(self.folder.glob("output.*"))
        return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in outputs)


@pytest.fixture(scope="session")
def rank_script():
    """The script that ranks run, as a module: its problem, its plan, its ways to train."""
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    import rank_script

    yield rank_script
    sys.path.remove(folder)


@pytest.fixture(scope="session")
def job(rank_script):
    return Job


@pytest.fixture(scope="session")
def ranks_found(job, rank_script, tmp_path_factory):
    """What four processes found in every scenario, in groups of two and of four."""
    folder = tmp_path_factory.mktemp("four")
    with job(folder, rank_script.run_all, world_size=4) as running:
        running.finish()
    return lambda name, size, rank: torch.load(folder / f"scenario_{name}.{size}.{rank}.pt")
