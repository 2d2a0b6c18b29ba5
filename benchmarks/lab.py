"""What experiments cost, and whether their verdicts are right: writes benchmarks/lab.md and prints it.

    python benchmarks/lab.py

Start-up: a script that only imports PyTorch, cold (`python script.py`) and as an experiment of a warm server, interleaved.
Efficiency: the time that trainings took, summed up, over the wall time and the number of workers. The search is measured on a
made-up objective of three knobs against Optuna's own samplers with the same budget. Error rates are those of whole stages over
made-up trainings.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import optuna

from trainrecipe.journal.store import Journal
from trainrecipe.lab.experiment import Experiment, Result
from trainrecipe.lab.pool import Pool, cores
from trainrecipe.stages.comparison import compare
from trainrecipe.stages.tune import parse, tune

ROOT = Path(__file__).resolve().parent.parent
EMPTY = "import torch\nprint('val loss', 1.0)\n"
BUSY = """
import torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
opt = torch.optim.SGD(net.parameters(), lr=0.1)
x, y = torch.randn(256, 256), torch.randint(0, 10, (256,))
for _ in range(STEPS):
    opt.zero_grad()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    opt.step()
print("val loss", 1.0)
"""
SPACE = ("rate=1e-5..1", "width=8..512", "drop=0..0.8")


def start_up(folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of a cold start and of a warm one."""
    script = folder / "empty.py"
    script.write_text(EMPTY)
    cold, warm = [], []
    with Pool(folder / "lab", workers=1) as pool:
        next(iter(pool.run([Experiment(str(script), seed=-1)])))  # the server is up
        for i in range(rounds):
            started = time.perf_counter()
            subprocess.run([sys.executable, str(script)], capture_output=True, check=True)
            cold.append(time.perf_counter() - started)
            started = time.perf_counter()
            next(iter(pool.run([Experiment(str(script), seed=i)])))
            warm.append(time.perf_counter() - started)
    return cold, warm


def efficiency(folder: Path, workers: int, each: int, steps: int) -> tuple[float, float]:
    """The share of the workers' time that trainings took, beside the time that one takes alone over that among others."""
    script = folder / "busy.py"
    script.write_text(BUSY.replace("STEPS", str(steps)))
    with Pool(folder / "lab", workers=1) as pool:
        alone = statistics.median(r.seconds for r in pool.run([Experiment(str(script), seed=-1 - i) for i in range(3)]))
    with Pool(folder / "lab", workers=workers) as pool:
        list(pool.run([Experiment(str(script), seed=1000 + i) for i in range(workers)]))  # the servers are up
        started = time.perf_counter()
        results = list(pool.run([Experiment(str(script), seed=i) for i in range(workers * each)]))
        wall = time.perf_counter() - started
    assert all(r.good for r in results), results[0].error
    together = [r.seconds for r in results]
    return sum(together) / wall / workers, alone / statistics.median(together)


def journal_writes(folder: Path, number: int) -> float:
    """Events per second."""
    log = Journal.at(folder).new_run(command="benchmark", script="none")
    started = time.perf_counter()
    for i in range(number):
        log.append("scalar", name="loss", step=i, value=1.0 / (i + 1))
    taken = time.perf_counter() - started
    log.close()
    return number / taken


def score(values: dict[str, float], noise: float, seed: Sequence[int]) -> float:
    """The made-up objective: best, 1, at a rate of 1e-2, a width of 128 and a drop of 0.3."""
    apart = (
        (math.log10(values["rate"]) + 2) ** 2 / 4 + (math.log2(values["width"]) - 7) ** 2 / 16 + 3 * (values["drop"] - 0.3) ** 2
    )
    return 1 - apart + noise * float(np.random.default_rng(seed).normal())


class Landscape:
    """Trainings with that score."""

    def __init__(self, offset: int, noise: float) -> None:
        self.offset, self.noise = offset, noise

    def __call__(self, experiments: Sequence[Experiment]) -> Iterable[Result]:
        for e in experiments:
            given = {"rate": 1e-4, "width": 32.0, "drop": 0.0} | {k: float(v) for k, v in (c.split("=") for c in e.changes)}
            seed = [self.offset, e.seed, zlib.crc32(repr(e.changes).encode())]
            yield Result(e, "finished", 1.0, 1, {"val acc": [(1, score(given, self.noise, seed))]})


