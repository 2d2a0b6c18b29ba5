"""Clean noisy pictures of digits with a denoising autoencoder."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split


class DigitImages(Dataset):
    """The 1797 digit images, flat, with zero mean and unit spread."""

    def __init__(self):
        pixels = load_digits().data.astype(np.float32)
        self.pixels = torch.from_numpy((pixels - 4.88) / 6.02)

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        return self.pixels[index]


def build_model(sizes=(64, 96, 32, 96, 64)):
    layers = []
    for n_in, n_out in zip(sizes, sizes[1:]):
        layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers[:-1])  # no activation after the last layer


def add_noise(images, spread=0.4):
    return images + spread * torch.randn_like(images)


def make_train_step(model, optimizer, loss_fn):
    def train_step(clean):
        model.train()
        noisy = add_noise(clean)
        loss = loss_fn(model(noisy), clean)
        optimizer.zero_grad()
        loss.backward()  # fault: no optimizer step follows
        return loss.item()

    return train_step


def make_eval_step(model, loss_fn):
    def eval_step(noisy, clean):
        model.eval()
        with torch.no_grad():
            return loss_fn(model(noisy), clean).item()

    return eval_step


torch.manual_seed(99)
train_set, val_set = random_split(DigitImages(), [1500, 297])
train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
val_clean = torch.stack([image for image in val_set])
val_noisy = add_noise(val_clean)  # drawn once: every epoch is judged on the same pictures

model = build_model()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_fn = nn.MSELoss()
train_step = make_train_step(model, optimizer, loss_fn)
eval_step = make_eval_step(model, loss_fn)

for epoch in range(15):
    train_losses = [train_step(batch) for batch in train_loader]
    val_mse = eval_step(val_noisy, val_clean)
    print(f"epoch {epoch + 1:2d}: train mse {np.mean(train_losses):.4f}, val mse {val_mse:.4f}")

print(f"denoising mse on validation images: {val_mse:.4f}")
