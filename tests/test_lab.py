"""Experiments: kept results, crashes and limits as results, noise against known truth, and the stage on planted answers."""

from __future__ import annotations

import dataclasses
import math
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from trainrecipe.lab.experiment import Effect, Experiment, Kept, Result
from trainrecipe.lab.noise import holm, noise, paired, resolution, seeds_needed
from trainrecipe.lab.pool import Pool
from trainrecipe.lab.series import chosen, told
from trainrecipe.stages.comparison import compare
from trainrecipe.stages.knobs import knobs
from trainrecipe.stages.regularize import regularize
from trainrecipe.stages.tune import Range, parse, tune
from trainrecipe.wrong_use import WrongUse

# ---- what a script tells


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("epoch 3: loss 0.31 accuracy 0.93", [("epoch", 3), ("loss", 0.31), ("accuracy", 0.93)]),
        ("val_loss=1.2e-3, val_acc=93.5%", [("val_loss", 0.0012), ("val_acc", 93.5)]),
        ("step   40 | train loss: 2 | test acc: .5", [("step", 40), ("train loss", 2), ("test acc", 0.5)]),
        ("best val acc so far 0.9", [("acc so far", 0.9)]),
        ("loss nan", [("loss", math.nan)]),
        ("v1.2.3 of resnet50 on 2024-01-05", []),
        ("0.3 0.4", []),
    ],
)
def test_numbers_have_the_words_before_them_as_names(line: str, expected: list[tuple[str, float]]) -> None:
    found = list(told(line))
    assert [n for n, _ in found] == [n for n, _ in expected] or not expected
    assert all(a == pytest.approx(b, nan_ok=True) for (_, a), (_, b) in zip(found, expected, strict=False))


def test_a_held_out_score_is_what_a_training_is_judged_by() -> None:
    assert chosen(["epoch", "loss", "val loss", "test acc"]) == ("test acc", 1)
    assert chosen(["loss", "valid_loss"]) == ("valid_loss", -1)
    assert chosen(["captured test accuracy", "val acc"])[0] == "val acc"
    assert chosen(["loss", "perplexity"], "perplexity") == ("perplexity", -1)
    with pytest.raises(WrongUse, match="no such number; did you mean 'val acc'"):
        chosen(["val acc"], "val_acc")
    assert chosen(["elbo"], "+elbo") == ("elbo", 1)
    assert chosen(["val acc"], "-val acc") == ("val acc", -1)
    with pytest.raises(WrongUse, match=r"say \+elbo where higher is"):
        chosen(["elbo"], "elbo")
    with pytest.raises(WrongUse, match="says by its name what is better"):
        chosen(["epoch", "step"])


# ---- noise


def test_intervals_of_pairs_hold_what_they_promise() -> None:
    rng, hits, alarms = np.random.default_rng(0), 0, 0
    for _ in range(2000):
        shared, before, after = rng.normal(0, 3, 5), rng.normal(0, 1, 5), rng.normal(0.5, 1, 5)
        effect = paired(list(shared + before), list(shared + after))
        hits += effect.low <= 0.5 <= effect.high
        null = paired(list(shared + before), list(shared + rng.normal(0, 1, 5)))
        alarms += null.p < 0.05
    assert 0.935 < hits / 2000 < 0.965
    assert 0.035 < alarms / 2000 < 0.065


def test_as_many_seeds_as_are_said_to_be_needed_find_the_difference() -> None:
    rng = np.random.default_rng(1)
    needed = seeds_needed(1.0, 0.8)
    found = [paired([0.0] * needed, list(rng.normal(0.8, 1.0, needed))).p < 0.05 for _ in range(2000)]
    assert 0.75 < np.mean(found) < 0.87
    assert resolution(1.0, needed) == pytest.approx(0.8, rel=0.1)


def test_corrected_p_values_keep_the_promise_over_many_changes() -> None:
    rng = np.random.default_rng(2)
    any_alarm = [min(holm(list(rng.uniform(size=8)))) < 0.05 for _ in range(2000)]
    assert np.mean(any_alarm) < 0.065
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert noise([1.0]).high == math.inf


# ---- the pool


def _script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "train.py"
    path.write_text(text)
    return str(path)


GOOD = """
import sys
import torch
torch.manual_seed(3)
w = torch.nn.Parameter(torch.randn(4))
opt = torch.optim.SGD([w], lr=0.1)
for _ in range(5):
    opt.zero_grad()
    w.square().sum().backward()
    opt.step()
print("val loss", w.square().sum().item())
"""


