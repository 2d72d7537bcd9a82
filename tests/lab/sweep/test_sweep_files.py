"""Files that describe a sweep, and files that describe none: one line with file, key and remedy."""

import re
import sys

import pytest

from clifftop.codec import from_json
from clifftop.lab.spec import Factory
from clifftop.lab.sweep import (
    Between,
    Choices,
    Counted,
    Optuna,
    Random,
    Release,
    Scale,
    SharingMode,
    Sobol,
    Sweep,
    SweepFileError,
    load_sweep,
)

CHANGES = {
    # what is there that should not be
    "unknown key": [('name = "small"', 'name = "small"\nsharring = "order"')],
    "unknown table": [("[privacy]", "[privcy]")],
    "unknown key in a table": [("epochs = 2", "epochs = 2\nepocs = 3")],
    "key of another table": [("[model]", "lr = 0.1\n[model]")],
    "unknown axis": [("lr = [", "learning_rate = [")],
    "unknown option": [(':net"', ':net"\nwidht = 3')],
    "unknown option as an axis": [("lr = [0.1", "model.widht = [1]\nlr = [0.1")],
    "unknown search key": [("[axes]", '[search]\nkind = "grid"\nn = 3\n[axes]')],
    # types
    "a string for a number": [("delta = 1e-3", 'delta = "1e-3"')],
    "a boolean for a number": [("clip_norm = 1.0", "clip_norm = true")],
    "a fraction for a count": [("expected_batch_size = 20", "expected_batch_size = 20.5")],
    "a number for a switch": [("[model]", "baselines = 1\n[model]")],
    "a number for counterfactuals": [("[model]", "counterfactuals = 1\n[model]")],
    "a string for per_layer": [("[model]", 'per_layer = "yes"\n[model]')],
    "a number for the original model": [("[model]", "original_model = 3\n[model]")],
    "an original model without a factory": [("[model]", "[original_model]\nwidth = 3\n[model]")],
    "a target of the original model that is none": [("[model]", 'original_model = "net"\n[model]')],
    "a number for a table": [
        ("[privacy]\ndelta = 1e-3\nclip_norm = 1.0", ""),
        ('name = "small"', 'name = "small"\nprivacy = 3'),
    ],
    "a number for the name": [('name = "small"', "name = 3")],
    "a number for an axis": [("lr = [0.1, 0.5, 1.0]", "lr = 0.1")],
    "a string in an axis of numbers": [("[0.1, 0.5", '["0.1", 0.5')],
    "a list in an axis": [("[0.1, 0.5", "[[0.1], 0.5")],
    "a number for a factory": [('factory = "MODULE:net"', "factory = 3")],
    "a table for an option": [(':net"', ':net"\nwidth = { a = 1 }')],
    "a string for metrics": [("[model]", 'metrics = "clifftop.criteria:accuracy"\n[model]')],
    # values
    "an axis with no values": [("lr = [0.1, 0.5, 1.0]", "lr = []")],
    "an axis with a value twice": [("[0.1, 0.5, 1.0]", "[0.1, 0.5, 0.1]")],
    "one number written in two ways": [("[1.0, 2.0]", "[1.0, 1]")],
    "infinity": [("clip_norm = 1.0", "clip_norm = inf")],
    "not a number in an axis": [("[0.1, 0.5", "[nan, 0.5")],
    "infinity in an option": [(':net"', ':net"\nwidth = inf')],
    "a range to infinity": [("lr = [0.1, 0.5, 1.0]", "lr = { low = 0.1, high = inf, num = 3 }")],
    "a range from zero on a log scale": [
        ("lr = [0.1, 0.5, 1.0]", 'lr = { low = 0.0, high = 1.0, scale = "log", num = 3 }')
    ],
    "a range upside down": [("lr = [0.1, 0.5, 1.0]", "lr = { low = 1.0, high = 0.1, num = 3 }")],
    "a range without a number of values": [("lr = [0.1, 0.5, 1.0]", "lr = { low = 0.1, high = 1.0 }")],
    "a range that lacks an end": [("lr = [0.1, 0.5, 1.0]", "lr = { low = 0.1, num = 3 }")],
    "a range with an unknown key": [("lr = [0.1, 0.5, 1.0]", "lr = { low = 0.1, hi = 1.0, num = 3 }")],
    "a range of nothing": [("lr = [0.1, 0.5, 1.0]", "lr = { start = 3, stop = 3 }")],
    "a range of names": [("lr = [0.1", "clipping = { start = 1, stop = 3 }\nlr = [0.1")],
    "delta out of range": [("delta = 1e-3", "delta = 1.0")],
    "no steps at all": [("epochs = 2", "epochs = 0")],
    "a negative noise multiplier": [("[1.0, 2.0]", "[1.0, -2.0]")],
    "an unknown clipping rule": [("clip_norm = 1.0", 'clip_norm = 1.0\nclipping = "flatt"')],
    "an unknown optimiser": [("[axes]", '[optimizer]\nname = "sdg"\n[axes]')],
    "an unknown sampler": [("clip_norm = 1.0", 'clip_norm = 1.0\nsampler = "poison"')],
    "an unknown sharing mode": [("[model]", 'sharing = "commn"\n[model]')],
    "an unknown search": [("[axes]", '[search]\nkind = "randm"\nn = 3\n[axes]')],
    "an unknown objective": [("[axes]", '[search]\nobjective = "f1"\n[axes]')],
    "a relation that a fixed order has not": [
        (
            "clip_norm = 1.0",
            'clip_norm = 1.0\nsampler = "fixed-order"\nneighboring_relation = "add_or_remove_one"',
        )
    ],
    # missing
    "no name": [('name = "small"', "")],
    "no delta": [("delta = 1e-3", "")],
    "no model": [('[model]\nfactory = "MODULE:net"', "")],
    "no length of training": [("epochs = 2", "")],
    "no noise": [("noise_multiplier = [1.0, 2.0]", "")],
    "no number of random points": [("[axes]", '[search]\nkind = "random"\n[axes]')],
    "an option without a default": [(":net", ":needs")],
    # both
    "two lengths of training": [("epochs = 2", "epochs = 2\nsteps = 5")],
    "noise and a target epsilon": [("clip_norm = 1.0", "clip_norm = 1.0\ntarget_epsilon = 1.0")],
    "a value and an axis": [("epochs = 2", "epochs = 2\nlr = 0.1")],
    "an option and an axis": [(':net"', ':net"\nwidth = 3'), ("lr = [0.1", "model.width = [4]\nlr = [0.1")],
    "a reader and a factory": [(':rows"', ':rows"\nreader = "csv"')],
    "two ways to evaluate": [("epochs = 2", "epochs = 2\nevaluate_every = 1\nevaluate_every_epochs = 1")],
    "releasing what shares noise": [("delta = 1e-3", 'delta = 1e-3\nrelease = "all"\nsecret_seeds = true')],
    "releasing what has known noise": [
        ("delta = 1e-3", 'delta = 1e-3\nrelease = "all"'),
        ("[model]", 'sharing = "order"\n[model]'),
    ],
    # factories
    "no such module": [("MODULE:net", "absent_module:net")],
    "no such callable": [(":net", ":nett")],
    "not callable": [(":net", ":not_callable")],
    "no factory's name": [("MODULE:net", "net")],
    "no such reader": [('factory = "MODULE:rows"', 'reader = "csvv"')],
    "no such metric": [("[model]", 'metrics = ["clifftop.criteria:acuracy"]\n[model]')],
}
"""What is changed in the small sweep's file, by what is wrong then."""

