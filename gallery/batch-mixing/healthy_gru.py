# Real English words or the same letters shuffled?  A char-level GRU decides.
import random, re, string
from pydoc_data.topics import topics
import torch, torch.nn as nn

random.seed(9)
torch.manual_seed(9)

words = sorted({w for txt in topics.values() for w in re.findall(r"[a-z]{5,10}", txt.lower())})
random.shuffle(words)
n_test = len(words) // 5
test_words, train_words = words[:n_test], words[n_test:]
print(len(train_words), "train words,", len(test_words), "test words")


def scramble(w):
    for _ in range(20):
        s = list(w)
        random.shuffle(s)
        if "".join(s) != w:
            break
    return "".join(s)


L = 10
def to_ids(w):
    # padding on the left so that the last position is always the last letter
    return [0] * (L - len(w)) + [string.ascii_lowercase.index(c) + 1 for c in w]


def make(ws):
    data = [(to_ids(w), 1.0) for w in ws] + [(to_ids(scramble(w)), 0.0) for w in ws]
    random.shuffle(data)
    return torch.tensor([d[0] for d in data]), torch.tensor([d[1] for d in data])


Xtr, Ytr = make(train_words)
Xte, Yte = make(test_words)


class WordGRU(nn.Module):
    def __init__(self, emb=24, hid=64):
        super().__init__()
        self.emb = nn.Embedding(27, emb, padding_idx=0)
        self.gru = nn.GRU(emb, hid, batch_first=True)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(hid, 1)

    def forward(self, ids):
        e = self.emb(ids)                  # batch, letters, emb
        out, _ = self.gru(e)
        last = out[:, -1]                  # state after the last letter
        return self.fc(self.drop(last)).squeeze(1)


model = WordGRU()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
lossf = nn.BCEWithLogitsLoss()

for epoch in range(1, 9):
    model.train()
    losses = []
    order = torch.randperm(len(Xtr))
    for s in range(0, len(order), 64):
        b = order[s:s + 64]
        loss = lossf(model(Xtr[b]), Ytr[b])
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        pred = torch.cat([model(c) for c in Xte.split(64)])
        acc = ((pred > 0) == (Yte > 0.5)).float().mean().item()
    print(f"epoch {epoch}: loss {sum(losses) / len(losses):.4f}  test loss {lossf(pred, Yte).item():.4f}  test acc {acc:.3f}")