def test_results_are_kept_and_found_again(tmp_path: Path) -> None:
    script = _script(tmp_path, GOOD)
    experiments = [Experiment(script, seed=s) for s in range(3)]
    with Pool(tmp_path / "lab", workers=2) as pool:
        first = {r.experiment: r for r in pool.run(experiments)}
    assert [r.status for r in first.values()] == ["finished"] * 3
    assert len({r.value("val loss") for r in first.values()}) == 3
    began = time.perf_counter()
    with Pool(tmp_path / "lab", workers=2) as pool:
        again = {r.experiment: r for r in pool.run(experiments)}
    assert time.perf_counter() - began < 1
    assert {e: r.series for e, r in again.items()} == {e: r.series for e, r in first.items()}
    _script(tmp_path, GOOD.replace("lr=0.1", "lr=0.2"))
    assert Kept(tmp_path / "lab").get(experiments[0]) is None  # another text is another experiment


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("import torch\nraise RuntimeError('no such file')", "failed", "no such file"),
        ("import os, signal, torch\nos.kill(os.getpid(), signal.SIGKILL)", "killed", "SIGKILL"),
        ("import time, torch\ntime.sleep(60)", "timeout", ""),
        ("import torch, time\nx = torch.ones(150_000_000)\ntime.sleep(60)", "memory", ""),
        ("import os, torch\nos._exit(3)", "failed", "3"),
    ],
    ids=["raises", "killed", "too long", "too large", "exits"],
)
def test_what_goes_wrong_in_an_experiment_is_its_result(tmp_path: Path, text: str, status: str, said: str) -> None:
    script = _script(tmp_path, text)
    other = tmp_path / "good.py"
    other.write_text(GOOD)
    limits = {"seconds": 20.0 if status != "timeout" else 4.0, "memory": 700 << 20 if status == "memory" else 0}
    with Pool(tmp_path / "lab", workers=1, **limits) as pool:  # type: ignore[arg-type]
        bad, good = pool.run([Experiment(script), Experiment(str(other))])
    assert bad.status == status
    assert said in bad.error
    assert good.status == "finished"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_pool_that_is_ended_leaves_no_process_and_keeps_what_is_there(tmp_path: Path, how: signal.Signals) -> None:
    script = _script(tmp_path, GOOD + "import time\ntime.sleep(0.2 if len(sys.argv) < 2 else 100)\n")
    code = f"""
from pathlib import Path
from trainrecipe.lab.experiment import Experiment
from trainrecipe.lab.pool import Pool
with Pool(Path({str(tmp_path / "lab")!r}), workers=1) as pool:
    for result in pool.run([Experiment({script!r}), Experiment({script!r}, ("long",))]):
        print(result.status, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "finished\n"
        time.sleep(1)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 2  # the server and the experiment
        process.send_signal(how)
        process.communicate(timeout=10)
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert Kept(tmp_path / "lab").get(Experiment(script)) is not None


def test_a_result_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "lab").write_text("a file where the folder should be")
    with Pool(tmp_path / "lab", workers=1) as pool, pytest.raises(WrongUse, match="cannot be kept"):
        list(pool.run([Experiment(_script(tmp_path, GOOD))]))


# ---- the stage, on trainings whose truth is known


class Made:
    """Trainings with known effects in place of real ones: `score + effects + noise`, with the same noise for the same seed."""

    def __init__(self, effects: dict[str, float], shared: float = 1.0, own: float = 0.1) -> None:
        self.effects, self.shared, self.own = effects, shared, own
        self.made = 0

    def __call__(self, experiments: Sequence[Experiment]) -> Iterable[Result]:
        for e in experiments:
            self.made += 1
            rng = np.random.default_rng([zlib.crc32(repr(e.changes).encode()), e.seed])
            value = 50 + self.shared * np.random.default_rng(e.seed).normal() + self.own * rng.normal()
            value += sum(self.effects.get(c, 0.0) for c in e.changes)
            effects = tuple(Effect(c, c != "clip=1.0", "said") for c in e.changes)
            yield Result(e, "finished", 1.0, 10, {"val acc": [(10, value)]}, effects)


def test_a_planted_regulariser_is_kept_and_a_useless_one_is_not() -> None:
    run = Made(
        {
            "dropout=0.2": 1.0,
            "weight_decay=0.1": 0.6,
            "label_smoothing=0.1": -0.8,
            "train_fraction=0.5": -2,
            "train_fraction=0.25": -4,
        }
    )
    changes = ["dropout=0.2", "weight_decay=0.1", "label_smoothing=0.1", "batch_size=x2", "clip=1.0"]
    report = regularize(run, Experiment("train.py"), changes=changes, seeds=6)
    verdicts = {v.change: v.verdict for v in report.comparison.verdicts}
    assert verdicts == {
        "dropout=0.2": "helps",
        "weight_decay=0.1": "helps",
        "label_smoothing=0.1": "hurts",
        "batch_size=x2": "within noise",
        "clip=1.0": "no effect",
    }
    assert report.kept == ("dropout=0.2", "weight_decay=0.1")
    assert report.stacked is not None
    assert report.stacked.low < 1.6 < report.stacked.high
    assert report.curve is not None
    assert report.curve.more is not None
    assert report.curve.more.low < 2 < report.curve.more.high  # the gain of each doubling is planted as the same


def test_changes_that_do_nothing_are_told_to_help_as_rarely_as_promised() -> None:
    alarms = 0
    for trial in range(300):
        run = Made({})
        seeds = range(1000 * trial, 1000 * trial + 4)
        found = compare(run, Experiment("train.py"), [f"knob={i}" for i in range(5)], list(seeds))
        alarms += any(v.verdict in ("helps", "hurts") for v in found.verdicts)
    assert alarms / 300 < 0.08  # promised: 5 % of stages


def test_a_stage_needs_noise_to_judge_by() -> None:
    with pytest.raises(WrongUse, match="two seeds"):
        regularize(Made({}), Experiment("train.py"), changes=["dropout=0.2"], seeds=1)


# ---- knobs


def test_knobs_of_a_script_are_listed_with_their_values(tmp_path: Path) -> None:
    script = _script(
        tmp_path,
        "import argparse\nHIDDEN = 64\nclass Config:\n    depth: int = 3\np = argparse.ArgumentParser()\n"
        "p.add_argument('--lr', type=float, default=1e-3)\np.add_argument('-n', '--epochs', type=int, default=5)\n",
    )
    found = {k.name: (k.kind, k.now) for k in knobs(script)}
    assert found["HIDDEN"] == ("constant", "64")
    assert found["Config.depth"] == ("constant", "3")
    assert found["--lr"] == ("flag", "0.001")
    assert found["--epochs"] == ("flag", "5")
    assert found["dropout"][0] == "intervention"


# ---- search


class Landscape:
    """Trainings whose score is known: best at a learning rate of 1e-2 and a width of 64, where `noise` allows."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise, self.made = noise, 0

    def __call__(self, experiments: Sequence[Experiment]) -> Iterable[Result]:
        for e in experiments:
            self.made += 1
            given = {"learning_rate": "0.3", "width": "16", **dict(c.split("=") for c in e.changes)}
            rate, width = math.log10(float(given["learning_rate"])), math.log2(float(given["width"]))
            value = 0.9 - 0.05 * (rate + 2) ** 2 - 0.002 * (width - 6) ** 2
            value += self.noise * np.random.default_rng([e.seed, zlib.crc32(repr(e.changes).encode())]).normal()
            failed = "width=128" in e.changes
            yield Result(e, "failed" if failed else "finished", 1.0, 10, {"val acc": [(10, value)]}, error="no memory")