EXPECTED = {
    "unknown key": ("sharring", "did you mean 'sharing'"),
    "unknown table": ("privcy", "did you mean 'privacy'"),
    "unknown key in a table": ("training.epocs", "did you mean 'epochs'"),
    "key of another table": ("lr", "belongs to [training]"),
    "unknown axis": ("axes.learning_rate", "use one of"),
    "unknown option": ("model.widht", "did you mean 'width'"),
    "unknown option as an axis": ("model.widht", "did you mean 'width'"),
    "unknown search key": ("search.n", "remove it"),
    "a string for a number": ("privacy.delta", "without quotes"),
    "a boolean for a number": ("privacy.clip_norm", "found True"),
    "a fraction for a count": ("training.expected_batch_size", "found 20.5"),
    "a number for a switch": ("baselines", "write true or false"),
    "a number for counterfactuals": ("counterfactuals", "write true or false"),
    "a string for per_layer": ("per_layer", "write true or false"),
    "a number for the original model": ("original_model", "write [original_model]"),
    "an original model without a factory": ("original_model.factory", "below [original_model]"),
    "a target of the original model that is none": ("original_model.factory", "write the module, a colon"),
    "a number for a table": ("privacy", "write [privacy]"),
    "a number for the name": ("name", "give the sweep a short name"),
    "a number for an axis": ("axes.lr", "write [value, value]"),
    "a string in an axis of numbers": ("axes.lr", "without quotes"),
    "a list in an axis": ("axes.lr", "found [0.1]"),
    "a number for a factory": ("model.factory", '"module:callable"'),
    "a table for an option": ("model.width", "found width={'a': 1}"),
    "a string for metrics": ("metrics", "write ['module:callable']"),
    "an axis with no values": ("axes.lr", "remove the axis"),
    "an axis with a value twice": ("axes.lr", "found 0.1 more than once"),
    "one number written in two ways": ("axes.noise_multiplier", "found 1.0 more than once"),
    "infinity": ("privacy.clip_norm", "found inf"),
    "not a number in an axis": ("axes.lr", "found nan"),
    "infinity in an option": ("model.width", "found inf"),
    "a range to infinity": ("axes.lr", "found high=inf"),
    "a range from zero on a log scale": ("axes.lr", "use linear"),
    "a range upside down": ("axes.lr", "swap them"),
    "a range without a number of values": ("axes.lr", "add num = 5"),
    "a range that lacks an end": ("axes.lr", "found no high"),
    "a range with an unknown key": ("axes.lr", "did you mean 'high'"),
    "a range of nothing": ("axes.lr", "stop itself is left out"),
    "a range of names": ("axes.clipping", "write the names"),
    "delta out of range": ("privacy.delta", "< 1"),
    "no steps at all": ("training.epochs", "> 0"),
    "a negative noise multiplier": ("axes.noise_multiplier", "found -2.0"),
    "an unknown clipping rule": ("privacy.clipping", "did you mean 'flat'"),
    "an unknown optimiser": ("optimizer.name", "did you mean 'sgd'"),
    "an unknown sampler": ("privacy.sampler", "did you mean 'poisson'"),
    "an unknown sharing mode": ("sharing", "did you mean 'common'"),
    "an unknown search": ("search.kind", "did you mean 'random'"),
    "an unknown objective": ("search.objective", "one of loss, accuracy"),
    "a relation that a fixed order has not": ("privacy.neighboring_relation", "use zero_out"),
    "no name": ("name", "add it"),
    "no delta": ("privacy.delta", "add it"),
    "no model": ("model.factory", "below [model]"),
    "no length of training": ("training.epochs", "no epochs or steps"),
    "no noise": ("privacy.target_epsilon", "no target_epsilon or noise_multiplier"),
    "no number of random points": ("search.n", "add n = 32"),
    "an option without a default": ("model.width", "no default"),
    "two lengths of training": ("training.epochs", "beside steps"),
    "noise and a target epsilon": ("privacy.target_epsilon", "beside axes.noise_multiplier"),
    "a value and an axis": ("training.lr", "beside axes.lr"),
    "an option and an axis": ("model.width", "beside axes.model.width"),
    "a reader and a factory": ("data.reader", "remove one"),
    "two ways to evaluate": ("training.evaluate_every", "remove one"),
    "releasing what shares noise": ("privacy.release", "'independent'"),
    "releasing what has known noise": ("privacy.release", "secret_seeds = true"),
    "no such module": ("model.factory", "PYTHONPATH"),
    "no such callable": ("model.factory", "did you mean 'net'"),
    "not callable": ("model.factory", "of type int"),
    "no factory's name": ("model.factory", "a colon"),
    "no such reader": ("data.reader", "did you mean 'csv'"),
    "no such metric": ("metrics", "did you mean 'accuracy'"),
}
"""The key that each error names, and words of its remedy."""


