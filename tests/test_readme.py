"""The README's numbers come from the code, and its example runs."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_is_what_the_code_computes():
    """If this fails: python scripts/readme.py."""
    spec = importlib.util.spec_from_file_location("readme_script", ROOT / "scripts/readme.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.filled(README) == README
    assert script.filled(README.replace("28.374", "28.373")) == README


def test_epsilons_are_rounded_up():
    spec = importlib.util.spec_from_file_location("readme_script", ROOT / "scripts/readme.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.digits(28.3735001) == "28.374"
    assert script.digits(0.69399753) == "0.6940"
    assert script.digits(101906.32) == "101,910"


def test_the_example_runs(capsys):
    code = re.search(r"<!-- example -->\n```python\n(.*?)```", README, flags=re.DOTALL)[1]
    exec(compile(code, "README.md", "exec"), {})
    assert "Bound(lower=" in capsys.readouterr().out