def searches(repeats: int, trials: int, noise: float) -> dict[str, list[float]]:
    """The true score of what each search thinks best, over repetitions."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, list[float]] = {"recipe tune": [], "Optuna, TPE": [], "Optuna, random": []}
    for i in range(repeats):
        report = tune(Landscape(i, noise), Experiment("none.py"), [parse(s) for s in SPACE], trials=trials, at_once=2)
        ends = report.trials[report.best.number].changes if report.best else ()
        found["recipe tune"].append(score({k: float(v) for k, v in (c.split("=") for c in ends)}, 0.0, [0]))
        for name, sampler in (("TPE", optuna.samplers.TPESampler(seed=i)), ("random", optuna.samplers.RandomSampler(seed=i))):
            study = optuna.create_study(direction="maximize", sampler=sampler)
            study.optimize(lambda trial, i=i: score(_suggested(trial), noise, [i, trial.number]), n_trials=trials)  # type: ignore[misc]
            found[f"Optuna, {name}"].append(score(study.best_params, 0.0, [0]))
    return found


def _suggested(trial: optuna.Trial) -> dict[str, float]:
    return {
        "rate": trial.suggest_float("rate", 1e-5, 1, log=True),
        "width": trial.suggest_int("width", 8, 512, log=True),
        "drop": trial.suggest_float("drop", 0, 0.8),
    }


def false_alarms(stages: int, changes: int, seeds: int) -> float:
    """Share of stages in which a change that does nothing is told to help or hurt."""

    def run(experiments: Sequence[Experiment]) -> Iterable[Result]:
        for e in experiments:
            own = np.random.default_rng([e.seed, zlib.crc32(repr(e.changes).encode())]).normal()
            yield Result(e, "finished", 1.0, 1, {"val acc": [(1, float(np.random.default_rng(e.seed).normal() + 0.5 * own))]})

    alarms = 0
    for i in range(stages):
        found = compare(run, Experiment("none.py"), [f"change={c}" for c in range(changes)], range(100 * i, 100 * i + seeds))
        alarms += any(v.verdict in ("helps", "hurts") for v in found.verdicts)
    return alarms / stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of it, for a look; writes no file")
    quick = parser.parse_args().quick
    lines = [
        "# Experiments",
        "",
        f"Written by `benchmarks/lab.py` on {cores()} cores.",
        "",
        "| measured | value |",
        "|---|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = start_up(Path(folder), 3 if quick else 15)
        lines.append(f"| start of a script that imports PyTorch, cold, median | {statistics.median(cold):.2f} s |")
        lines.append(f"| the same as an experiment of a warm server | {statistics.median(warm):.2f} s |")
        share, slowed = efficiency(Path(folder), cores(), 2 if quick else 8, 500 if quick else 3000)
        lines.append(f"| share of the workers' time that trainings took ({cores()} workers) | {share:.2f} |")
        lines.append(f"| time of one training alone over that among others | {slowed:.2f} |")
        lines.append(f"| journal, events a second | {journal_writes(Path(folder), 2000 if quick else 20000):,.0f} |")
    rate = false_alarms(100 if quick else 2000, 6, 5)
    lines.append(f"| stages of 6 useless changes, 5 seeds, with a false verdict (promised: 5 %) | {rate:.1%} |")
    lines += ["", "True score (best: 1) of what a search of 40 trials thinks best, mean over repetitions:", ""]
    lines += ["| search | no noise | noise of 0.1 |", "|---|---:|---:|"]
    plain, noisy = (searches(3 if quick else 20, 40, noise) for noise in (0.0, 0.1))
    lines += [f"| {name} | {statistics.mean(plain[name]):.3f} | {statistics.mean(noisy[name]):.3f} |" for name in plain]
    text = "\n".join(lines) + "\n"
    print(text)
    if not quick:
        (ROOT / "benchmarks" / "lab.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
