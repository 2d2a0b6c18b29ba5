"""Denoising autoencoder on digits: spectrally normalised encoder, decoder tied to the encoder's transposed weights."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader, TensorDataset, random_split


class TiedAutoencoder(nn.Module):
    def __init__(self, sizes=(64, 48, 24)):
        super().__init__()
        self.layers = nn.ModuleList(
            spectral_norm(nn.Linear(a, b)) for a, b in zip(sizes[:-1], sizes[1:])
        )
        self.back_bias = nn.ParameterList(nn.Parameter(torch.zeros(a)) for a in sizes[:-1])
        # a contraction cannot restore the scale of the data by itself
        self.gain = nn.Parameter(torch.full((1,), 2.0))
        self.act = nn.LeakyReLU(0.2)

    def encode(self, x):
        for layer in self.layers:
            x = self.act(layer(x))
        return x

    def decode(self, z):
        depth = len(self.layers)
        for i in reversed(range(depth)):
            z = nn.functional.linear(z, self.layers[i].weight.t(), self.back_bias[i])
            if i:
                z = self.act(z)
        return self.gain * z

    def forward(self, x):
        with parametrize.cached():  # the same normalised weight in both directions
            return self.decode(self.encode(x))


class Running:
    def __init__(self):
        self.total, self.n = 0.0, 0

    def add(self, value, n):
        self.total += value * n
        self.n += n

    @property
    def mean(self):
        return self.total / self.n


def main():
    torch.manual_seed(64)
    raw = torch.tensor(load_digits().data, dtype=torch.float32)
    train, valid = random_split(raw, [0.8, 0.2])
    mean, std = raw[train.indices].mean(), raw[train.indices].std()
    train = TensorDataset((raw[train.indices] - mean) / std)
    valid = TensorDataset((raw[valid.indices] - mean) / std)
    train_loader = DataLoader(train, batch_size=50, shuffle=True)
    valid_loader = DataLoader(valid, batch_size=100)
    model = TiedAutoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(1, 11):
        model.train()
        tr = Running()
        for (x,) in train_loader:
            loss = nn.functional.mse_loss(model(x + 0.2 * torch.randn_like(x)), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tr.add(loss.item(), len(x))
        model.eval()
        va = Running()
        with torch.no_grad():
            for (x,) in valid_loader:
                va.add(nn.functional.mse_loss(model(x), x).item(), len(x))
        print(f"epoch {epoch:2d}  train {tr.mean:.4f}  valid {va.mean:.4f}  gain {model.gain.item():.3f}")
    largest = max(torch.linalg.matrix_norm(layer.weight, 2).item() for layer in model.layers)
    print(f"valid mse {va.mean:.4f}, largest singular value {largest:.3f}")


if __name__ == "__main__":
    main()
