"""Which manual is this line from? A text classifier over hashed words; the best model of the run is tested at the end."""

import copy
import zlib

import torch
import torch.nn.functional as F
from pydoc_data.topics import topics
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(31)
BUCKETS, WORDS = 2048, 12
NAMES = ["typesmapping", "string-methods", "specialnames", "compound"]

examples = []
for label, name in enumerate(NAMES):
    words = topics[name].split()
    for start in range(0, min(len(words), 2400) - WORDS, WORDS):
        ids = [zlib.crc32(w.lower().encode()) % BUCKETS for w in words[start : start + WORDS]]
        examples.append((torch.tensor(ids), label))
examples = [examples[i] for i in torch.randperm(len(examples))]
cut1, cut2 = int(0.5 * len(examples)), int(0.75 * len(examples))
train_data = DataLoader(examples[:cut1], batch_size=16, shuffle=True)
valid_data = DataLoader(examples[cut1:cut2], batch_size=64)
test_data = DataLoader(examples[cut2:], batch_size=64)


class BagOfWords(nn.Module):
    def __init__(self, classes=len(NAMES), width=64):
        super().__init__()
        self.embedding = nn.EmbeddingBag(BUCKETS, width)
        self.classifier = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, ids):
        return self.classifier(self.embedding(ids))


@torch.no_grad()
def evaluate(model, data):
    model.eval()
    loss = right = count = 0
    for ids, labels in data:
        logits = model(ids)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        right += (logits.argmax(1) == labels).sum().item()
        count += len(labels)
    return loss / count, right / count


model = BagOfWords()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
lowest = 1e9
for epoch in range(10):
    model.train()
    for ids, labels in train_data:
        loss = F.cross_entropy(model(ids), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    valid_loss, valid_accuracy = evaluate(model, valid_data)
    print(f"{epoch}: valid loss {valid_loss:.4f} accuracy {valid_accuracy:.4f}")
    if valid_loss < lowest:
        lowest = valid_loss
        best_model = copy.deepcopy(model)

print("test loss {:.4f} accuracy {:.4f}".format(*evaluate(best_model, test_data)))
