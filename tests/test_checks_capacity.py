"""`--knob`: what a name means in a script, trials with real trainings, and what is made of them."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from trainrecipe.checks.run.capacity import Capacity
from trainrecipe.finding import Finding, Ruling, Severity, Verdict
from trainrecipe.intervene.knob import find, parse
from trainrecipe.intervene.settings import settings, turned
from trainrecipe.subjects.knob import Knob, Trial
from trainrecipe.subjects.run import Run
from trainrecipe.wrong_use import WrongUse

TRAINING = """
torch.manual_seed(0)
x = torch.randn(256, 6)
y = x[:, :1] * x[:, 1:2] + x[:, 2:3].sin()
model = nn.Sequential(nn.Linear(6, {width}), nn.ReLU(), nn.Linear({width}, 1))
optimizer = torch.optim.Adam(model.parameters(), lr={lr})
for step in range(120):
    i = torch.randint(256, (32,))
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x[i]), y[i])
    loss.backward()
    optimizer.step()
"""
HEAD = "import torch\nfrom torch import nn\n"
FLAG = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--hidden-size", type=int, default=16)
args = parser.parse_args()
"""
BARE = """
import torch
torch.manual_seed(0)
config = dict(units=16)
x = torch.randn(256, 6)
y = x[:, :1] * x[:, 1:2] + x[:, 2:3].sin()
a = (torch.randn(6, config["units"]) * 0.4).requires_grad_()
b = (torch.randn(config["units"], 1) / config["units"] ** 0.5).requires_grad_()
for step in range(200):
    loss = (torch.tanh(x @ a) @ b - y).pow(2).mean()
    for w, grad in zip((a, b), torch.autograd.grad(loss, (a, b))):
        w.data -= 0.1 * grad
"""


def write(folder: Path, text: str) -> str:
    path = folder / "train.py"
    path.write_text(text)
    return str(path)


def judged(ask: Any, script: str, knob: str) -> Finding | None:
    """The finding about capacity, or None."""
    answer = ask(script, knob=knob, only=["capacity"])
    assert not answer["failed"]
    assert answer["status"] in ("rehearsed", "finished"), answer["errors"]
    found = [Finding.from_json(f) for f in answer["findings"]]
    return next((f for f in found if f.check == "capacity"), None)


# ---- trials with real trainings


def test_a_constant_that_is_used_passes(ask: Any, tmp_path: Path) -> None:
    script = write(tmp_path, HEAD + "HIDDEN = 16\n" + TRAINING.format(width="HIDDEN", lr=1e-2))
    assert judged(ask, script, "HIDDEN=2,64") is None


def test_a_constant_that_is_never_used_is_told_with_its_line(ask: Any, tmp_path: Path) -> None:
    script = write(tmp_path, HEAD + "HIDDEN = 16\n" + TRAINING.format(width="24", lr=1e-2))
    found = judged(ask, script, "HIDDEN=2,64")
    assert found is not None
    assert found.severity is Severity.WARNING
    assert "193 trainable weights at every value" in found.ruling.says
    assert found.place is not None
    assert (found.place.line, found.place.source) == (3, "HIDDEN = 16")
    assert found.picture is not None


def test_an_unused_constant_without_a_seed_is_a_note(ask: Any, tmp_path: Path) -> None:
    text = HEAD + "HIDDEN = 16\n" + TRAINING.format(width="24", lr=1e-2).replace("torch.manual_seed(0)", "torch.seed()")
    found = judged(ask, write(tmp_path, text), "HIDDEN=2,64")
    assert found is not None
    assert found.severity is Severity.NOTE
    assert "by chance" in found.ruling.observed


def test_a_flag_is_given_as_the_script_spells_it(ask: Any, tmp_path: Path) -> None:
    script = write(tmp_path, HEAD + FLAG + TRAINING.format(width="args.hidden_size", lr=1e-2))
    knob = find("hidden_size=2,64", script)
    assert knob.arguments("64") == ["--hidden-size", "64"]
    assert knob.place is not None
    assert "add_argument" in knob.place.source
    assert judged(ask, script, "hidden_size=2,64") is None


