"""Label every character of a piece of Python source: keyword, name, string, comment and so on."""
import argparse
import inspect
import io
import keyword
import tokenize

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

TAGS = ["space", "keyword", "name", "number", "string", "comment", "operator", "call"]
WINDOW = 8


def tag_characters(source):
    lines = source.splitlines(keepends=True)
    tags = [np.zeros(len(line), dtype=np.int64) for line in lines]
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for token, following in zip(tokens, tokens[1:]):
        if token.type == tokenize.NAME:
            tag = "keyword" if keyword.iskeyword(token.string) else "call" if following.string == "(" else "name"
        else:
            tag = {tokenize.NUMBER: "number", tokenize.STRING: "string", tokenize.COMMENT: "comment",
                   tokenize.OP: "operator"}.get(token.type, "space")
        (row, start), (last_row, end) = token.start, token.end
        for r in range(row, last_row + 1):
            if tag != "space":
                tags[r - 1][start if r == row else 0:end if r == last_row else None] = TAGS.index(tag)
    return "".join(lines), np.concatenate(tags)


def windows(source):
    text, tags = tag_characters(source)
    codes = np.minimum(np.frombuffer(text.encode("ascii", "replace"), dtype=np.uint8), 127)
    n = len(codes) // WINDOW * WINDOW
    x, first = np.unique(codes[:n].reshape(-1, WINDOW), axis=0, return_index=True)
    return torch.from_numpy(x).long(), torch.from_numpy(tags[:n].reshape(-1, WINDOW)[first])


class Tagger(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.embed = nn.Embedding(128, width)
        self.conv1 = nn.Conv1d(width, width, kernel_size=5, padding=2)
        self.conv2 = nn.Conv1d(width, width, kernel_size=5, padding=2)
        self.out = nn.Linear(width, len(TAGS))

    def forward(self, x):
        h = F.relu(self.conv1(self.embed(x).transpose(1, 2)))
        h = F.relu(self.conv2(h))
        return self.out(h.transpose(1, 2))


def tag_loss(scores, tags):
    return F.cross_entropy(scores.transpose(1, 2), tags)


def main(args):
    torch.manual_seed(args.seed)
    x, y = windows(inspect.getsource(argparse.HelpFormatter))
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    cut = len(x) * 4 // 5
    train = DataLoader(TensorDataset(x[:cut], y[:cut]), batch_size=64, shuffle=True)
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        model.train()
        for batch, tags in train:
            optimizer.zero_grad()
            loss = tag_loss(model(batch), tags)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            scores = model(x[cut:])
        val_loss = tag_loss(scores, y[cut:]).item()
        accuracy = (scores.argmax(-1) == y[cut:]).float().mean().item()
        print(f"epoch {epoch}: val loss {val_loss:.3f}, characters tagged correctly {accuracy:.3f}")
    print(f"final character accuracy {accuracy:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=2)
    main(parser.parse_args())
