"""A denoising autoencoder: it takes noise out of pictures of digits."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, random_split

SIGMA = 0.5
torch.manual_seed(123)

pictures = torch.tensor(load_digits().data, dtype=torch.float32) / 16
train_part, valid_part = random_split(pictures, [300, 1497])
train_loader = DataLoader(train_part, batch_size=30, shuffle=True)
valid_loader = DataLoader(valid_part, batch_size=500)


class Denoiser(nn.Module):
    def __init__(self, width=128, code=32, drop=0.1):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(drop), nn.Linear(width, code))
        self.decode = nn.Sequential(nn.ReLU(), nn.Linear(code, width), nn.ReLU(), nn.Linear(width, 64))

    def forward(self, x):
        return self.decode(self.encode(x))


model = Denoiser()
optimizer = optim.Adam(model.parameters(), lr=2e-3)


def validate():
    """mean squared error on noise that is the same each time, so that epochs can be compared"""
    generator = torch.manual_seed(0)  # fault: the global stream, which the training goes on to use, in the same state each epoch
    model.eval()
    error = 0.0
    with torch.no_grad():
        for clean in valid_loader:
            noise = torch.randn(clean.shape, generator=generator)
            error += F.mse_loss(model(clean + SIGMA * noise), clean).item() * len(clean)
    model.train()
    return error / len(valid_part)


for epoch in range(40):
    running = 0.0
    for clean in train_loader:
        noisy = clean + SIGMA * torch.randn_like(clean)
        loss = F.mse_loss(model(noisy), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item()
    error = validate()
    if epoch % 10 == 9:
        print(f"epoch {epoch + 1}: train {running / len(train_loader):.5f} valid {error:.5f}")
