"""The next letter of the words in Python's own documentation, from windows of sixteen letters."""

import pydoc_data.topics
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Letters(Dataset):
    def __init__(self, codes, width):
        self.codes = codes
        self.width = width

    def __len__(self):
        return len(self.codes) - self.width

    def __getitem__(self, index):
        return self.codes[index : index + self.width], self.codes[index + self.width]


def read(width):
    text = pydoc_data.topics.topics["assignment"][:6000].lower()
    letters = sorted(set(text))
    codes = torch.tensor([letters.index(c) for c in text])
    cut = len(codes) * 5 // 6
    return Letters(codes[:cut].clone(), width), Letters(codes[cut:].clone(), width), len(letters)


def main(width=16, epochs=2):
    torch.manual_seed(9)
    train, valid, kinds = read(width)
    net = nn.Sequential(nn.Embedding(kinds, 12), nn.Flatten(), nn.Linear(12 * width, 96), nn.ReLU(), nn.Linear(96, kinds))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for epoch in range(epochs):
        net.train()
        for window, letter in DataLoader(train, batch_size=64, shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(window), letter)
            loss.backward()
            optimizer.step()
        net.eval()
        total = 0.0
        with torch.no_grad():
            for window, letter in DataLoader(valid, batch_size=200):
                total += nn.functional.cross_entropy(net(window), letter, reduction="sum").item()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, validation {total / len(valid):.3f}")


main()
