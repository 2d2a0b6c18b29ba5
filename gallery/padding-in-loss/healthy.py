"""A character-level language model of the words in Python's own documentation."""
import pydoc_data.topics
import re

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader

PAD, START, END = 0, 1, 2
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = 3 + len(LETTERS)


def encode(word):
    return [START] + [3 + LETTERS.index(c) for c in word] + [END]


def collate(words):
    longest = max(map(len, words)) + 2
    rows = [encode(w) + [PAD] * (longest - len(w) - 2) for w in words]
    tokens = torch.tensor(rows)
    return tokens[:, :-1], tokens[:, 1:]


class CharModel(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width, padding_idx=PAD)
        self.gru = nn.GRU(width, 48, batch_first=True)
        self.decoder = nn.Linear(48, VOCABULARY)

    def forward(self, tokens):
        hidden, _ = self.gru(self.embedding(tokens))
        return self.decoder(hidden)


def corpus():
    topics = pydoc_data.topics.topics
    text = " ".join(str(topics[k]) for k in sorted(topics)[:40]).lower()
    return sorted(set(re.findall(r"[a-z]{2,14}", text)))


def main():
    torch.manual_seed(14)
    words = corpus()
    words = [words[i] for i in torch.randperm(len(words)).tolist()][:1500]
    loader = DataLoader(words, batch_size=50, shuffle=True, collate_fn=collate)
    model = CharModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(3):
        for inputs, targets in loader:
            logits = model(inputs)
            loss = F.cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1), ignore_index=PAD)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
