"""Time, recall and memory of `trainrecipe.dataset.neighbours.nearest`, against comparing all rows with all.

    python benchmarks/neighbours.py                  # 1,000,000 rows of 64 numbers, minutes
    python benchmarks/neighbours.py --rows 100000    # the quick mode
    python benchmarks/neighbours.py --kind copies --threads 2

Kinds of rows: `digits`, scikit-learn's images of digits mixed in pairs with noise and turned into `--dim` numbers by random
projections; `clusters`, a hundred clusters of which the largest holds a fifth of all rows, each a plane of eight dimensions
with a little noise; `copies`, the digits with 30 % of all rows equal to one row; `noise`, rows without any structure, the
worst case. Recall is the share of the ten exact neighbours found, over 300 rows. One thread by default: on a machine with
other work to do, two threads that wait for each other were slower than one.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from trainrecipe.dataset.neighbours import nearest

K = 10
KINDS = ("digits", "clusters", "copies", "noise")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=["digits", "clusters"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--recall", type=float, default=0.99)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| rows | kind | seconds | CPU seconds | recall measured | recall told | extra memory, MB |")
    print("|---|---|---|---|---|---|---|")
    for kind in options.kind:
        print(line(kind, rows_of(kind, options.rows, options.dim), options.recall), flush=True)


def rows_of(kind: str, count: int, width: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    if kind == "noise":
        return torch.randn(count, width, generator=draw)
    if kind == "clusters":
        return clusters(count, width, draw)
    rows = digits(count, width, draw)
    if kind == "copies":
        rows[torch.randperm(count, generator=draw)[: 3 * count // 10]] = rows[0].clone()
    return rows


def digits(count: int, width: int, draw: torch.Generator) -> torch.Tensor:
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().data).float()
    images = (images - images.mean(0)) / 16
    turn = torch.randn(64, width, generator=draw) / 8
    rows = torch.empty(count, width)
    for part in rows.split(100_000):
        one, two = (images[torch.randint(len(images), (len(part),), generator=draw)] for _ in range(2))
        share = 0.3 * torch.rand(len(part), 1, generator=draw)
        part.copy_(((1 - share) * one + share * two + 0.05 * torch.randn(one.shape, generator=draw)) @ turn)
    return rows


def clusters(count: int, width: int, draw: torch.Generator) -> torch.Tensor:
    sizes = 1 / torch.arange(1, 101)
    of = torch.multinomial(sizes, count, replacement=True, generator=draw)
    centres = torch.randn(100, width, generator=draw)
    planes = torch.randn(100, 8, width, generator=draw) * 0.3
    rows = torch.empty(count, width)
    for c in range(100):
        mine = torch.nonzero(of == c)[:, 0]
        noise = 0.02 * torch.randn(len(mine), width, generator=draw)
        rows[mine] = centres[c] + torch.randn(len(mine), 8, generator=draw) @ planes[c] + noise
    return rows


def line(kind: str, rows: torch.Tensor, recall: float) -> str:
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    found = nearest(rows, K, recall=recall)
    wall, cpu, extra = time.perf_counter() - wall, time.process_time() - cpu, peak() - before
    return (
        f"| {len(rows):,} | {kind} | {wall:.1f} | {cpu:.1f} | {measured(rows, found):.4f} | {found.recall:.4f} | {extra:.0f} |"
    )


def measured(rows: torch.Tensor, found: object) -> float:
    """The share of neighbours found that are as near as the exact ones: among equals, any will do."""
    chosen = np.sort(np.random.default_rng(1).permutation(len(rows))[:300])
    unit = torch.nn.functional.normalize(rows, dim=1)
    right = 0
    for i in chosen:
        alike = unit @ unit[i]
        alike[i] = -torch.inf
        right += int((found.similarities[i] >= float(alike.topk(K).values[-1]) - 1e-6).sum())
    return right / (K * len(chosen))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
