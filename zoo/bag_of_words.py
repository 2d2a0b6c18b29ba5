"""Which standard library module does a source line come from? Bag of words with nn.EmbeddingBag."""
import inspect, re, random, argparse, textwrap, json, collections
import torch
from torch import nn
from torch.utils.data import DataLoader

random.seed(0); torch.manual_seed(0)
modules = [argparse, textwrap, json.decoder, collections, random]
rows = []
for label, mod in enumerate(modules):
    lines = [re.findall(r"[A-Za-z_]{2,}", l.lower()) for l in inspect.getsource(mod).splitlines()]
    lines = [l for l in lines if l]
    for k in range(0, len(lines) - 3, 4):
        rows.append((sum(lines[k:k + 4], []), label))
random.shuffle(rows)
n = int(.8 * len(rows)); train_rows, test_rows = rows[:n], rows[n:]
counts = collections.Counter(t for toks, _ in train_rows for t in toks)
vocab = {w: i + 1 for i, (w, c) in enumerate(counts.most_common(1500))}
print(len(train_rows), "train docs", len(vocab), "words")

def collate_batch(batch):
    labels, text, offsets = [], [], [0]
    for toks, y in batch:
        ids = torch.tensor([vocab.get(t, 0) for t in toks])
        labels.append(y); text.append(ids); offsets.append(ids.size(0))
    return torch.tensor(labels), torch.cat(text), torch.tensor(offsets[:-1]).cumsum(0)

class TextClassificationModel(nn.Module):
    def __init__(self, vocab_size, embed_dim, num_class):
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocab_size, embed_dim, sparse=False)
        self.fc = nn.Linear(embed_dim, num_class)
        self.init_weights()
    def init_weights(self):
        r = 0.5
        self.embedding.weight.data.uniform_(-r, r)
        self.fc.weight.data.uniform_(-r, r)
        self.fc.bias.data.zero_()
    def forward(self, text, offsets):
        return self.fc(self.embedding(text, offsets))

model = TextClassificationModel(len(vocab) + 1, 32, len(modules))
w = torch.tensor([sum(y == c for _, y in train_rows) for c in range(len(modules))]).float()
criterion = nn.CrossEntropyLoss(weight=(w.sum() / (len(w) * w)))
optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1.0, gamma=0.9)
tl = DataLoader(train_rows, batch_size=16, shuffle=True, collate_fn=collate_batch)
vl = DataLoader(test_rows, batch_size=64, collate_fn=collate_batch)
for epoch in range(1, 16):
    model.train(); total_acc = total = 0
    for label, text, offsets in tl:
        optimizer.zero_grad()
        pred = model(text, offsets)
        loss = criterion(pred, label)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total_acc += (pred.argmax(1) == label).sum().item(); total += label.size(0)
    model.eval(); a = b = 0
    with torch.no_grad():
        for label, text, offsets in vl:
            a += (model(text, offsets).argmax(1) == label).sum().item(); b += label.size(0)
    scheduler.step()
    print(f"| epoch {epoch} | train {total_acc/total:.3f} | valid {a/b:.3f}")
