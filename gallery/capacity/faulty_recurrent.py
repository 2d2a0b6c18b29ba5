"""A recurrent net that spells the Zen of Python: predicts the next character from the last sixteen.

    python faulty_recurrent.py --hidden 64
"""

import argparse
import codecs
import contextlib
import io

import torch
from torch import nn

with contextlib.redirect_stdout(io.StringIO()):
    import this

TEXT = codecs.decode(this.s, "rot13").lower()
LETTERS = sorted(set(TEXT))


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=8, help="size of the recurrent state")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=3)
    return parser.parse_args()


class Speller(nn.Module):
    def __init__(self, letters, hidden):
        super().__init__()
        self.embed = nn.Embedding(letters, 16)
        self.recurrent = nn.RNN(16, hidden, batch_first=True)
        self.read = nn.Linear(hidden, letters)
        nn.init.normal_(self.recurrent.weight_hh_l0, std=0.35)  # fault: fits 8 units; with 128 the state is chaotic

    def forward(self, ids):
        states, _ = self.recurrent(self.embed(ids))
        return self.read(states)


def batch(ids, size, length):
    starts = torch.randint(len(ids) - length - 1, (size,))
    windows = torch.stack([ids[s : s + length + 1] for s in starts])
    return windows[:, :-1], windows[:, 1:]


def main():
    args = parse()
    torch.manual_seed(args.seed)
    ids = torch.tensor([LETTERS.index(c) for c in TEXT])
    model = Speller(len(LETTERS), args.hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for step in range(args.steps):
        x, y = batch(ids, 32, 16)
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}: {loss.item():.3f} nats per letter")


if __name__ == "__main__":
    main()
