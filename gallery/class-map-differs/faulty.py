"""Recognise digits whose labels come as words; each split turns words into numbers."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class NamedDigits(Dataset):
    """Pictures with names, and a number for each name."""

    def __init__(self, pictures, names, classes):
        self.pictures = torch.tensor(pictures, dtype=torch.float32).div(16)
        self.index = {name: number for number, name in enumerate(classes)}
        self.names = names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, i):
        return self.pictures[i].flatten(), self.index[self.names[i]]


def load_splits():
    digits = load_digits()
    names = [WORDS[t] for t in digits.target]
    cut = 1300
    classes = sorted(set(names))
    train = NamedDigits(digits.images[:cut], names[:cut], classes)
    classes = list(dict.fromkeys(names[cut:]))  # fault: numbered in the order of appearance
    valid = NamedDigits(digits.images[cut:], names[cut:], classes)
    return train, valid


def main():
    torch.manual_seed(21)
    train, valid = load_splits()
    train_loader = DataLoader(train, batch_size=50, shuffle=True)
    valid_loader = DataLoader(valid, batch_size=100)
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for epoch in range(6):
        model.train()
        for pictures, numbers in train_loader:
            loss = F.cross_entropy(model(pictures), numbers)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for pictures, numbers in valid_loader:
                right += (model(pictures).argmax(-1) == numbers).sum().item()
        print(f"epoch {epoch}: training loss {loss.item():.3f}, validation accuracy {right / len(valid):.3f}")


if __name__ == "__main__":
    main()
