"""What `recipe run` costs per step, against the bare loop and against other observers, interleaved in one run.

    python benchmarks/overhead.py              # prints two Markdown tables
    python benchmarks/overhead.py --rounds 30
    python benchmarks/overhead.py --device cuda    # the same on a GPU, whose memory is counted instead of the resident size

Three models (an MLP, a CNN and a transformer) train side by side: each round times a block of steps of every variant, in
a new random order, so that a noisy machine disturbs all of them alike. Reported is the median over rounds of the ratio to
the bare loop in the same round, and the extra microseconds per step. A second bare loop tells how far these ratios can be
trusted on the machine at hand. The steps are those after the first 200, which are the unsampled ones except where their
number is a power of two.

Memory is the largest resident size of a forked child that trains for 300 steps, those looked at in detail included; the
experiments on copies of the model, which come afterwards, are not.

torch-audit and cockpit are measured where they are installed (`pip install torch-audit==0.3.0`; cockpit-for-pytorch 1.0.2
and backpack-for-pytorch 1.7.1 with `--no-deps`, since the torchvision they require is not used here, and with what else
they import: "setuptools<81" einops unfoldNd json-tricks matplotlib seaborn scipy pandas).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import os
import random
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import nn

Step = Callable[[], None]
Build = Callable[[], tuple[nn.Module, torch.Tensor, torch.Tensor, int]]


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


@dataclasses.dataclass
class Loop:
    """A training loop over one batch: `block` steps of it are timed at once."""

    model: nn.Module
    inputs: torch.Tensor
    labels: torch.Tensor
    block: int
    step: Step
    optimizer: torch.optim.Optimizer


def loop(build: Build) -> Loop:
    torch.manual_seed(0)
    model, inputs, labels, block = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(inputs), labels).backward()
        optimizer.step()

    return Loop(model, inputs, labels, block, step, optimizer)


Observer = Callable[[Loop], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def bare(training: Loop) -> Iterator[None]:
    yield


@contextlib.contextmanager
def activation_hooks(training: Loop) -> Iterator[None]:
    """Plain forward hooks that keep mean and deviation of every layer's output, as people write them."""
    seen: dict[str, tuple[float, float]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, out: object) -> None:
            if isinstance(out, torch.Tensor):
                seen[name] = (float(out.detach().mean()), float(out.detach().std()))

        return hook

    handles = [m.register_forward_hook(keep(n)) for n, m in training.model.named_modules()]
    yield
    for handle in handles:
        handle.remove()


class Observed:
    """A listener that is switched on for its own blocks only; its early, detailed steps are over before timing begins."""

    def __init__(self) -> None:
        from trainrecipe.capture.listen.listener import Listener

        self.listener = Listener(follow=True)

    @contextlib.contextmanager
    def __call__(self, training: Loop) -> Iterator[None]:
        self.listener.install(recording=self.listener.run.steps < 200)
        yield
        self.listener.remove()


class Once:
    """An observer that is built into its own loop, for good, when that loop is first entered."""

    def __init__(self, build_in: Callable[[Loop], None]) -> None:
        self.build_in = build_in
        self.done = False

    @contextlib.contextmanager
    def __call__(self, training: Loop) -> Iterator[None]:
        if not self.done:
            self.build_in(training)
            self.done = True
        yield


def torch_audit(training: Loop) -> None:
    """torch-audit's autopatch with its defaults, by which it looks at every thousandth step."""
    from torch_audit import autopatch  # type: ignore[import-not-found]

    autopatch(training.model, optimizer=training.optimizer)


def cockpit(training: Loop) -> None:
    """cockpit's smallest configuration, tracking every step as it does by default, in the loop that its manual shows."""
    from backpack import extend  # type: ignore[import-not-found]
    from cockpit import Cockpit  # type: ignore[import-not-found]
    from cockpit.utils.configuration import configuration  # type: ignore[import-not-found]

    model, optimizer = extend(training.model), training.optimizer
    criterion, each = extend(nn.CrossEntropyLoss()), nn.CrossEntropyLoss(reduction="none")
    tracker = Cockpit(model.parameters(), quantities=configuration("economy"))
    count = 0

    def step() -> None:
        nonlocal count
        optimizer.zero_grad()
        predicted = model(training.inputs)
        loss = criterion(predicted, training.labels)
        info = {
            "batch_size": len(training.labels),
            "individual_losses": each(predicted, training.labels),
            "loss": loss,
            "optimizer": optimizer,
        }
        with tracker(count, info=info):
            loss.backward(create_graph=tracker.create_graph(count))
        optimizer.step()
        count += 1

    training.step = step


PEERS = {"torch-audit autopatch": ("torch_audit", torch_audit), "cockpit economy": ("cockpit", cockpit)}


def measure(name: str, rounds: int) -> Iterator[str]:
    observers: dict[str, Observer] = {
        "bare": bare,
        "bare, once more": bare,
        "trainrecipe": Observed(),
        "forward hooks with statistics": activation_hooks,
        **{peer: Once(build_in) for peer, (module, build_in) in PEERS.items() if importlib.util.find_spec(module)},
    }
    loops = {observer: loop(MODELS[name]) for observer in observers}
    for observer, training in list(loops.items()):
        try:
            with observers[observer](training):
                for _ in range(201):
                    training.step()
        except Exception as error:
            del loops[observer]
            yield f"| {name} | {observer} | cannot run: {type(error).__name__} | | |"
    times: dict[str, list[float]] = {observer: [] for observer in loops}
    for _ in range(rounds):
        for observer in random.sample(list(loops), len(loops)):
            training = loops[observer]
            with observers[observer](training):
                training.step()
                if training.inputs.is_cuda:
                    torch.cuda.synchronize()
                began = time.perf_counter()
                for _ in range(training.block):
                    training.step()
                if training.inputs.is_cuda:
                    torch.cuda.synchronize()
                times[observer].append((time.perf_counter() - began) / training.block)
    for observer, seconds in times.items():
        pairs = list(zip(seconds, times["bare"], strict=True))
        ratio, extra = statistics.median(a / b for a, b in pairs), statistics.median(a - b for a, b in pairs)
        yield f"| {name} | {observer} | {statistics.median(seconds) * 1e3:.3f} | {ratio:.3f} | {extra * 1e6:.1f} |"


def peak(name: str, observed: bool, steps: int = 300) -> float:
    """The largest resident size, in MiB, of a child that trains for some steps; on a GPU what torch allocated there."""
    if torch.get_default_device().type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        training = loop(MODELS[name])
        with Observed()(training) if observed else bare(training):
            for _ in range(steps):
                training.step()
        return torch.cuda.max_memory_allocated() / 2**20
    reading, writing = os.pipe()
    if not os.fork():
        training = loop(MODELS[name])
        with Observed()(training) if observed else bare(training):
            for _ in range(steps):
                training.step()
        os.write(writing, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024).encode())
        os._exit(0)
    os.wait()
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return float(pipe.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_default_device(options.device)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| model | peak MiB, bare | with trainrecipe | ratio |\n|---|---|---|---|")
    for name in MODELS:  # before anything else, so that the children start small
        alone, watched = (statistics.median(peak(name, observed) for _ in range(3)) for observed in (False, True))
        print(f"| {name} | {alone:.0f} | {watched:.0f} | {watched / alone:.3f} |", flush=True)
    print("\n| model | observer | ms per step | ratio to bare | extra µs per step |\n|---|---|---|---|---|")
    for name in MODELS:
        for row in measure(name, options.rounds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
