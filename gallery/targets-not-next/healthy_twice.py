# Word-level GRU language model; sentences are shifted in the collate function.
from pydoc_data.topics import topics

import torch
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(31)
PAD, LENGTH = 0, 20

words = " ".join(topics[k] for k in ("typesmapping", "typesseq", "string-methods", "numbers")).split()
counts = {w: words.count(w) for w in set(words)}
vocabulary = ["<pad>", "<unk>", *sorted(w for w, n in counts.items() if n > 2)]
number = {w: i for i, w in enumerate(vocabulary)}
ids = [number.get(w, 1) for w in words]
pieces = [ids[i : i + LENGTH + 1] for i in range(0, len(ids) - LENGTH, LENGTH)]
held = pieces[::10]
pieces = [p for i, p in enumerate(pieces) if i % 10]


def collate(batch):
    rows = torch.tensor(batch)
    return {"input": rows[:, :-1], "target": rows[:, 1:]}


class WordModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(len(vocabulary), 48, padding_idx=PAD)
        self.gru = nn.GRU(48, 64, batch_first=True)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(64, len(vocabulary))

    def forward(self, rows):
        states, _ = self.gru(self.drop(self.embed(rows)))
        return self.out(self.drop(states))


def loss_of(model, batch):
    logits, target = model(batch["input"]), batch["target"]
    return criterion(logits.reshape(-1, logits.shape[-1]), target.reshape(-1))


model = WordModel()
criterion = nn.CrossEntropyLoss(ignore_index=PAD)
optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
train = DataLoader(pieces, batch_size=16, shuffle=True, collate_fn=collate)
test = DataLoader(held, batch_size=64, collate_fn=collate)
for epoch in range(3):
    model.train()
    total = 0.0
    for batch in train:
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        total += loss.item()
    model.eval()
    with torch.no_grad():
        val = sum(loss_of(model, b).item() for b in test) / len(test)
    print(f"{epoch}: train {total / len(train):.3f}  test {val:.3f}")
