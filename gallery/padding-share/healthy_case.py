"""Route support tickets to the right team (bag of embeddings)."""
import random
import re
from collections import Counter

import torch
from torch import nn
from torch.utils.data import DataLoader

SEED = 33
PAD, UNK = 0, 1
TEAMS = {
    "billing": "invoice refund charge payment card receipt subscription price tax credit".split(),
    "network": "router wifi latency packet dns proxy vpn timeout gateway firewall".split(),
    "account": "password login username email profile reset verification token locked signup".split(),
    "hardware": "screen battery keyboard charger fan cable speaker camera hinge overheating".split(),
}
COMMON = ("the a my since yesterday please help it is not working again and we have tried everything but still "
          "see problem issue customer says today after update why does this happen thanks").split()
NAMES = sorted(TEAMS)


def ticket(rnd):
    k = rnd.randrange(len(NAMES))
    own = TEAMS[NAMES[k]]
    other = TEAMS[NAMES[rnd.randrange(len(NAMES))]]
    words = [rnd.choice(COMMON) for _ in range(rnd.randint(8, 14))]
    words += [rnd.choice(own) for _ in range(3)] + [rnd.choice(other)]
    rnd.shuffle(words)
    words = [w if rnd.random() < 0.1 else w.upper() if rnd.random() < 0.3 else w.capitalize() for w in words]
    return " ".join(w + rnd.choice(["", "", ",", "!", "."]) for w in words), k


def tokenize(text):
    return re.findall(r"[a-z]+", text.lower())


class Vocabulary:
    def __init__(self, texts, min_count=2):
        counts = Counter(tok for t in texts for tok in tokenize(t))
        words = sorted(w for w, c in counts.items() if c >= min_count)
        self.index = {w: i + 2 for i, w in enumerate(words)}

    def __len__(self):
        return len(self.index) + 2

    def encode(self, text):
        return [self.index.get(tok, UNK) for tok in tokenize(text)]


class Router(nn.Module):
    def __init__(self, vocab_size, dim=32):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, dim, padding_idx=PAD)
        self.fc = nn.Sequential(nn.Linear(dim, 32), nn.ReLU(), nn.Linear(32, len(NAMES)))

    def forward(self, ids):
        keep = (ids != PAD).unsqueeze(-1).float()
        mean = (self.emb(ids) * keep).sum(1) / keep.sum(1).clamp(min=1)
        return self.fc(mean)


def collate(batch):
    ids = nn.utils.rnn.pad_sequence([torch.tensor(x) for x, _ in batch], batch_first=True, padding_value=PAD)
    return ids, torch.tensor([y for _, y in batch])


def main():
    torch.manual_seed(SEED)
    rnd = random.Random(SEED)
    train_rows = [ticket(rnd) for _ in range(1600)]
    known = {t for t, _ in train_rows}
    val_rows = [r for r in (ticket(rnd) for _ in range(400)) if r[0] not in known]
    vocab = Vocabulary([t for t, _ in train_rows])
    pack = lambda rows: [(vocab.encode(t), k) for t, k in rows]
    train_loader = DataLoader(pack(train_rows), batch_size=32, shuffle=True, collate_fn=collate,
                              generator=torch.Generator().manual_seed(SEED))
    val_loader = DataLoader(pack(val_rows), batch_size=200, collate_fn=collate)

    model = Router(len(vocab))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(1, 11):
        model.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        model.eval()
        vtotal, hits = 0.0, 0
        with torch.no_grad():
            for x, y in val_loader:
                out = model(x)
                vtotal += criterion(out, y).item() * len(y)
                hits += (out.argmax(1) == y).sum().item()
        print(f"epoch {epoch:2d}  train {total / len(train_rows):.4f}  val {vtotal / len(val_rows):.4f}  "
              f"acc {hits / len(val_rows):.3f}")


if __name__ == "__main__":
    main()
