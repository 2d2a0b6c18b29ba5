"""Find the symbol that occurs most often in a sequence, with attention over the symbols."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import DataLoader, TensorDataset


@dataclass(frozen=True)
class Settings:
    symbols: int = 6
    length: int = 12
    n_train: int = 1280
    n_val: int = 400
    dim: int = 32
    batch_size: int = 32
    epochs: int = 6
    warmup_epochs: int = 2
    lr: float = 1e-3
    seed: int = 55


def make_data(s: Settings):
    """Random sequences with one most frequent symbol, no sequence twice."""
    sequences = torch.randint(s.symbols, (4 * (s.n_train + s.n_val), s.length)).unique(dim=0)
    counts = nn.functional.one_hot(sequences, s.symbols).sum(dim=1)
    first, second = counts.topk(2, dim=1).values.unbind(dim=1)
    sequences = sequences[first > second]
    sequences = sequences[torch.randperm(len(sequences))[: s.n_train + s.n_val]]
    labels = nn.functional.one_hot(sequences, s.symbols).sum(dim=1).argmax(dim=1)
    train = TensorDataset(sequences[: s.n_train], labels[: s.n_train])
    val = TensorDataset(sequences[s.n_train :], labels[s.n_train :])
    return train, val


class MajorityNet(nn.Module):
    def __init__(self, s: Settings):
        super().__init__()
        self.embed = nn.Embedding(s.symbols, s.dim)
        self.norm = nn.LayerNorm(s.dim)
        self.attend = nn.MultiheadAttention(s.dim, num_heads=4, batch_first=True)
        self.feed = nn.Sequential(nn.LayerNorm(s.dim), nn.Linear(s.dim, 64), nn.GELU(), nn.Linear(64, s.dim))
        self.classify = nn.Linear(s.dim, s.symbols)

    def forward(self, sequence):
        x = self.embed(sequence)
        normed = self.norm(x)
        x = x + self.attend(normed, normed, normed, need_weights=False)[0]
        x = (x + self.feed(x)).mean(dim=1)
        return self.classify(x)


def main(s: Settings):
    torch.manual_seed(s.seed)
    train_set, val_set = make_data(s)
    train_loader = DataLoader(train_set, s.batch_size, shuffle=True)
    val_loader = DataLoader(val_set, 200)

    net = MajorityNet(s)
    optimizer = torch.optim.AdamW(net.parameters(), lr=s.lr)
    warmup_steps = s.warmup_epochs * len(train_loader)
    scheduler = LinearLR(optimizer, start_factor=0.01, total_iters=warmup_steps)
    loss_fn = nn.CrossEntropyLoss()

    for epoch in range(s.epochs):
        net.train()
        train_loss = 0.0
        for sequence, label in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(net(sequence), label)
            loss.backward()
            optimizer.step()
            scheduler.step()
            train_loss += loss.item() * len(label)

        net.eval()
        hits = 0
        with torch.no_grad():
            for sequence, label in val_loader:
                hits += (net(sequence).argmax(dim=1) == label).sum().item()
        print(
            f"epoch {epoch + 1}: train loss {train_loss / len(train_set):.4f}"
            f"  val accuracy {hits / len(val_set):.4f}"
        )
    print(f"final val accuracy {hits / len(val_set):.4f}")


if __name__ == "__main__":
    main(Settings())
