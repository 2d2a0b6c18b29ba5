"""Does a trip end where it began? Moves on a grid, trips of different lengths, read by an attention layer written by hand."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

STAY, NORTH, EAST, SOUTH, WEST, END = range(6)
SHIFT = torch.tensor([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0], [0, 0]])


def trips(count, generator):
    found = []
    while len(found) < count:
        length = int(torch.randint(4, 15, (1,), generator=generator))
        moves = torch.randint(0, 5, (length,), generator=generator)
        away = int(SHIFT[moves].sum(0).abs().sum())
        label = 2 if away > 3 else 1 if away > 1 else 0
        if sum(known == label for _, known in found) < count / 3 + 1:
            found.append((moves, label))
    return found


def collate(batch):
    moves, labels = zip(*batch)
    return pad_sequence(moves, batch_first=True, padding_value=END), torch.tensor(labels)


class Reader(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.dim = dim
        self.embed = nn.Embedding(6, dim)
        self.place = nn.Parameter(0.1 * torch.randn(16, dim))
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, dim))
        self.head = nn.Linear(dim, 3)

    def forward(self, moves):
        real = (moves != END).float()
        x = self.embed(moves) + self.place[: moves.shape[1]]
        q, k, v = self.query_key_value(x).chunk(3, dim=-1)
        scores = torch.bmm(q, k.transpose(1, 2)) / self.dim**0.5
        scores = scores + -1e4 * (1 - real)[:, None, :]
        x = x + torch.bmm(F.softmax(scores, dim=-1), v)
        x = x + self.mlp(x)
        return self.head((x * real[:, :, None]).sum(1))


def main():
    torch.manual_seed(12)
    generator = torch.Generator().manual_seed(12)
    train = DataLoader(trips(1500, generator), batch_size=50, shuffle=True, collate_fn=collate)
    test = DataLoader(trips(300, generator), batch_size=100, collate_fn=collate)
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(6):
        model.train()
        for moves, labels in train:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(moves), labels)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(moves).argmax(1) == labels).sum().item() for moves, labels in test)
        print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {right / 300:.3f}")


if __name__ == "__main__":
    main()
