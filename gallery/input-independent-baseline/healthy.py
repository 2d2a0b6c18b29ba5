"""Tell documentation from code: classify single lines of Python source by averaged trigram embeddings."""
import argparse
import inspect
import io
import tokenize

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

PAD = 0
BUCKETS = 2000


def encode(line):
    """Hashed character trigrams; bucket 0 is kept for padding."""
    return torch.tensor([1 + (ord(a) * 7919 + ord(b) * 131 + ord(c)) % (BUCKETS - 1)
                         for a, b, c in zip(line, line[1:], line[2:])])


def labelled_lines(source):
    """Every distinct line of some length: 1 inside a docstring or comment, 0 for code."""
    prose = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#"):
            prose.add(token.start[0])
        if token.type == tokenize.STRING and token.string.startswith('"""'):
            prose.update(range(token.start[0], token.end[0] + 1))
    lines = {}
    for number, line in enumerate(source.splitlines(), start=1):
        line = line.strip().strip('"#').strip()
        if len(line) > 12:
            lines.setdefault(line, int(number in prose))
    return [(encode(line), label) for line, label in lines.items()]


def collate(batch):
    tokens, labels = zip(*batch)
    return pad_sequence(tokens, batch_first=True, padding_value=PAD), torch.tensor(labels)


class LineClassifier(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.embedding = nn.Embedding(BUCKETS, width, padding_idx=PAD)
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, 2)

    def forward(self, tokens):
        mask = tokens.ne(PAD).unsqueeze(-1)
        summed = (self.embedding(tokens) * mask).sum(dim=1)
        averaged = summed / mask.sum(dim=1).clamp(min=1)
        return self.output(F.relu(self.hidden(averaged)))


def evaluate(model, loader):
    model.eval()
    loss, hits, n = 0.0, 0, 0
    with torch.no_grad():
        for tokens, labels in loader:
            logits = model(tokens)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            hits += (logits.argmax(1) == labels).sum().item()
            n += len(labels)
    return loss / n, hits / n


if __name__ == "__main__":
    torch.manual_seed(14)
    examples = labelled_lines(inspect.getsource(argparse) + inspect.getsource(tokenize) + inspect.getsource(inspect))
    order = torch.randperm(len(examples)).tolist()
    n_val = len(examples) // 5
    val_loader = DataLoader([examples[i] for i in order[:n_val]], batch_size=128, collate_fn=collate)
    train_loader = DataLoader([examples[i] for i in order[n_val:]], batch_size=64, shuffle=True, collate_fn=collate)

    model = LineClassifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(6):
        model.train()
        for tokens, labels in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(tokens), labels)
            loss.backward()
            optimizer.step()
        val_loss, accuracy = evaluate(model, val_loader)
        print(f"epoch {epoch}: val loss {val_loss:.3f}, val accuracy {accuracy:.3f}")
    print(f"final val accuracy {accuracy:.3f}")
