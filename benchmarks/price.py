"""What `recipe check` costs, measured in training steps of the script that it checks.

    python benchmarks/price.py                # writes benchmarks/price.md and prints it

Four scripts, from an MLP to a transformer, time their own bare training step first. Then each is checked as a user would do
it. The price is the time of the whole command less what starting Python and importing PyTorch takes, over the time of a step;
it is split into the rehearsal and the examination, and the examination into checks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
MODELS = {"mlp": "MLP", "cnn": "CNN", "transformer": "transformer", "wide": "larger CNN"}

SCRIPT = """
import statistics, sys, time
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


def mlp():
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10)), (32,), 32


def cnn(width=24):
    model = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, stride=2), nn.ReLU(),
        nn.Conv2d(width, 32, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 16 * 16, 10),
    )
    return model, (3, 32, 32), 24


def wide():
    model, shape, _ = cnn(96)
    return model, shape, 64


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


def transformer():
    return Classifier(), (48, 128), 8


model, shape, size = globals()[sys.argv[1]]()
prototypes = torch.randn(10, *shape)
labels = torch.randint(0, 10, (size * 24,))
inputs = prototypes[labels] + torch.randn(len(labels), *shape)
data, held_out = TensorDataset(inputs[:-size * 4], labels[:-size * 4]), TensorDataset(inputs[-size * 4:], labels[-size * 4:])
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
seconds = []
for epoch in range(int(sys.argv[2])):
    model.train()
    for x, y in DataLoader(data, size, shuffle=True):
        started = time.perf_counter()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    model.eval()
    with torch.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in DataLoader(held_out, size))
    print(f"{epoch} {loss.item():.3f} {right / len(held_out):.3f}")
if len(sys.argv) > 3:
    open(sys.argv[3], "w").write(str(statistics.median(seconds[5:])))
"""


@dataclasses.dataclass(frozen=True)
class Price:
    """Seconds of a bare step, of starting, of the whole check, and of each check that was made."""

    model: str
    step: float
    start: float
    whole: float
    checks: dict[str, float]

    @property
    def examination(self) -> float:
        """Seconds of all checks together."""
        return sum(self.checks.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--budget", type=float, help="as for recipe check; by default its own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trainrecipe-price-") as folder:
        prices = [measure(model, Path(folder), options.budget) for model in options.models]
    text = table(prices)
    (ROOT / "benchmarks" / "price.md").write_text(text)
    print(text)


def measure(model: str, folder: Path, budget: float | None) -> Price:
    """Time the bare steps, then the check."""
    script = folder / f"{model}.py"
    script.write_text(SCRIPT)
    timed = folder / f"{model}.seconds"
    subprocess.run([sys.executable, str(script), model, "2", str(timed)], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    start = min(_seconds([sys.executable, "-c", "import torch, torch._dynamo"], folder) for _ in range(2))
    out = folder / f"{model}.json"
    more = [] if budget is None else ["--budget", str(budget)]
    command = [sys.executable, "-m", "trainrecipe", "check", str(script), "--format", "json", "-o", str(out), *more]
    whole = _seconds([*command, "--", model, "6"], folder)
    checks: dict[str, float] = {}
    found = json.loads(out.read_text())
    for answer in (*found["findings"], *found["passed"], *found["skipped"]):
        for one in (answer, *answer.get("related", ())):
            checks[one["check"]] = max(checks.get(one["check"], 0.0), one.get("seconds", 0.0))
    return Price(model, float(timed.read_text()), start, whole, checks)


def _seconds(command: list[str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - started


def table(prices: list[Price]) -> str:
    lines = [
        "# What `recipe check` costs, in training steps",
        "",
        "Written by `benchmarks/price.py`.",
        "",
        "| model | bare step | whole command | rehearsals and report | examination | dearest checks |",
        "|---|---|---|---|---|---|",
    ]
    for p in prices:
        whole = (p.whole - p.start) / p.step
        dear = sorted(p.checks.items(), key=lambda item: -item[1])[:4]
        named = ", ".join(f"{name} {seconds / p.step:.0f}" for name, seconds in dear)
        rest = whole - p.examination / p.step
        lines.append(
            f"| {MODELS[p.model]} | {1000 * p.step:.1f} ms | {whole:,.0f} steps ({p.whole:.0f} s) | {rest:,.0f} "
            f"| {p.examination / p.step:,.0f} | {named} |"
        )
    middle = statistics.median(p.examination / p.step for p in prices)
    return "\n".join([*lines, "", f"Median of the examination: {middle:,.0f} steps."]) + "\n"


if __name__ == "__main__":
    main()