def complaint(file) -> str:
    with pytest.raises(SweepFileError) as caught:
        load_sweep(file)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("wrong", CHANGES)
def test_a_malformed_file_is_named_with_key_and_remedy(folder, wrong):
    file = folder.toml(*CHANGES[wrong])
    before = sorted(folder.path.iterdir())
    key, words = EXPECTED[wrong]
    line = complaint(file)
    assert line.startswith(f"{file}: {key}: ")
    assert words in line
    assert re.search("must|needs", line)
    assert [path for path in sorted(folder.path.iterdir()) if path.name != "__pycache__"] == before


def test_every_case_has_its_expectation():
    assert CHANGES.keys() == EXPECTED.keys()
    assert len(CHANGES) >= 30


def test_what_is_no_toml_is_named_with_its_line(folder):
    file = folder.toml(("epochs = 2", "epochs == 2"))
    assert "(at line 16, column 9)" in complaint(file)


def test_what_is_no_text_is_refused(folder):
    file = folder.path / "sweep.toml"
    file.write_bytes(b'name = "\xff"')
    assert "must be text in UTF-8, found byte 8" in complaint(file)


@pytest.mark.parametrize("name", ["absent.toml", "absent.py"])
def test_a_file_that_is_not_there_is_named(folder, name):
    assert complaint(folder.path / name).startswith(
        f"{folder.path / name}: must be a sweep file, found no such file"
    )