SPACE = ["learning_rate=1e-5..1", "width=8..256"]


def test_a_search_finds_the_planted_best_and_tells_what_matters() -> None:
    run = Landscape(0.002)
    report = tune(run, Experiment("train.py"), [parse(s) for s in SPACE], trials=40, at_once=2)
    assert report.best is not None
    assert report.best.value > 0.89
    assert max(report.importance, key=lambda k: report.importance[k]) == "learning_rate"
    assert report.confirmed is not None
    assert report.confirmed.helps
    again = tune(Landscape(0.002), Experiment("train.py"), [parse(s) for s in SPACE], trials=40, at_once=2)
    assert [t.changes for t in again.trials] == [t.changes for t in report.trials]  # so that a search goes on where it was


def test_a_search_bears_trials_that_fail_and_warns_of_grids() -> None:
    space = [parse("learning_rate=0.001,0.01,0.1"), parse("width=32,64,128")]
    report = tune(Landscape(), Experiment("train.py"), space, trials=12)
    assert any("grid" in note for note in report.notes)
    assert any("trials failed" in note for note in report.notes)
    assert report.best is not None
    assert set(report.best.changes) == {"learning_rate=0.01", "width=64"}


def test_where_everything_is_equal_no_winner_is_believed() -> None:
    class Flat(Landscape):
        def __call__(self, experiments: Sequence[Experiment]) -> Iterable[Result]:
            for e in experiments:
                value = float(np.random.default_rng([e.seed, zlib.crc32(repr(e.changes).encode())]).normal())
                yield Result(e, "finished", 1.0, 10, {"val acc": [(10, value)]})

    believed = 0
    for trial in range(40):
        start = Experiment("train.py", args=(str(trial),))
        report = tune(_seeded(Flat(), trial), start, [parse(SPACE[0])], trials=6, seeds=4)
        believed += bool(report.confirmed and report.confirmed.helps)
    assert believed <= 5  # promised: 5 % of searches, half of them by a difference in the better direction


