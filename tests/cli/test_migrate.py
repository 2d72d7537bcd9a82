"""`clifftop migrate` changes the import lines and says what the old epsilon rested on."""

import json
import subprocess
import sys

import pytest

from clifftop.migrate import Run, compare, examine, read_facts, rewrite

SCRIPT = '''"""Trains."""
import argparse
import torch, opacus
from opacus import PrivacyEngine
from opacus.utils.batch_memory_manager import BatchMemoryManager

parser = argparse.ArgumentParser()
parser.add_argument("-b", "--batch-size", type=int, default=256)
parser.add_argument("--sigma", type=float, default=1.0)
args = parser.parse_args()
EPOCHS = 15
DELTA = 1 / 100_000
train_loader = torch.utils.data.DataLoader(data, batch_size=args.batch_size, shuffle=True)
test_loader = torch.utils.data.DataLoader(other, batch_size=1000)
engine = PrivacyEngine(accountant="rdp")
model, optimizer, loader = engine.make_private(
    module=model, optimizer=optimizer, data_loader=train_loader,
    noise_multiplier=args.sigma, max_grad_norm=1.0, poisson_sampling=True,
)
for epoch in range(EPOCHS):
    train(model)
print(engine.get_epsilon(delta=DELTA))
'''


@pytest.fixture
def script(tmp_path):
    def write(text=SCRIPT):
        path = tmp_path / "train.py"
        path.write_text(text)
        return path

    return write


def test_imports_and_nothing_else_change():
    new = rewrite(SCRIPT).source.splitlines()
    changed = [(i + 1, line) for i, line in enumerate(new) if line != SCRIPT.splitlines()[i]]
    assert changed == [
        (3, "import torch; import clifftop.compat.opacus as opacus"),
        (4, "from clifftop.compat.opacus import PrivacyEngine"),
        (5, "from clifftop.compat.opacus.utils.batch_memory_manager import BatchMemoryManager"),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import opacus", "import clifftop.compat.opacus as opacus"),
        ("import opacus.layers as l", "import clifftop.compat.opacus.layers as l"),
        (
            "import opacus.utils.batch_memory_manager",
            (
                "import clifftop.compat.opacus.utils.batch_memory_manager; "
                "import clifftop.compat.opacus as opacus"
            ),
        ),
        ("if x:\n    from opacus import (\n        PrivacyEngine,  # kept\n    )", None),
        (
            "é = 1; from opacus import PrivacyEngine as P  # opacus",
            "é = 1; from clifftop.compat.opacus import PrivacyEngine as P  # opacus",
        ),
        ("from .opacus import x", "from .opacus import x"),
        ("import opacuslike", "import opacuslike"),
        ("text = 'from opacus import x'", "text = 'from opacus import x'"),
    ],
)
def test_forms_of_imports(old, new):
    new = old.replace("from opacus", "from clifftop.compat.opacus") if new is None else new
    assert rewrite(f"{old}\n").source == f"{new}\n"


@pytest.mark.parametrize(
    "program",
    [
        "import opacus\nopacus.PrivacyEngine; opacus.utils",
        "import opacus.utils.batch_memory_manager\nopacus.utils.batch_memory_manager.BatchMemoryManager",
        "from opacus.validators.errors import UnsupportedModuleError",
        "from opacus.accountants import utils; utils.get_noise_multiplier",
    ],
)
def test_rewritten_imports_work(program):
    exec(compile(rewrite(program).source, "program", "exec"), {})
    assert not rewrite(program).missing


def test_numbers_are_read_from_constants_and_defaults():
    assert read_facts(SCRIPT) == Run(
        noise_multiplier=1.0, delta=1e-5, batch_size=256, epochs=15, accountant="rdp"
    )


def test_old_and_new_epsilon(run, script):
    document = json.loads(run("migrate", script(), "--num-examples", "60000", "--json").out)
    assert document["unknown"] == []
    assert document["epsilon"]["old"] == pytest.approx(OPACUS["rdp"], rel=1e-9)
    assert document["epsilon"]["new"]["upper"] == pytest.approx(1.3532, rel=1e-4)
    assert document["epsilon"]["relation"] == "add_or_remove_one"


# What the accountants of Opacus 1.6.0 state for the history [(1.0, 1 / 235, 3525)] at delta 1e-5.
OPACUS = {"rdp": 1.5577048517196213, "prv": 1.3593175468186258, "gdp": 1.2620168516112384}