def test_a_flag_that_is_never_used_is_told(ask: Any, tmp_path: Path) -> None:
    found = judged(ask, write(tmp_path, HEAD + FLAG + TRAINING.format(width="16", lr=1e-2)), "hidden-size=2,64")
    assert found is not None
    assert "--hidden-size changes nothing" in found.ruling.says


def test_a_rate_that_is_too_large_for_the_larger_model_is_told(ask: Any, tmp_path: Path) -> None:
    text = HEAD + "HIDDEN = 4\n" + TRAINING.format(width="HIDDEN", lr=0.03)
    text = text.replace("torch.optim.Adam", "torch.optim.SGD").replace(
        "optimizer = ", "for p in model[2].parameters():\n    nn.init.normal_(p)\noptimizer = "
    )
    found = judged(ask, write(tmp_path, text), "HIDDEN=4,1024")
    assert found is not None
    assert found.severity is Severity.WARNING
    assert "times the weights (HIDDEN = 1024)" in found.ruling.says


def test_weights_in_bare_tensors_are_counted(ask: Any, tmp_path: Path) -> None:
    assert judged(ask, write(tmp_path, BARE), "units=2,64") is None
    found = judged(ask, write(tmp_path, BARE.replace('config["units"]', "8")), "config.units=2,64")
    assert found is not None
    assert "56 trainable weights" in found.ruling.says


# ---- the command line


def recipe(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainrecipe", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=200)


def test_failing_trials_are_told_and_leave_no_files(tmp_path: Path) -> None:
    text = "HIDDEN = 16\nopen(f'made{HIDDEN}', 'w').close()\nif HIDDEN != 16:\n    raise MemoryError('too large')\n" + HEAD
    write(tmp_path, text + TRAINING.format(width="HIDDEN", lr=1e-2))
    words = ("--once", "--knob", "HIDDEN=2,64", "--only", "capacity", "--format", "json", "--in-place")
    done = recipe("check", "train.py", *words, cwd=tmp_path)
    own = next(a for a in json.loads(done.stdout)["skipped"] if a["check"] == "capacity")
    assert own["verdict"] == "unsure"
    assert "4 of 4 trials did not get through" in own["why"]
    assert "HIDDEN=2: MemoryError: too large" in own["why"]
    assert [p.name for p in tmp_path.glob("made*")] == ["made16"]


def _left(folder: Path) -> list[str]:
    return [p for p in map(str, Path("/proc").glob("[0-9]*")) if str(folder) in _environment(p)]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")
def test_interrupting_the_trials_ends_them_all(tmp_path: Path) -> None:
    write(tmp_path, "import time\nHIDDEN = 16\ntime.sleep(90)\n")
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "trainrecipe", "check", "train.py", "--knob", "HIDDEN=2,64"]
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("*/trial0.err")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    until = time.monotonic() + 20
    while (left := _left(tmp_path)) and time.monotonic() < until:  # a process that was told to end needs its time
        time.sleep(0.1)
    assert left == []


def _environment(process: str) -> str:
    try:
        return Path(process, "environ").read_text(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("knob", "words"),
    [
        ("HIDDEN", "no '='"),
        ("=1,2", "names no knob"),
        ("HIDDEN=3", "fewer than two values"),
        ("HIDDEN=3,", "fewer than two values"),
        ("HIDDEN=3,3", "the same value twice"),
        ("HIDDEN=3,many", "'many' is no number"),
        ("hiddn=3,5", "did you mean 'HIDDEN'?"),
        ("unheard=3,5", "neither a constant unheard at its top level nor a flag --unheard"),
        ("depth=3,5", "Big.depth and Small.depth"),
    ],
)
def test_wrong_use_names_the_value_and_the_remedy(tmp_path: Path, knob: str, words: str) -> None:
    text = "HIDDEN = 16\nclass Big:\n    depth = 8\nclass Small:\n    depth = 2\ndef build(unheard):\n    return unheard\n"
    with pytest.raises(WrongUse) as wrong:
        find(knob, write(tmp_path, text))
    assert words in str(wrong.value)
    assert knob.partition("=")[0] in str(wrong.value)


def test_several_processes_and_a_knob_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "HIDDEN = 16\n")
    done = recipe("check", "train.py", "--knob", "HIDDEN=2,64", "--processes", "2", cwd=tmp_path)
    assert done.returncode == 2
    assert "--knob HIDDEN=2,64 cannot be combined with --processes 2" in done.stderr


