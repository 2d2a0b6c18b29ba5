"""Tell wave forms apart with a bidirectional LSTM, written as a class with a fit method."""
import numpy as np
import torch
from torch import nn


def make_waves(n, length, rng):
    """Sine, square and saw-tooth waves with random phase and frequency, and noise."""
    kind = rng.integers(0, 3, n)
    phase = rng.uniform(0, 1, (n, 1))
    turns = rng.uniform(1.0, 2.5, (n, 1)) * np.linspace(0, 1, length) + phase
    shapes = np.stack([np.sin(2 * np.pi * turns), np.sign(np.sin(2 * np.pi * turns)), 2 * (turns % 1) - 1])
    waves = shapes[kind, np.arange(n)] + 0.3 * rng.normal(size=(n, length))
    return torch.tensor(waves, dtype=torch.float32), torch.tensor(kind)


class WaveClassifier(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.lstm = nn.LSTM(2, hidden, batch_first=True, bidirectional=True)
        self.out = nn.Sequential(nn.Linear(2 * hidden, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, waves):
        steps = waves.diff(dim=1, prepend=waves[:, :1])
        _, (last, _) = self.lstm(torch.stack([waves, steps], dim=-1))
        summary = last.transpose(0, 1).reshape(waves.size(0), -1)
        return self.out(summary)


class Trainer:
    def __init__(self, model, lr):
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        self.criterion = nn.CrossEntropyLoss()

    def fit(self, waves, kinds, epochs, batch_size=60):
        for epoch in range(epochs):
            self.model.train()
            total = 0.0
            for batch in torch.randperm(len(waves)).split(batch_size):
                self.optimizer.zero_grad()
                loss = self.criterion(self.model(waves[batch]), kinds[batch])
                loss.backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.optimizer.step()
                total += loss.item() * len(batch)
            print(f"epoch {epoch + 1} loss {total / len(waves):.3f}")

    @torch.no_grad()
    def score(self, waves, kinds):
        self.model.eval()
        return (self.model(waves).argmax(1) == kinds).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    train, test = make_waves(900, 32, rng), make_waves(300, 32, rng)
    trainer = Trainer(WaveClassifier(), lr=5e-3)
    trainer.fit(*train, epochs=4)
    print(f"test accuracy {trainer.score(*test):.3f}")
