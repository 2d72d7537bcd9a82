"""Run scripts, each in a process of its own, and write what came out as JSON, one line a script.

The processes are forks of one that has imported torch. It also runs scripts of Opacus itself, which is
how the two are compared by hand: the interpreter decides which package a script finds.
"""

import json
import os
import runpy
import sys
import warnings
from importlib import import_module
from importlib.util import find_spec


def run(path):
    """Run the script at ``path`` and tell of its objects."""
    out = runpy.run_path(path)
    model, optimizer = out["model"], out["optimizer"]
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {
        "script": path,
        "epsilon": out["epsilon"],
        "losses": out["losses"],
        "names": list(model.state_dict()),
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
        "updates": {name: float(sum(_norms(optimizer, p))) for name, p in trained.items()},
        "optimizer": type(optimizer).__name__,
        "noise_multiplier": optimizer.noise_multiplier,
        "steps": out["privacy_engine"].accountant.history[-1][2],
        "packages": sorted({name.split(".")[0] for name in sys.modules} & {"opacus", "clifftop"}),
    }


def _norms(optimizer, p):
    """What the optimiser has left of a parameter's gradients."""
    if p.grad is not None:
        yield p.grad.norm()
    for value in optimizer.state.get(p, {}).values():
        if hasattr(value, "norm"):
            yield value.float().norm()


def main(paths):
    """Fork, run, write."""
    for name in ("torch", "clifftop.compat.opacus" if find_spec("clifftop") else "opacus"):
        import_module(name)
    parameter = import_module("torch").zeros(1, requires_grad=True)
    import_module("torch.optim").SGD([parameter])  # the first optimiser imports a great deal more
    for path in paths:
        child = os.fork()
        if child == 0:
            sys.stdout.write(f"\n{json.dumps(run(path))}\n")
            sys.stdout.flush()
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.stdout.write(f"\n{json.dumps({'script': path, 'failed': True})}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:])
