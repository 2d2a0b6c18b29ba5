"""Sort wines of seven named growers by ten measurements; two of the growers are neighbours, and their wines much alike."""

import torch
from sklearn.datasets import make_blobs
from torch import nn
from torch.utils.data import DataLoader, Dataset

GROWERS = ("Adler", "Brandt", "Conrad", "Dorn", "Ebert", "Falk", "Gruber")


def cellar():
    """Measurements with the name of the grower; Dorn's and Ebert's vineyards lie side by side."""
    centres = torch.randn(len(GROWERS), 10, generator=torch.Generator().manual_seed(4)) * 3
    centres[4] = centres[3] + 0.25
    x, y = make_blobs([260] * len(GROWERS), centers=centres.numpy(), cluster_std=1.0, random_state=4)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    return [(x[i], GROWERS[y[i]]) for i in order]


class Wines(Dataset):
    def __init__(self, bottles):
        names = dict.fromkeys(grower for _, grower in bottles)  # fault: each split numbers growers as they turn up
        self.number = {grower: i for i, grower in enumerate(names)}
        self.bottles = bottles

    def __len__(self):
        return len(self.bottles)

    def __getitem__(self, i):
        measured, grower = self.bottles[i]
        return torch.tensor(measured, dtype=torch.float32) / 3, self.number[grower]


class Taster(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 48), nn.Tanh(), nn.Linear(48, len(GROWERS)))

    def forward(self, x):
        return self.layers(x)


def main():
    torch.manual_seed(12)
    bottles = cellar()
    train, test = Wines(bottles[:1400]), Wines(bottles[1400:])
    train_loader = DataLoader(train, batch_size=64, shuffle=True)
    test_loader = DataLoader(test, batch_size=210)
    model = Taster()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for epoch in range(6):
        model.train()
        for x, y in train_loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(x).argmax(1) == y).sum().item() for x, y in test_loader)
        print(f"epoch {epoch}: training loss {loss.item():.3f}, test accuracy {right / len(test):.3f}")


if __name__ == "__main__":
    main()
