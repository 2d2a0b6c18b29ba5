"""Digits by a small convolutional network with SGD; the learning rate is halved by hand where the validation loss rises."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(7)
table = load_digits()
everything = TensorDataset(torch.tensor(table.images[:, None] / 8 - 1, dtype=torch.float32), torch.tensor(table.target))
train_part, valid_part = random_split(everything, [1500, 297])
train_batches = DataLoader(train_part, batch_size=50, shuffle=True)
valid_batches = DataLoader(valid_part, batch_size=99)


class Trainer:
    def __init__(self, rate=0.4):
        self.model = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=rate)
        self.rate, self.lowest = rate, float("inf")

    def one_epoch(self):
        self.model.train()
        for images, digits in train_batches:
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(images), digits).backward()
            self.optimizer.step()

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        losses = [nn.functional.cross_entropy(self.model(x), y) for x, y in valid_batches]
        return torch.stack(losses).mean().item()

    def adapt(self, loss):
        self.rate *= 0.5 if loss > self.lowest else 0.9
        self.lowest = min(self.lowest, loss)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate


trainer = Trainer()
for epoch in range(12):
    trainer.one_epoch()
    loss = trainer.validate()
    trainer.adapt(loss)
    print(f"epoch {epoch}: validation loss {loss:.4f}, learning rate {trainer.rate:.4f}")
