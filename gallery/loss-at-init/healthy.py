"""Train a residual network of fully connected blocks on handwritten digits."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)

    def forward(self, x):
        return x + self.down(F.relu(self.up(self.norm(x))))


class ResidualMLP(nn.Module):
    def __init__(self, width=48, depth=2, classes=10):
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, classes)
        self.reset_head()

    def reset_head(self):
        nn.init.normal_(self.head.weight, std=0.05)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def prepare(seed, batch_size):
    x, y = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.2, random_state=seed, stratify=y)
    x_train, x_val = (torch.tensor(part / 8.0 - 1.0, dtype=torch.float32) for part in (x_train, x_val))
    train = TensorDataset(x_train, torch.tensor(y_train))
    val = TensorDataset(x_val, torch.tensor(y_val))
    return DataLoader(train, batch_size, shuffle=True), DataLoader(val, 120)


def main():
    torch.manual_seed(6)
    train_loader, val_loader = prepare(seed=6, batch_size=32)
    net = ResidualMLP()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

    for epoch in range(1, 11):
        net.train()
        for images, labels in train_loader:
            loss = F.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        net.eval()
        hits, loss_sum = 0, 0.0
        with torch.no_grad():
            for images, labels in val_loader:
                logits = net(images)
                loss_sum += F.cross_entropy(logits, labels, reduction="sum").item()
                hits += (logits.argmax(1) == labels).sum().item()
        n = len(val_loader.dataset)
        print(f"epoch {epoch:2d} | val loss {loss_sum / n:.4f} | val acc {hits / n:.4f}")

    print(f"final val acc {hits / n:.4f} (loss {loss_sum / n:.4f})")


if __name__ == "__main__":
    main()