# ---- what a name means


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("HIDDEN = 64", "HIDDEN"),
        ("HIDDEN: int = 64", "HIDDEN"),
        ("HIDDEN = 4 * 16", "HIDDEN"),
        ("LAYERS, HIDDEN = 2, 64", "HIDDEN"),
        ("if __name__ == '__main__':\n    HIDDEN = 64", "HIDDEN"),
        ("HIDDEN = (64, 64)", "HIDDEN"),
        ("CONFIG = {'lr': 0.1, 'HIDDEN': 64}", "CONFIG.HIDDEN"),
        ("cfg = Config(HIDDEN=64)", "cfg.HIDDEN"),
        ("class Config:\n    HIDDEN: int = 64", "Config.HIDDEN"),
    ],
)
def test_a_literal_is_found_and_replaced_and_no_line_moves(tmp_path: Path, source: str, path: str) -> None:
    head = "class Config(dict): pass\n" if "Config(" in source else ""
    script = write(tmp_path, head + source + "\nlast = 1")
    assert find("HIDDEN=32,128", script).path == path
    tree = turned(Path(script).read_bytes(), script, {path: "128"})
    changed = next(s for s in settings(tree) if s.path == path)
    assert ast.literal_eval(changed.value) == 128
    before = [n.lineno for n in ast.walk(ast.parse(Path(script).read_bytes())) if isinstance(n, ast.stmt)]
    assert [n.lineno for n in ast.walk(tree) if isinstance(n, ast.stmt)] == before
    exec(compile(tree, script, "exec"), {"__name__": "__main__"})


def test_kinds_of_values_follow_the_literal(tmp_path: Path) -> None:
    source = b"rate = 0.5\nname = 'small'\nsizes = (1, 2)"
    for path, value, expected in (("rate", "2", 2.0), ("name", "128", "128"), ("sizes", "(3,)", (3,))):
        found = next(s for s in settings(turned(source, "t.py", {path: value})) if s.path == path)
        assert repr(ast.literal_eval(found.value)) == repr(expected)
    assert parse("sizes=(8,),(64, 64)") == ("sizes", ("(8,)", "(64, 64)"))


@pytest.mark.parametrize(
    ("source", "knob", "words"),
    [
        ("import typer\ndef main(hidden_size: int = 3): ...", "hidden_size", ["--hidden-size", "9"]),
        ("import fire\ndef main(hidden=3): ...", "hidden", ["--hidden", "9"]),
        ("import hydra", "model.width", ["model.width=9"]),
        ("from absl import flags\nflags.DEFINE_integer('hidden', 3, '')", "hidden", ["--hidden", "9"]),
        ("", "-H", ["-H", "9"]),
        ("", "--model.width", ["--model.width", "9"]),
        ("from options import read", "hidden", ["--hidden", "9"]),
    ],
)
def test_flags_of_many_libraries(tmp_path: Path, source: str, knob: str, words: list[str]) -> None:
    (tmp_path / "options.py").write_text("def read(p):\n    p.add_argument('--hidden')\n")
    assert find(f"{knob}=3,9", write(tmp_path, source)).arguments("9") == words


