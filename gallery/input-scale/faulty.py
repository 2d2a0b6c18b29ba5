"""Classify wines by cultivar from thirteen chemical measurements."""
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, Dataset


class WineDataset(Dataset):
    def __init__(self, table, cultivar, scaler):
        self.x = torch.tensor(table, dtype=torch.float32)  # fault: raw columns, from 0.1 to 1,700
        self.y = torch.tensor(cultivar)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, row):
        return self.x[row], self.y[row]


class WineNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stack = nn.Sequential(
            nn.Linear(13, 32),
            nn.ReLU(),
            nn.Linear(32, 32),
            nn.ReLU(),
            nn.Linear(32, 3),
        )

    def forward(self, x):
        return self.stack(x)


def make_datasets(seed):
    wine = load_wine()
    x_train, x_val, y_train, y_val = train_test_split(
        wine.data, wine.target, test_size=0.3, stratify=wine.target, random_state=seed
    )
    scaler = StandardScaler().fit(x_train)
    return WineDataset(x_train, y_train, scaler), WineDataset(x_val, y_val, scaler)


def train_loop(dataloader, model, loss_fn, optimizer):
    model.train()
    total = 0.0
    for X, y in dataloader:
        loss = loss_fn(model(X), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.item() * len(y)
    return total / len(dataloader.dataset)


def val_loop(dataloader, model, loss_fn):
    model.eval()
    val_loss, correct = 0.0, 0
    with torch.no_grad():
        for X, y in dataloader:
            pred = model(X)
            val_loss += loss_fn(pred, y).item() * len(y)
            correct += (pred.argmax(1) == y).sum().item()
    return val_loss / len(dataloader.dataset), correct / len(dataloader.dataset)


if __name__ == "__main__":
    torch.manual_seed(33)
    train_set, val_set = make_datasets(seed=33)
    train_dataloader = DataLoader(train_set, batch_size=16, shuffle=True)
    val_dataloader = DataLoader(val_set, batch_size=54)
    model = WineNet()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for t in range(25):
        train_loss = train_loop(train_dataloader, model, loss_fn, optimizer)
        val_loss, accuracy = val_loop(val_dataloader, model, loss_fn)
        print(f"Epoch {t + 1:2d}: train {train_loss:.4f}, val {val_loss:.4f}, accuracy {accuracy:.3f}")
    print(f"Done, final val accuracy {accuracy:.3f}")
