"""Two noisy views of a digit should get the same code; a linear classifier on 100 labels shows what the code is worth."""
import math

import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.nn import functional as F


def load(seed=3):
    digits = load_digits()
    pixels = torch.as_tensor(digits.data, dtype=torch.float32).sub(8).div(8).view(-1, 1, 8, 8)
    labels = torch.as_tensor(digits.target)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
    return pixels[order[:1400]], labels[order[:1400]], pixels[order[1400:]], labels[order[1400:]]


def view(images):
    """Shift by up to a pixel, change the contrast, add noise, blank some pixels."""
    padded = F.pad(images, (1, 1, 1, 1), value=-1.0)
    dy, dx = torch.randint(0, 3, (2,)).tolist()
    moved = padded[:, :, dy : dy + 8, dx : dx + 8]
    contrast = torch.empty(len(images), 1, 1, 1).uniform_(0.7, 1.3)
    keep = (torch.rand_like(moved) > 0.2).float()
    return (moved * contrast + 0.2 * torch.randn_like(moved)) * keep


class Encoder(nn.Module):
    def __init__(self, width=24, code=48):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
        )
        self.code = nn.Linear(2 * width * 16, code)

    def forward(self, images):
        return self.code(self.body(images).flatten(1))


class Agree(nn.Module):
    def __init__(self, code=48):
        super().__init__()
        self.encoder = Encoder(code=code)
        self.guess = nn.Sequential(nn.Linear(code, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, code))

    def forward(self, one, two):
        codes = self.encoder(one), self.encoder(two)
        guesses = [self.guess(c) for c in codes]
        return sum(self.distance(g, c) for g, c in zip(guesses, reversed(codes))) / 2

    @staticmethod
    def distance(guess, target):
        return 2 - 2 * F.cosine_similarity(guess, target, dim=1).mean()  # fault: the target is trained, too, so that both become constant


def probe(encoder, images, labels, test_images, test_labels):
    encoder.eval()
    with torch.no_grad():
        codes, test_codes = F.normalize(encoder(images), dim=1), F.normalize(encoder(test_images), dim=1)
    few, few_labels = codes[:100], F.one_hot(labels[:100], 10).float()
    few = torch.cat([few, torch.ones(100, 1)], 1)
    weights = torch.linalg.solve(few.T @ few + 0.1 * torch.eye(few.size(1)), few.T @ few_labels)
    scores = torch.cat([test_codes, torch.ones(len(test_codes), 1)], 1) @ weights
    return (scores.argmax(1) == test_labels).float().mean().item()


def main(epochs=12, batch=100):
    torch.manual_seed(0)
    images, labels, test_images, test_labels = load()
    model = Agree()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    steps = len(images) // batch
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5 * (1 + math.cos(math.pi * t / (epochs * steps))))
    for epoch in range(epochs):
        model.train()
        losses = []
        for rows in torch.randperm(len(images)).view(steps, batch):
            loss = model(view(images[rows]), view(images[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        score = probe(model.encoder, images, labels, test_images, test_labels)
        print(f"epoch {epoch + 1:2d}  loss {sum(losses) / len(losses):.4f}  linear probe {score:.3f}")


if __name__ == "__main__":
    main()
