"""Tell documentation from source code by the pairs of letters in it (an embedding bag and a small classifier)."""

import inspect
import zipfile
from itertools import pairwise

import torch
import torch.nn as nn
from pydoc_data.topics import topics
from sklearn.model_selection import train_test_split

config = {
    "seed": 303,
    "length": 32,
    "snippets": 900,
    "buckets": 256,
    "dim": 16,
    "epochs": 8,
    "batch_size": 48,
    "lr": {"embedding": 5e-3, "classifier": 2e-3},
}


def snippets_of(text, length, limit):
    flat = " ".join(text.lower().split())
    pieces = {flat[i : i + length] for i in range(0, len(flat) - length, length)}
    return sorted(pieces)[:: max(1, len(pieces) // limit)][:limit]


def bigram_ids(snippet, buckets):
    return [(ord(a) * 31 + ord(b)) % buckets for a, b in pairwise(snippet)]


class BagClassifier(nn.Module):
    def __init__(self, buckets, dim):
        super().__init__()
        self.embedding = nn.EmbeddingBag(buckets, dim, mode="mean")
        self.classifier = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, ids):
        return self.classifier(self.embedding(ids))


torch.manual_seed(config["seed"])
docs = snippets_of(topics["compound"] + topics["types"], config["length"], config["snippets"])
code = snippets_of(inspect.getsource(zipfile), config["length"], config["snippets"])
ids = torch.tensor([bigram_ids(snippet, config["buckets"]) for snippet in docs + code])
labels = torch.tensor([0] * len(docs) + [1] * len(code))
ids_train, ids_val, labels_train, labels_val = train_test_split(
    ids, labels, test_size=0.2, stratify=labels, random_state=config["seed"]
)

model = BagClassifier(config["buckets"], config["dim"])
optimizer = torch.optim.AdamW(
    [
        {"params": model.embedding.parameters(), "lr": config["lr"]["embedding"]},
        {"params": model.classifier.parameters(), "lr": config["lr"]["classifier"]},
    ]
)
criterion = nn.CrossEntropyLoss()

for epoch in range(1, config["epochs"] + 1):
    model.train()
    loss_sum = 0.0
    for rows in torch.randperm(len(ids_train)).split(config["batch_size"]):
        optimizer.zero_grad()
        loss = criterion(model(ids_train[rows]), labels_train[rows])
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(rows)

    model.eval()
    with torch.no_grad():
        logits = model(ids_val)
        val_loss = criterion(logits, labels_val).item()
        val_acc = (logits.argmax(dim=1) == labels_val).float().mean().item()
    print(f"epoch {epoch} loss {loss_sum / len(ids_train):.4f} val_loss {val_loss:.4f} val_acc {val_acc:.4f}")

print(f"final val_loss {val_loss:.4f} val_acc {val_acc:.4f}")
