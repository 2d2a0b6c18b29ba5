"""What a scan costs against a bare pass over the same loader, interleaved in one run: ratios of medians.

    python benchmarks/scan.py                  # four kinds of data sets, 20,000 examples each
    python benchmarks/scan.py --examples 200000 --rounds 3

The bare pass iterates over the loader and does nothing with its batches. The scan reads the same examples through the same
number of workers, measures them, and writes its table. The goal is a ratio of at most 1.3.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from trainrecipe.scan.scan import scan


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """PNG files of 64 x 64 pixels in memory, decoded and normalised as people do."""

    def __init__(self, n: int, augment: bool) -> None:
        rng = np.random.default_rng(0)
        self.transform = self._augment if augment else self._plain
        self.files = [_png(rng, i) for i in range(min(n, 2000))]
        self.labels = rng.integers(0, 10, n).tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = Image.open(io.BytesIO(self.files[i % len(self.files)])).convert("RGB")
        return self.transform(image), self.labels[i]

    def _plain(self, image: Image.Image) -> torch.Tensor:
        x = torch.from_numpy(np.asarray(image).copy()).movedim(-1, 0).float() / 255
        return (x - 0.5) / 0.25

    def _augment(self, image: Image.Image) -> torch.Tensor:
        x = self._plain(image)
        return x.flip(-1) if torch.rand(()) < 0.5 else x


class Sentences(Dataset[dict[str, Any]]):
    """Token ids with padding, and a label."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(0)
        self.rows = [rng.zipf(1.3, rng.integers(8, 64)).clip(max=5000) for _ in range(n)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        ids = torch.zeros(64, dtype=torch.long)
        ids[: len(self.rows[i])] = torch.from_numpy(self.rows[i])
        return {"input_ids": ids, "label": int(self.rows[i][0]) % 2}


def _png(rng: np.random.Generator, i: int) -> bytes:
    coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    image = (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def cases(n: int) -> dict[str, Callable[[], DataLoader[Any]]]:
    rng = torch.Generator().manual_seed(0)
    table = TensorDataset(torch.randn(10 * n, 20, generator=rng), torch.randint(0, 3, (10 * n,), generator=rng))
    grey = TensorDataset(torch.rand(n, 1, 28, 28, generator=rng), torch.randint(0, 10, (n,), generator=rng))
    pictures, flipped, sentences = Pictures(n, False), Pictures(n, True), Sentences(n)
    return {
        f"table of 20 features, {10 * n:,} rows": lambda: DataLoader(table, batch_size=64),
        f"images 28 x 28 in memory, {n:,}": lambda: DataLoader(grey, batch_size=64),
        f"PNG 64 x 64, {n:,}": lambda: DataLoader(pictures, batch_size=64),
        f"PNG 64 x 64, 2 workers, {n:,}": lambda: DataLoader(pictures, batch_size=64, num_workers=2),
        f"PNG 64 x 64 flipped at random, {n:,}": lambda: DataLoader(flipped, batch_size=64),
        f"tokens, {n:,}": lambda: DataLoader(sentences, batch_size=64),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| data | bare pass, s | scan, s | ratio |\n|---|---|---|---|")
    for name, make in cases(options.examples).items():
        bare, ours = [], []
        for _ in range(options.rounds):
            bare.append(timed(lambda make=make: sum(1 for _ in make())))  # type: ignore[misc]
            with tempfile.TemporaryDirectory() as folder:
                ours.append(timed(lambda make=make, folder=folder: scan({"train": make()}, Path(folder), budget=1e9)))  # type: ignore[misc]
        b, o = statistics.median(bare), statistics.median(ours)
        print(f"| {name} | {b:.2f} | {o:.2f} | {o / b:.2f} |", flush=True)
    print(f"\nLargest memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
