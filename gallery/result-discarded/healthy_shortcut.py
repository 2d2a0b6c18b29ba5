"""Residual MLP that tells the three wines apart, pre-norm as in a transformer."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class PreNormBlock(nn.Module):
    def __init__(self, width, factor=2, dropout=0.1):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, factor * width)
        self.reduce = nn.Linear(factor * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden):
        batch = hidden.shape[0]
        assert batch > 0, "empty batch"
        shortcut = hidden
        hidden = F.gelu(self.expand(self.norm(hidden)))
        hidden = self.dropout(self.reduce(hidden))
        return shortcut + hidden


class WineNet(nn.Module):
    def __init__(self, features, width=32, depth=6, classes=3):
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.blocks = nn.ModuleList(PreNormBlock(width) for _ in range(depth))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        hidden = self.embed(x)
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(hidden)


def main():
    torch.manual_seed(8)
    x, y = load_wine(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    scaler = StandardScaler().fit(x)
    x, x_test = (torch.tensor(scaler.transform(a), dtype=torch.float32) for a in (x, x_test))
    y, y_test = torch.tensor(y), torch.tensor(y_test)
    model = WineNet(x.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(12):
        model.train()
        for inputs, labels in DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True):
            loss = F.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
        print(f"epoch {epoch}: loss {loss.item():.3f}, test accuracy {accuracy:.3f}")


main()
