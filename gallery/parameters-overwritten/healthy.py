"""A denoising autoencoder of digits."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(4)


class Autoencoder(nn.Module):
    def __init__(self, inputs=64, hidden=24):
        super().__init__()
        self.encoder = nn.Linear(inputs, hidden)
        self.decoder = nn.Linear(hidden, inputs)

    def forward(self, x):
        code = torch.relu(self.encoder(x))
        return self.decoder(code)


class Trainer:
    def __init__(self, model, lr):
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def epoch(self, loader):
        self.model.train()
        total = 0.0
        for (clean,) in loader:
            noisy = clean + 0.2 * torch.randn_like(clean)
            loss = nn.functional.mse_loss(self.model(noisy), clean)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(clean)
        return total / len(loader.dataset)

    @torch.no_grad()
    def evaluate(self, images):
        self.model.eval()
        return nn.functional.mse_loss(self.model(images), images).item()


images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
loader = DataLoader(TensorDataset(images[:1500]), batch_size=50, shuffle=True)
trainer = Trainer(Autoencoder(), lr=1e-3)
for epoch in range(8):
    train = trainer.epoch(loader)
    print(f"epoch {epoch}: train {train:.5f}, test {trainer.evaluate(images[1500:]):.5f}")