def test_a_module_runs_with_another_value(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "train.py").write_text("HIDDEN = 16\nprint('hidden', HIDDEN)\n")
    order = {
        "target": "mine.train",
        "module": True,
        "args": [],
        "rehearsal": False,
        "log": "",
        "constants": {"HIDDEN": "64"},
    }
    env = {**os.environ, "TRAINRECIPE_ORDER": json.dumps(order)}
    command = [sys.executable, "-m", "trainrecipe.capture.launch"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == "hidden 64\n", done.stderr


def test_a_script_keeps_its_own_future(tmp_path: Path) -> None:
    """Annotations are objects in a script that does not ask for them as text."""
    script = write(tmp_path, "def f(x: int): ...\nprint(f.__annotations__)\n")
    order = {"target": script, "args": [], "rehearsal": False, "log": ""}
    env = {**os.environ, "TRAINRECIPE_ORDER": json.dumps(order)}
    done = subprocess.run([sys.executable, "-m", "trainrecipe.capture.launch"], env=env, capture_output=True, text=True)
    assert done.stdout == "{'x': <class 'int'>}\n", done.stderr


# ---- judging


def ruling(losses: dict[str, list[list[float]]], weights: dict[str, int] | None = None, **facts: Any) -> Ruling:
    run = Run(knob=Knob("width", tuple(losses), path="width"))
    for value, seeds in losses.items():
        number = (weights or {}).get(value, 10 * int(value))
        run.trials += [Trial(value, s, number, 4, kept, seeded=True, **facts) for s, kept in enumerate(seeds)]
    check = Capacity()
    evidence = check.measure(run)
    assert check.draw(evidence) is not None
    return check.judge(evidence)


def curve(start: float, end: float, wiggle: float = 0.0, steps: int = 80) -> list[float]:
    return [end + (start - end) * 0.9**i + wiggle * (-1) ** i for i in range(steps)]


def test_higher_by_more_than_chance_is_a_warning_and_within_it_undecided() -> None:
    small = [curve(2, 0.50), curve(2, 0.52)]
    assert ruling({"1": small, "9": [curve(2, 1.0), curve(2, 1.02)]}).severity is Severity.WARNING
    assert ruling({"1": small, "9": [curve(2, 0.53), curve(2, 0.6)]}).verdict is Verdict.UNSURE
    assert ruling({"1": small, "9": [curve(2, 0.2), curve(2, 0.3)]}).verdict is Verdict.PASS
    assert ruling({"1": small, "9": [curve(2, 0.2), curve(2, float("nan"))]}).severity is Severity.WARNING


def test_a_larger_model_that_catches_up_or_losses_that_do_not_fall_are_undecided() -> None:
    small = [curve(2, 0.50), curve(2, 0.52)]
    late = [[2 - 0.018 * i for i in range(80)], [2 - 0.0181 * i for i in range(80)]]
    assert "catching up" in ruling({"1": small, "9": late}).says
    flat = [curve(1, 1.0, 0.2), curve(1, 1.0, 0.3)]
    assert "no more than chance" in ruling({"1": flat, "9": [curve(2, 2.0, 0.2), curve(2, 2.01, 0.3)]}).says


def test_seeds_without_effect_several_losses_and_few_steps_are_undecided() -> None:
    small, large = curve(2, 0.5), curve(2, 1.0)
    assert "both seeds gave the same" in ruling({"1": [small, small], "9": [large, large]}).says
    assert "several lines" in ruling({"1": [small, small], "9": [large, large]}, beside=80).says
    assert "too few" in ruling({"1": [small[:9]] * 2, "9": [large[:9]] * 2}).says


def test_the_same_weights_with_another_loss_are_a_note() -> None:
    heads = {"1": [curve(2, 0.5), curve(2, 0.52)], "9": [curve(2.1, 0.5), curve(2.2, 0.52)]}
    assert ruling(heads, {"1": 7, "9": 7}).severity is Severity.NOTE


def test_losses_that_are_no_measure_of_fit_and_deeper_models_get_a_note() -> None:
    small, large = [curve(2, 0.5), curve(2, 0.52)], [curve(2, 1.0), curve(2, 1.02)]
    below = {"1": [[x - 1 for x in seed] for seed in small], "9": [[x - 1 for x in seed] for seed in large]}
    found = ruling(below)
    assert found.severity is Severity.NOTE
    assert "no measure of fit" in found.causes[0]
    run = Run(knob=Knob("depth", ("1", "9"), path="depth"))
    for value, tensors, seeds in (("1", 4, small), ("9", 40, large)):
        run.trials += [Trial(value, s, 9 * tensors, tensors, kept, cut=True) for s, kept in enumerate(seeds)]
    assert Capacity().judge(Capacity().measure(run)).severity is Severity.NOTE
    for trial in run.trials:
        trial.cut = False
    assert Capacity().judge(Capacity().measure(run)).severity is Severity.WARNING


def test_values_in_falling_order_are_sorted_by_their_weights() -> None:
    small, large = [curve(2, 0.5), curve(2, 0.52)], [curve(2, 1.0), curve(2, 1.02)]
    assert "width = 9" in ruling({"9": large, "1": small}).says


def test_without_a_knob_it_is_skipped_with_the_way_to_name_one() -> None:
    assert "--knob hidden=32,128" in Capacity().measure(Run()).missing