def _seeded(run: Landscape, trial: int) -> Landscape:
    class Shifted(Landscape):
        def __call__(self, experiments: Sequence[Experiment]) -> Iterable[Result]:
            moved = {dataclasses.replace(e, seed=e.seed + 10_000 * trial): e for e in experiments}
            return [dataclasses.replace(r, experiment=moved[r.experiment]) for r in run(list(moved))]

    return Shifted()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr=1e-4..1e-1", Range("lr", 1e-4, 1e-1, log=True)),
        ("dropout=0..0.5", Range("dropout", 0.0, 0.5)),
        ("width=32..512", Range("width", 32, 512, whole=True)),
        ("width=1..512", Range("width", 1, 512, log=True, whole=True)),
        ("kind=a, b", Range("kind", values=("a", "b"))),
    ],
)
def test_ranges_are_read(text: str, expected: Range) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["lr", "lr=", "lr=1", "lr=2..1", "lr=a..b"])
def test_wrong_ranges_are_refused(text: str) -> None:
    with pytest.raises(WrongUse):
        parse(text)


# ---- from the command line

TRAIN = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WIDTH = 16
torch.manual_seed(0)
x = torch.randn(400, 8)
y = (x[:, 0] * x[:, 1] > 0).long()
train = DataLoader(TensorDataset(x[:300], y[:300]), batch_size=30, shuffle=True)
net = nn.Sequential(nn.Linear(8, WIDTH), nn.ReLU(), nn.Dropout(0.1), nn.Linear(WIDTH, 2))
opt = torch.optim.SGD(net.parameters(), lr=1e-4)
for epoch in range(4):
    net.train()
    for a, b in train:
        loss = nn.functional.cross_entropy(net(a), b)
        opt.zero_grad()
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print("val acc", (net(x[300:]).argmax(1) == y[300:]).float().mean().item())
open("weights.txt", "w").write("mine")
"""


def recipe(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainrecipe", *words]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)


def test_a_stage_from_the_command_line_is_planned_made_and_recorded(tmp_path: Path) -> None:
    _script(tmp_path, TRAIN)
    changes = ["-c", "learning_rate=0.3", "-c", "WIDTH=32", "-c", "schedule=off"]
    planned = recipe(tmp_path, "regularize", "train.py", *changes, "--seeds", "3", "--no-curve", "--plan")
    assert planned.returncode == 0, planned.stderr
    assert "12 trainings" in planned.stdout
    done = recipe(tmp_path, "regularize", "train.py", *changes, "--seeds", "3", "--no-curve")
    assert done.returncode == 0, done.stderr
    assert "no effect" in done.stdout
    assert "val acc" in done.stdout
    assert not (tmp_path / "weights.txt").exists()
    shown = recipe(tmp_path, "show", "last")
    assert "Does any of 3 changes help" in shown.stdout
    overfit = recipe(tmp_path, "overfit", "train.py", "--seeds", "2")
    assert "Nothing is learnt from the inputs" in overfit.stdout, overfit.stderr
    tuned = recipe(tmp_path, "tune", "train.py", "-k", "learning_rate=1e-4..1", "-n", "4", "--seeds", "2")
    assert "best of 4 trials" in tuned.stdout, tuned.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["regularize", "absent.py"], "no such script"),
        (["regularize", "train.py", "-c", "dropuot=0.5"], "dropuot"),
        (["regularize", "train.py", "-c", "WIDTH=wide"], "is no number"),
        (["regularize", "train.py", "-c", "dropout=0.5", "--metric", "f1", "--seeds", "2"], "tells no such number"),
        (["tune", "train.py"], "nothing to tune"),
    ],
)
def test_wrong_use_is_told_with_a_remedy(tmp_path: Path, words: list[str], said: str) -> None:
    _script(tmp_path, TRAIN)
    done = recipe(tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
