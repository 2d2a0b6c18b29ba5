"""Predict the topic group of a help page from its words, with classes of very different size."""
import pydoc_data.topics
import re

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

np.random.seed(5)
torch.manual_seed(5)

# sentences of three groups of help pages: statements (many), types and numbers (fewer), the debugger (few)
GROUPS = (("class", "with", "import", "try", "specialnames"), ("numbers", "typesmapping", "sequence-types"), ("debugger",))
sentences, labels = [], []
for label, names in enumerate(GROUPS):
    text = " ".join(pydoc_data.topics.topics.get(name, "") for name in names)
    for sentence in re.split(r"[.:]\s", text):
        words = re.findall(r"[a-z]+", sentence.lower())
        if len(words) > 5:
            sentences.append(words)
            labels.append(label)
labels = np.array(labels)
vocabulary = {w: i for i, w in enumerate(sorted({w for s in sentences for w in s}))}


class Bags(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        row = self.rows[i]
        bag = torch.zeros(len(vocabulary))
        for word in sentences[row]:
            bag[vocabulary[word]] += 1.0
        return bag / bag.sum(), int(labels[row])


order = np.random.permutation(len(labels))
cut = int(0.75 * len(order))
train_rows, test_rows = order[:cut], order[cut:]
counts = np.bincount(labels[train_rows], minlength=3)
print("sentences per group", counts.tolist())

per_class = counts / counts.sum()  # fault: the share of each class, where its inverse is meant
sampler = WeightedRandomSampler(per_class[labels[train_rows]].tolist(), len(train_rows))
loader = DataLoader(Bags(train_rows), batch_size=16, sampler=sampler)
test_loader = DataLoader(Bags(test_rows), batch_size=64)

model = torch.nn.Linear(len(vocabulary), 3)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
loss_fn = torch.nn.CrossEntropyLoss()

for epoch in range(6):
    model.train()
    for bags, group in loader:
        optimizer.zero_grad(set_to_none=True)
        loss_fn(model(bags), group).backward()
        optimizer.step()
    model.eval()
    hit, total = np.zeros(3), np.zeros(3)
    with torch.no_grad():
        for bags, group in test_loader:
            for g, p in zip(group.tolist(), model(bags).argmax(1).tolist()):
                hit[g] += g == p
                total[g] += 1
    print(f"epoch {epoch} recall per group", np.round(hit / total, 3).tolist(), "mean", round(float((hit / total).mean()), 3))
