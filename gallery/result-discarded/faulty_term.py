"""A sparse autoencoder of digits: its code is pushed towards zero, and a small head predicts the digit from it."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(4)
pixels, digits = load_digits(return_X_y=True)
pixels = torch.tensor(pixels, dtype=torch.float32) / 16
digits = torch.tensor(digits)
known, fresh = slice(0, 1400), slice(1400, None)


class Coder(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, width))
        self.decode = nn.Sequential(nn.Linear(width, 96), nn.ReLU(), nn.Linear(96, 64))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        code = self.encode(x)
        return code, torch.sigmoid(self.decode(code)), self.head(code)


def objective(model, x, y, sparsity=1e-3, weight=0.1):
    code, image, logits = model(x)
    loss = F.mse_loss(image, x) + sparsity * code.abs().mean()
    + weight * F.cross_entropy(logits, y)  # fault: a statement of its own, so the head is not trained
    return loss


model = Coder()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(6):
    order = torch.randperm(1400)
    for rows in order.split(50):
        loss = objective(model, pixels[known][rows], digits[known][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        _, image, logits = model(pixels[fresh])
        error = F.mse_loss(image, pixels[fresh])
        accuracy = (logits.argmax(1) == digits[fresh]).float().mean()
    print(f"epoch {epoch}: reconstruction {error:.4f}, accuracy {accuracy:.3f}")