@pytest.mark.parametrize(("accountant", "added"), [("rdp", 0), ("prv", 0.0101), ("gdp", 0)])
def test_the_old_epsilon_is_what_opacus_states(accountant, added):
    facts = read_facts(SCRIPT.replace('"rdp"', f'"{accountant}"')).updated(num_examples=60_000)
    assert compare(facts).old + added == pytest.approx(OPACUS[accountant], abs=1e-4)


def test_a_shuffled_loader_was_far_from_its_epsilon(run, script):
    text = SCRIPT.replace("poisson_sampling=True", "poisson_sampling=False")
    ran = run("migrate", script(text), "--num-examples", "60000")
    assert ran.code == 0
    assert "line 16: poisson_sampling=False" in ran.out
    assert "certified: epsilon <= 23.3" in ran.out
    assert "(zero_out)" in ran.out


def test_a_calibrated_run_is_calibrated_as_it_was():
    text = SCRIPT.replace("make_private(", "make_private_with_epsilon(").replace(
        "noise_multiplier=args.sigma", "target_epsilon=3, target_delta=1e-6, epochs=4"
    )
    facts = read_facts(text).updated(num_examples=60_000)
    assert (facts.noise_multiplier, facts.target_epsilon, facts.delta, facts.epochs) == (None, 3.0, 1e-6, 4)
    found = compare(facts)
    assert found.new.upper == pytest.approx(3.0, rel=0.02)


def test_what_is_not_known_is_asked_for(run, script):
    ran = run("migrate", script(SCRIPT.replace("EPOCHS = 15", "EPOCHS = len(x)")))
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == (
        "epsilon: to compare the old and the new one, pass --num-examples --epochs"
    )


@pytest.mark.parametrize(
    ("line", "topic", "blocks"),
    [
        ("PrivacyEngine(secure_mode=False)", "noise", False),
        ("PrivacyEngine(secure_mode=True, accountant='gdp')", "accountant", False),
        ("engine.make_private(data_loader=DataLoader(d, 8, drop_last=True))", "rate", False),
        ("engine.make_private(data_loader=DataLoader(d, 8, sampler=s))", "sampler", True),
        ("engine.make_private(clipping='per_layer')", "clipping", True),
        ("engine.make_private(rand_on_empty=True)", "arguments", True),
        ("engine.make_private(batch_first=False)", "arguments", True),
        ("engine.make_private(noise_generator=g)", "noise", False),
        ("ModuleValidator.fix(model)", "normalisation", False),
        ("engine.load_checkpoint(path=p)", "checkpoint", False),
        ("p.grad_sample", "gradients", True),
        ("PrivacyEngine(model, sample_rate=0.01)", "old", True),
        ("from opacus.schedulers import ExponentialNoise", "missing", True),
        ("import opacus.distributed", "missing", True),
    ],
)
def test_findings(line, topic, blocks):
    found = {finding.topic: finding for finding in examine(f"\n{line}\n")}
    assert found[topic].line == 2
    assert found[topic].blocks is blocks
    assert "\n" not in str(found[topic])
    assert topic not in {
        finding.topic for finding in examine("PrivacyEngine(secure_mode=True, accountant=a)")
    }


def test_what_must_be_changed_by_hand_fails(run, script):
    ran = run("migrate", script("from opacus.distributed import DPDDP\n"))
    assert ran.code == 1
    assert (
        "to change by hand:\n  line 1: opacus.distributed.DPDDP is not in clifftop.compat.opacus" in ran.out
    )


def test_a_copy_is_written_and_never_over_a_file(run, script, tmp_path):
    path = script()
    assert run("migrate", path, "--write", tmp_path / "new.py").code == 0
    assert (tmp_path / "new.py").read_text() == rewrite(SCRIPT).source
    assert path.read_text() == SCRIPT
    assert "File exists" in run("migrate", path, "--write", tmp_path / "new.py").complaint


@pytest.mark.parametrize(
    ("text", "word"),
    [("def f(:\n", "line 1"), ("import torch\n", "must import opacus"), (None, "No such file")],
)
def test_bad_input_is_one_line(run, script, tmp_path, text, word):
    path = tmp_path / "none.py" if text is None else script(text)
    assert word in run("migrate", path).complaint


def test_a_batch_larger_than_the_data(run, script):
    assert "num_examples=100" in run("migrate", script(), "--num-examples", "100").complaint


def test_the_command_needs_no_torch(script):
    program = (
        "import sys; from clifftop.cli.entry import main; "
        f"main(['migrate', {str(script())!r}, '--num-examples', '60000']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0
