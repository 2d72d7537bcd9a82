"""The parts of ``benchmarks/step_cost.py``: tasks, engines, the process that runs one, the one that asks."""
