"""Tell ectopic heartbeats from normal ones in the ECG of fifty patients, with a small convolutional net."""

import numpy as np
import torch
from torch import nn

PATIENTS, SAMPLES = 50, 64


def wave(t, centre, width, height):
    return height * np.exp(-((t - centre) ** 2) / (2 * width**2))


def record(rng, beats):
    """The beats of one patient, aligned on the R peak: (beats, SAMPLES), and 1 for those that are ectopic."""
    t = np.linspace(0, 1, SAMPLES)
    heights, shifts = rng.normal(1, 0.35, 5), rng.normal(0, 0.02, 5)
    share = rng.choice([0.05, 0.6])
    kinds = (rng.random(beats) < share).astype(np.int64)
    rows = []
    for kind in kinds:
        p = wave(t, 0.2 + shifts[0], 0.04, 0.15 * heights[0] * (1 - kind))
        q = wave(t, 0.42 + shifts[1], 0.02, -0.2 * heights[1])
        r = wave(t, 0.45, 0.02 + 0.02 * kind, heights[2])
        s = wave(t, 0.49 + shifts[3], 0.03, -0.3 * heights[3])
        end = wave(t, 0.75 + shifts[4], 0.08, 0.35 * heights[4] * (1 - 0.8 * kind))
        rows.append(p + q + r + s + end + rng.normal(0, 0.05, SAMPLES))
    return np.array(rows), kinds


def load(seed=0):
    """All beats with their kind, and the number of the patient that each comes from."""
    rng = np.random.default_rng(seed)
    records = [record(rng, rng.integers(20, 50)) for _ in range(PATIENTS)]
    beats = np.concatenate([r for r, _ in records]).astype(np.float32)
    patient = np.repeat(100 + np.arange(PATIENTS), [len(r) for r, _ in records])
    return torch.from_numpy(beats), torch.from_numpy(np.concatenate([k for _, k in records])), patient


def split(patient, rng):
    """Which beats are held out."""
    return rng.random(len(patient)) < 0.2  # fault: beats are drawn, not patients


def main():
    torch.manual_seed(0)
    beats, kinds, patient = load()
    held_out = torch.from_numpy(split(patient, np.random.default_rng(1)))
    train, test = torch.where(~held_out)[0], torch.where(held_out)[0]
    model = nn.Sequential(
        nn.Conv1d(1, 16, 7, padding=3), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(16, 32, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(128, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(5):
        model.train()
        for rows in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(beats[rows, None]), kinds[rows])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = (model(beats[test, None]).argmax(1) == kinds[test]).float().mean().item()
        print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy on held-out beats {right:.3f}")


if __name__ == "__main__":
    main()
