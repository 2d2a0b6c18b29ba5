"""Random strings of a, b and c: are there more a than b? A packed LSTM reads them, longest first."""
import torch, torch.nn as nn
from torch.nn.utils.rnn import pad_sequence, pack_padded_sequence
from torch.utils.data import Dataset, DataLoader


class Brackets(Dataset):
    """Random strings over {a, b, c}; label 1 when 'a' is more frequent than 'b'."""

    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.data = []
        while len(self.data) < n:
            L = int(torch.randint(5, 41, (), generator=g))
            s = torch.randint(1, 4, (L,), generator=g)
            d = int((s == 1).sum() - (s == 2).sum())
            if d != 0:
                self.data.append((s, int(d > 0)))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data[i]


def collate(items):
    labels = torch.tensor([lab for _, lab in items])
    seqs = [s for s, _ in items]
    lens = torch.tensor([len(s) for s in seqs])
    lens, order = lens.sort(descending=True)
    seqs = [seqs[i] for i in order]  # fault: the labels stay in their old order
    return pad_sequence(seqs, batch_first=True), lens, labels


class Counter(nn.Module):
    def __init__(self, vocab=4, emb=16, hid=48):
        super().__init__()
        self.emb = nn.Embedding(vocab, emb, padding_idx=0)
        self.lstm = nn.LSTM(emb, hid, batch_first=True)
        self.cls = nn.Linear(hid, 2)

    def forward(self, x, lens):
        packed = pack_padded_sequence(self.emb(x), lens, batch_first=True)
        _, (h, _) = self.lstm(packed)
        return self.cls(h[-1])


def evaluate(model, loader):
    model.eval()
    hit = n = 0
    with torch.no_grad():
        for x, l, y in loader:
            hit += (model(x, l).argmax(-1) == y).sum().item()
            n += len(y)
    return hit / n


if __name__ == "__main__":
    torch.manual_seed(0)
    train_loader = DataLoader(Brackets(4000, 1), 32, shuffle=True, collate_fn=collate)
    test_loader = DataLoader(Brackets(1000, 2), 100, collate_fn=collate)
    model = Counter()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(6):
        model.train()
        total = 0.0
        for x, l, y in train_loader:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x, l), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            total += loss.item()
        print("epoch", epoch, "loss %.4f" % (total / len(train_loader)))
    print("test acc %.4f" % evaluate(model, test_loader))
