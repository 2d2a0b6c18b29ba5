"""Diabetes progression by a small network, one shard of two, as in a job with two processes (this one is rank 0)."""
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

WORLD, RANK = 2, 0


class Trainer:
    def __init__(self, model, train_set, valid_set, batch_size=20):
        self.model = model
        self.sampler = DistributedSampler(train_set, num_replicas=WORLD, rank=RANK, shuffle=True, seed=1)
        self.loader = DataLoader(train_set, batch_size=batch_size, sampler=self.sampler)
        self.valid = DataLoader(valid_set, batch_size=100)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-4)
        self.criterion = nn.MSELoss()

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def validate(self):
        self.model.eval()
        errors = []
        with torch.no_grad():
            for x, y in self.valid:
                errors.append((self.model(x) - y).square())
        return torch.cat(errors).mean().item()

    def fit(self, epochs):
        for epoch in range(epochs):
            self.sampler.set_epoch(epoch)
            self.model.train()
            losses = [self.step(x, y) for x, y in self.loader]
            if epoch % 4 == 3:
                print(f"epoch {epoch + 1}: train {sum(losses) / len(losses):.4f}, valid {self.validate():.4f}")


def main():
    torch.manual_seed(41)
    table = load_diabetes()
    x = torch.tensor(table.data, dtype=torch.float32) * 20
    y = torch.tensor(table.target, dtype=torch.float32).unsqueeze(1)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    y = (y - y[:360].mean()) / y[:360].std()
    model = nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Linear(32, 1))
    Trainer(model, TensorDataset(x[:360], y[:360]), TensorDataset(x[360:], y[360:])).fit(16)


main()