def test_a_folder_is_no_sweep_file(folder):
    assert "found a folder" in complaint(folder.path)


def test_a_module_that_raises_is_told_with_type_and_text(folder):
    (folder.path / f"{folder.module}.py").write_text("raise RuntimeError('no\\nlicence')")
    line = complaint(folder.toml())
    assert (
        f"model.factory: must name a module that imports, found RuntimeError: no licence in {folder.module}"
        in line
    )


def test_a_module_of_the_same_name_elsewhere_is_not_taken_for_it(folder, tmp_path_factory):
    load_sweep(folder.toml())
    other = tmp_path_factory.mktemp("other")
    (other / f"{folder.module}.py").write_text("def net(): ...")
    (other / "sweep.toml").write_text(folder.toml().read_text())
    assert "give your module another name" in complaint(other / "sweep.toml")


def test_a_whole_file(folder):
    file = folder.write(
        """
        name = "whole"
        sharing = "order"
        baselines = true
        criterion = "clifftop.criteria:cross_entropy"
        metrics = ["clifftop.criteria:accuracy"]

        [model]
        factory = "MODULE:net"
        classes = 3

        [data]
        factory = "MODULE:rows"
        seed = 5

        [privacy]
        delta = 1e-5
        sampler = "fixed-order"
        neighboring_relation = "replace_one"
        target_epsilon = 3
        release = "best"
        secret_seeds = true

        [training]
        expected_batch_size = 20
        evaluate_every_epochs = 2

        [optimizer]
        momentum = 0.9

        [axes]
        clipping = ["flat", "automatic"]
        clip_norm = { low = 0.1, high = 10, scale = "log", num = 3 }
        lr = { low = 0.1, high = 1, num = 2 }
        epochs = [1, 2]
        optimizer = ["sgd", "rmsprop"]
        optimizer.weight_decay = [0.0, 0.1]
        seed = { start = 3, stop = 9, step = 2 }
        model.width = [4, 8]

        [search]
        kind = "random"
        n = 6
        seed = 1
        cross = ["clipping"]
        objective = "loss"
        """.replace('optimizer = ["sgd", "rmsprop"]\n        ', ""),
        name="whole.toml",
    )
    sweep = load_sweep(file)
    assert sweep.model == Factory(target=f"{folder.module}:net", options={"classes": 3})
    assert sweep.search == Random(n=6, seed=1, cross=("clipping",))
    assert sweep.axes["clip_norm"] == Between(low=0.1, high=10.0, scale=Scale.LOG, num=3)
    assert sweep.axes["seed"] == Choices((3, 5, 7))
    assert sweep.axes["optimizer.weight_decay"] == Choices((0.0, 0.1))
    assert list(sweep.axes)[:3] == ["seed", "model.width", "optimizer.weight_decay"]
    assert (sweep.sharing, sweep.release, sweep.goal.metric, sweep.goal.maximize) == (
        SharingMode.ORDER,
        Release.BEST,
        "loss",
        False,
    )
    assert len(sweep.points()) == 6 * 2 * 3
    assert from_json(sweep.canonical, Sweep) == sweep


