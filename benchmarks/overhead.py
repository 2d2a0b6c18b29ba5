"""What `recipe run` costs per step, against the bare loop and against other observers, interleaved in one run.

    python benchmarks/overhead.py              # prints a Markdown table
    python benchmarks/overhead.py --rounds 30

Three models (an MLP, a CNN and a transformer) train side by side: each round times a block of steps of every variant, in
a new random order, so that a noisy machine disturbs all of them alike. Reported is the median over rounds of the ratio to
the bare loop in the same round, and the extra microseconds per step. The steps are those after the first 200, which are
the unsampled ones except where their number is a power of two.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

Step = Callable[[], None]


def mlp() -> tuple[nn.Module, torch.Tensor, torch.Tensor, int]:
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
    return model, torch.randn(32, 32), torch.randint(0, 10, (32,)), 200


def cnn() -> tuple[nn.Module, torch.Tensor, torch.Tensor, int]:
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16 * 16, 10),
    )
    return model, torch.randn(24, 3, 32, 32), torch.randint(0, 10, (24,)), 12


def transformer() -> tuple[nn.Module, torch.Tensor, torch.Tensor, int]:
    layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.1, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Flatten(), nn.Linear(48 * 128, 10))
    return model, torch.randn(8, 48, 128), torch.randint(0, 10, (8,)), 5


MODELS = {"MLP": mlp, "CNN": cnn, "transformer": transformer}


def loop(build: Callable[[], tuple[nn.Module, torch.Tensor, torch.Tensor, int]]) -> tuple[Step, nn.Module, int]:
    torch.manual_seed(0)
    model, inputs, labels, block = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(inputs), labels).backward()
        optimizer.step()

    return step, model, block


@contextlib.contextmanager
def bare(model: nn.Module) -> Iterator[None]:
    yield


@contextlib.contextmanager
def activation_hooks(model: nn.Module) -> Iterator[None]:
    """Plain forward hooks that keep mean and deviation of every layer's output, as people write them."""
    seen: dict[str, tuple[float, float]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, out: object) -> None:
            if isinstance(out, torch.Tensor):
                seen[name] = (float(out.detach().mean()), float(out.detach().std()))

        return hook

    handles = [m.register_forward_hook(keep(n)) for n, m in model.named_modules()]
    yield
    for handle in handles:
        handle.remove()


class Observed:
    """A listener that is switched on for its own blocks only; its early, detailed steps are over before timing begins."""

    def __init__(self) -> None:
        from trainrecipe.capture.listen.listener import Listener

        self.listener = Listener()

    @contextlib.contextmanager
    def __call__(self, model: nn.Module) -> Iterator[None]:
        self.listener.install(recording=self.listener.run.steps < 200)
        yield
        self.listener.remove()


def torch_audit() -> Callable[[nn.Module], contextlib.AbstractContextManager[None]] | None:
    """torch-audit's autopatch with its defaults, where that package is installed."""
    try:
        from torch_audit import autopatch  # type: ignore[import-not-found]
    except ImportError:
        return None
    patched: set[int] = set()

    @contextlib.contextmanager
    def audited(model: nn.Module) -> Iterator[None]:
        if id(model) not in patched:
            patched.add(id(model))
            autopatch(model)
        yield

    return audited


def measure(name: str, rounds: int) -> list[tuple[str, float, float, float]]:
    variants: dict[str, Callable[[nn.Module], contextlib.AbstractContextManager[None]]] = {
        "bare": bare,
        "trainrecipe": Observed(),
        "forward hooks with statistics": activation_hooks,
    }
    audit = torch_audit()
    if audit is not None:
        variants["torch-audit autopatch"] = audit
    loops = {v: loop(MODELS[name]) for v in variants}
    for variant, enter in variants.items():
        step, model, _ = loops[variant]
        with enter(model):
            for _ in range(201):
                step()
    times: dict[str, list[float]] = {v: [] for v in variants}
    for _ in range(rounds):
        for variant in random.sample(list(variants), len(variants)):
            step, model, block = loops[variant]
            with variants[variant](model):
                step()
                began = time.perf_counter()
                for _ in range(block):
                    step()
                times[variant].append((time.perf_counter() - began) / block)
    rows = []
    for variant, seconds in times.items():
        ratios = [a / b for a, b in zip(seconds, times["bare"], strict=True)]
        extra = statistics.median(a - b for a, b in zip(seconds, times["bare"], strict=True))
        rows.append((variant, statistics.median(seconds) * 1e3, statistics.median(ratios), extra * 1e6))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | observer | ms per step | ratio to bare | extra µs per step |\n|---|---|---|---|---|")
    for name in MODELS:
        for variant, ms, ratio, extra in measure(name, options.rounds):
            print(f"| {name} | {variant} | {ms:.3f} | {ratio:.3f} | {extra:.1f} |", flush=True)


if __name__ == "__main__":
    main()
