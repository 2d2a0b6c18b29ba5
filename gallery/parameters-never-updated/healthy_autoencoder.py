"""Compress digit images to sixteen numbers and back with a wide autoencoder."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

SEED = 3
DTYPE = torch.float32
EPOCHS = 10
BATCH = 32
LR = 1e-4


class AutoEncoder(nn.Module):
    def __init__(self, pixels=64, width=256, code=16):
        super().__init__()
        self.enc1 = nn.Linear(pixels, width)
        self.enc2 = nn.Linear(width, code)
        self.dec1 = nn.Linear(code, width)
        self.dec2 = nn.Linear(width, pixels)

    def encode(self, x):
        return torch.tanh(self.enc2(torch.relu(self.enc1(x))))

    def forward(self, x):
        return self.dec2(torch.relu(self.dec1(self.encode(x))))


def reconstruction_error(model, images):
    """Mean squared error, in single precision."""
    return nn.functional.mse_loss(model(images.to(DTYPE)).float(), images)


def split_pixels(rng):
    pixels = load_digits().data.astype(np.float32)
    pixels = pixels[rng.permutation(len(pixels))]
    train, val = pixels[:1440], pixels[1440:]
    centre, scale = train.mean(), train.std()
    return torch.from_numpy((train - centre) / scale), torch.from_numpy((val - centre) / scale)


def main():
    torch.manual_seed(SEED)
    train, val = split_pixels(np.random.default_rng(SEED))
    model = AutoEncoder().to(DTYPE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)

    for epoch in range(1, EPOCHS + 1):
        model.train()
        losses = []
        for batch in train[torch.randperm(len(train))].split(BATCH):
            loss = reconstruction_error(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

        model.eval()
        with torch.no_grad():
            val_error = reconstruction_error(model, val).item()
        print(f"epoch {epoch:2d}  train mse {np.mean(losses):.4f}  val mse {val_error:.4f}")

    print(f"validation mse {val_error:.4f}")


if __name__ == "__main__":
    main()