@pytest.mark.parametrize(
    ("written", "search"),
    [
        ('kind = "sobol"\nn = 4\nseed = 2', Sobol(n=4, seed=2)),
        (
            'kind = "optuna"\nn = 4\nround_size = 2\ncross = ["noise_multiplier"]',
            Optuna(n=4, round_size=2, cross=("noise_multiplier",)),
        ),
    ],
)
def test_other_searches(folder, written, search):
    assert load_sweep(folder.toml(("[axes]", f"[search]\n{written}\n[axes]"))).search == search


def test_a_reader_is_a_factory_of_the_readers(folder):
    (folder.path / "rows.csv").write_text("a,b,c,d,label\n" + "1,2,3,4,0\n" * 20)
    path = folder.path / "rows.csv"
    sweep = load_sweep(
        folder.toml(('factory = "MODULE:rows"', f'reader = "csv"\npath = "{path}"\ntarget = "label"'))
    )
    assert sweep.data == Factory(
        target="clifftop.datasets.readers:csv", options={"path": str(path), "target": "label"}
    )


def python_sweep(module: str) -> str:
    return f"""
        from clifftop.lab.sweep import Sweep

        def local_net(*, width=5):
            import {module}
            return {module}.net(width=width)

        sweep = Sweep(
            name="from-python", model=STEM, data="{module}:rows", delta=1e-3, lr=0.1, steps=3,
            expected_batch_size=10, clip_norm=1.0, axes={{"noise_multiplier": [1.0], "model.width": [3, 5]}},
        )
        """


def test_a_python_file_may_hold_its_own_factories(folder):
    stem = f"{folder.module}_sweep"
    file = folder.write(python_sweep(folder.module).replace("STEM", f'"{stem}:local_net"'), name=f"{stem}.py")
    sweep = load_sweep(file)
    assert sweep.name == "from-python"
    assert sweep.model.resolve()(width=4)[0].out_features == 4
    assert load_sweep(file) == sweep
    del sys.modules[stem]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sweeps = 3", "must define sweep = Sweep(...), found sweep=None"),
        ("sweep = 3", "must define sweep = Sweep(...), found sweep=3"),
        ("\n\nx = 1 / 0", ", line 3: must run, found ZeroDivisionError: division by zero"),
        ("x = (", "must run, found SyntaxError"),
        (
            "import absent_module",
            ", line 1: must run, found ModuleNotFoundError: No module named 'absent_module'",
        ),
        (
            "from clifftop.lab.sweep import Sweep\nsweep = Sweep(name='x', model='a:b', data='a:b', delta=2)",
            ", line 2: delta: must be > 0 and < 1, found 2",
        ),
    ],
)
def test_a_malformed_python_file_is_named_with_its_line(folder, text, words):
    line = complaint(folder.write(text, name=f"{folder.module}_bad.py"))
    assert words in line
    assert f"{folder.module}_bad" not in sys.modules


def test_counted_axes_of_an_option_stay_a_range(folder):
    sweep = load_sweep(
        folder.toml(("lr = [0.1", "model.width = { start = 4, stop = 10, step = 4 }\nlr = [0.1"))
    )
    assert sweep.axes["model.width"] == Counted(start=4, stop=10, step=4)
