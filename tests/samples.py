"""Records written by hand, as the journal would give them to the views."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainrecipe import picture
from trainrecipe.finding import Evidence, Finding, Place, Ruling, Severity
from trainrecipe.journal.record import Record
from trainrecipe.picture import Picture

SCRIPT = '''"""Train a small classifier on digits: python train.py --epochs 3"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, width=128, classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, x):
        # normalise over the batch so that inputs are comparable
        x = (x - x.mean(dim=0)) / (x.std(dim=0) + 1e-6)
        return F.softmax(self.body(x), dim=-1)


def train(net, loader, epochs=3):
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-4)
    for epoch in range(epochs):
        for x, y in loader:
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()


@torch.no_grad()
def accuracy(net, loader):
    scores = []
    for x, y in loader:
        scores.append((net(x).argmax(-1) == y).float().mean())
    return sum(scores) / len(scores)


data = TensorDataset(torch.rand(1797, 1, 8, 8), torch.randint(10, (1797,)))
loader = DataLoader(data, batch_size=64, num_workers=2)  # recipe: allow[no-shuffle] the set is stored in random order
net = Net()
train(net, loader)
print("accuracy", accuracy(net, loader))
'''


def script(folder: Path) -> Path:
    """Write the program that the findings of `full` point into."""
    path = folder / "train.py"
    path.write_text(SCRIPT)
    return path


def place(path: Path, needle: str, function: str = "") -> Place:
    """The line of `SCRIPT` that contains `needle`."""
    lines = SCRIPT.splitlines()
    number = next(i for i, line in enumerate(lines, 1) if needle in line)
    return Place(str(path), number, lines[number - 1].strip(), function)


def record(folder: Path, findings: Sequence[Finding] = (), **changes: Any) -> Record:
    """A rehearsed run with the given findings that needs no script on disk."""
    empty = Record(
        run="20251125-154610-check-7f3a",
        command="check",
        script="train.py",
        args=("--epochs", "3"),
        cwd=str(folder),
        started="2025-11-25T15:46:10+00:00",
        status="rehearsed",
        exit_code=None,
        seconds=4.2,
        environment={"python": "3.11.9", "torch": "2.13.0", "platform": "Linux x86_64", "git": "3f9c1e2, changed"},
        facts={},
        findings=tuple(findings),
        passed=(),
        skipped=(),
        pictures=(),
        messages=(),
    )
    return dataclasses.replace(empty, **changes)


def full(folder: Path) -> Record:
    """A run with everything that a report can show."""
    path = script(folder)
    return record(
        folder,
        (_softmax(path), _mixing(path), _mean_of_means(path), _duplicates(path), _init(path), _shuffle(path)),
        facts={
            "model": "Net, 3 layers, 9,610 parameters",
            "loss": "cross_entropy(mean) over 10 classes",
            "optimizer": "Adam, lr 3e-4, no weight decay, 1 group",
            "data": "1,797 examples (1, 8, 8) in batches of 64",
            "seen": "12 training steps in 3 epochs, 2 evaluations",
            "replay": "bit for bit",
        },
        passed=tuple(_passed()),
        skipped=tuple(_skipped()),
        pictures=(_phases(), _spread(), _agreement()),
        messages=(("warning", "2 worker processes of the DataLoader were not watched."),),
    )


def simple(check: str = "no-shuffle", severity: Severity = Severity.WARNING, **changes: Any) -> Finding:
    """A finding with one word in each field."""
    ruling = Ruling.found(severity, "It says.", expected="this", observed="that", fix="Fix it.", causes=("cause",))
    return dataclasses.replace(Finding(check, "A title", ruling, Evidence({"n": 1}), why="It matters."), **changes)


def passed(check: str, says: str, drawn: Picture | None = None) -> Finding:
    """A check whose hypothesis held."""
    return Finding(check, check.replace("-", " ").capitalize(), Ruling.passed(says), Evidence({}), picture=drawn)


def skipped(check: str, why: str) -> Finding:
    """A check that could not measure."""
    return Finding(check, check.replace("-", " ").capitalize(), Ruling.skipped(why), Evidence(missing=why))


def pictures() -> Mapping[str, Picture]:
    """One picture of every builder, each with its options on and with odd values."""
    odd = [1.0, None, float("nan"), 0.1]
    rows = [{"name": "a", "low": 0.1, "middle": 0.5, "high": 2.0}, {"name": "b", "low": 0.0, "middle": 1, "high": 3}]
    return {
        "lines": picture.lines("t", "c", {"a": odd, "b": [2, 3, 4, 5]}, rules={"floor": 2.303}, y_title="loss"),
        "log lines": picture.lines("t", "c", {"a": [1, 10, 0]}, x=[1, 10, 100], log_x=True, log_y=True),
        "no lines": picture.lines("t", "c", {}),
        "bars": picture.bars("t", "c", {"one": 1.0, "two": 2.0}, rules={"limit": 1.5}, x_title="norm"),
        "log bars": picture.bars("t", "c", {"one": 1e-9, "zero": 0.0}, log=True),
        "heatmap": picture.heatmap("t", "c", [[0.0, 1.0], [1.0, 0.0]], value_title="gradient"),
        "points": picture.points("t", "c", [1, 2], [2, 1], groups=["train", "val"], diagonal=True),
        "bare points": picture.points("t", "c", [], []),
        "ranges": picture.ranges("t", "c", rows, log=True),
        "timeline": picture.timeline("t", "c", [{"row": "net", "start": 0, "end": 1.5, "kind": "train"}]),
    }


def _softmax(path: Path) -> Finding:
    steps = range(200)
    noise = random.Random(0)
    observed = [1.47 + 0.83 * math.exp(-i / 60) + noise.gauss(0, 0.012) for i in steps]
    fixed = [2.3 * math.exp(-i / 30) + 0.02 + noise.gauss(0, 0.02) for i in steps]
    drawn = picture.lines(
        "The loss cannot fall below 1.46",
        "Probabilities as logits bound the loss from below; the same steps with logits go towards zero.",
        {"as it is": observed, "with logits": fixed},
        rules={"lowest possible with probabilities": 1.4612, "ln 10": 2.3026},
        y_title="loss",
    )
    return Finding(
        "softmax-before-cross-entropy",
        "Softmax is applied before cross-entropy",
        Ruling.found(
            Severity.ERROR,
            "cross_entropy received probabilities instead of logits: every row of its input sums to one.",
            expected="rows of unbounded logits",
            observed="64 of 64 rows are non-negative and sum to 1 within 1e-7",
            fix="Return self.body(x) without softmax; cross_entropy applies log_softmax itself.",
            causes=(
                "forward ends in F.softmax (line 17).",
                "A loss that wants probabilities was meant (NLL of the log).",
            ),
        ),
        Evidence(
            {"rows": 64, "on_simplex": 64, "largest_deviation": 1.2e-7, "loss_at_init": 2.3019},
            place(path, "F.cross_entropy", "train"),
        ),
        why="Softmax of a softmax is nearly uniform: gradients shrink by about the number of classes and the loss "
        "stays above 1.46 for ten classes, yet accuracy still rises, so nothing looks broken.",
        picture=drawn,
        seconds=0.012,
        related=(
            Finding(
                "loss-floor",
                "The loss stops above its floor",
                Ruling.found(
                    Severity.WARNING,
                    "On one batch the loss stopped at 1.4627.",
                    expected="0.00 after 300 steps",
                    observed="1.4627",
                    fix="See the finding above.",
                ),
                Evidence({"floor": 1.4627}, place(path, "loss.backward", "train")),
            ),
        ),
    )


def _mixing(path: Path) -> Finding:
    matrix = [[1.0 if i == j else round(0.05 + 0.02 * ((i * 7 + j * 3) % 5), 3) for j in range(16)] for i in range(16)]
    return Finding(
        "batch-mixing",
        "Examples of a batch influence each other",
        Ruling.found(
            Severity.ERROR,
            "The output of an example depends on the other examples of its batch, outside of any batch norm.",
            expected="gradient of output i with respect to input j exactly 0 for i ≠ j",
            observed="240 of 240 pairs are non-zero, the largest 0.13",
            fix="Normalise with statistics of the training set, computed once, instead of those of the batch.",
            causes=("x.mean(dim=0) and x.std(dim=0) run over the batch.",),
        ),
        Evidence({"pairs": 240, "mixed": 240, "largest": 0.13}, place(path, "x.mean(dim=0)", "Net.forward")),
        why="A prediction then changes with its neighbours: scores depend on batch size and order.",
        picture=picture.heatmap(
            "Which input reaches which output",
            "Only the diagonal may be dark.",
            matrix,
            x_title="input of example",
            y_title="output of example",
            value_title="|gradient|",
        ),
    )


def _mean_of_means(path: Path) -> Finding:
    return Finding(
        "mean-of-batch-means",
        "The score weighs the last batch too heavily",
        Ruling.found(
            Severity.WARNING,
            "The accuracy is a mean of 29 batch means, and the last batch holds 5 examples instead of 64.",
            expected="each example counts once: 0.9172",
            observed="0.9203",
            fix="Sum the correct predictions and divide by the number of examples.",
        ),
        Evidence({"batches": 29, "last": 5, "weighted": 0.9172}, place(path, "scores.append", "accuracy")),
        why="Significant digits are lost, and comparing runs with different batch sizes becomes unfair.",
    )


def _duplicates(path: Path) -> Finding:
    noise = random.Random(1)
    tiles = []
    for i in range(10):
        pixels = [[0.5 * noise.random() + 0.5 * ((r + c + i) % 5 == 0) for c in range(8)] for r in range(8)]
        tiles.append({"image": picture.png(pixels), "caption": f"train #{i * 131} = test #{i * 17}, label {i}"})
    tiles.append({"text": "the quick brown fox jumps over the lazy dog", "caption": "train #7 = test #9"})
    tiles.append({"values": [0.0, 1.5, -2.25, 3.125], "caption": "train #12 = test #40"})
    return Finding(
        "leaked-examples",
        "Test examples are in the training set",
        Ruling.found(
            Severity.WARNING,
            "12 of 360 test examples are bit-identical to training examples.",
            expected="no example in both",
            observed="12 (3.3 %, 95 % interval 1.9 to 5.7 %)",
            fix="Drop duplicates before splitting.",
            causes=("The split was drawn after oversampling.", "The source has duplicates; run recipe data train.py."),
        ),
        Evidence({"shared": 12, "test": 360}, place(path, "data = TensorDataset")),
        why="The score measures memory instead of generalisation.",
        picture=picture.grid("Examples in both sets", "Each tile was found in training and test.", tiles),
    )


def _init(path: Path) -> Finding:
    return Finding(
        "final-bias",
        "The final bias ignores the label prior",
        Ruling.found(
            Severity.NOTE,
            "The first 40 steps only learn the label frequencies.",
            expected="bias = log prior",
            observed="bias = 0",
            fix="Set net.body[-1].bias to the log of the label frequencies.",
        ),
        Evidence({"saved_steps": 40}),
        why="The hockey stick at the start of the loss curve is wasted time.",
        picture=picture.bars("Steps to the loss of the prior", "Shorter is better.", {"as is": 40, "with prior": 1}),
    )


def _shuffle(path: Path) -> Finding:
    found = simple("no-shuffle", title="Training data is not shuffled", waived="the set is stored in random order")
    return dataclasses.replace(found, evidence=Evidence({}, place(path, "num_workers=2")))


def _passed() -> list[Finding]:
    norms = picture.ranges(
        "Update-to-weight ratio",
        "About 1e-3 is healthy.",
        [{"name": f"body.{i}.weight", "low": 2e-4 * i, "middle": 1e-3 * i, "high": 4e-3 * i} for i in (1, 3)],
        x_title="ratio",
        log=True,
    )
    quick = "zero-grad backward-order eval-mode no-grad clip-order frozen-parameters dead-units label-range nan-loss"
    return [passed("update-ratio", "Between 2e-4 and 1.2e-2 in all layers.", norms)] + [
        passed(check, f"Nothing unusual in 12 steps ({check.replace('-', ' ')}).") for check in quick.split()
    ]


def _skipped() -> list[Finding]:
    tape = "The script has no validation set, so there was nothing to compare."
    unsure = Ruling.unsure("12 steps are too few to tell a slow start from a stuck model; try recipe run train.py.")
    return [
        skipped("train-val-shift", tape),
        skipped("augmented-validation", tape),
        skipped("peeking", "The outputs have no time axis."),
        Finding("stuck-loss", "The loss does not move", unsure, Evidence({"steps": 12})),
    ]


def _phases() -> Picture:
    spans = []
    for epoch in range(3):
        spans.append({"row": "Net", "start": epoch * 1.2, "end": epoch * 1.2 + 0.9, "kind": "train"})
        spans.append({"row": "Net", "start": epoch * 1.2 + 0.9, "end": epoch * 1.2 + 1.15, "kind": "validation"})
    return picture.timeline("What ran when", "Training and evaluation alternate.", spans)


def _spread() -> Picture:
    steps = [1.0 * i for i in range(1, 13)]
    series = {f"body.{k}.weight": [math.exp(-i / (9 + k)) * (1 + k) for i in steps] for k in (1, 3)}
    return picture.lines("Gradient norms", "No layer stands apart.", series, x=steps, log_y=True, y_title="norm")


def _agreement() -> Picture:
    noise = random.Random(2)
    x = [noise.uniform(0, 9) for _ in range(120)]
    y = [a + noise.gauss(0, 0.7) for a in x]
    groups = ["train" if i % 3 else "test" for i in range(120)]
    title = "Predictions against labels"
    return picture.points(title, "On the line is right.", x, y, x_title="label", groups=groups, diagonal=True)
