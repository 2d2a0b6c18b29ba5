"""Deep residual MLP on digits whose blocks are recomputed in the backward pass (torch.utils.checkpoint)."""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset


class Block(nn.Module):
    def __init__(self, dim, p):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 2 * dim)
        self.down = nn.Linear(2 * dim, dim)
        self.drop = nn.Dropout(p)

    def forward(self, x):
        return x + self.drop(self.down(nn.functional.gelu(self.up(self.norm(x)))))


class DeepNet(nn.Module):
    def __init__(self, dim=48, depth=4, p=0.1, use_checkpoint=True):
        super().__init__()
        self.stem = nn.Linear(64, dim)
        self.blocks = nn.ModuleList([Block(dim, p) for _ in range(depth)])
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))
        self.use_checkpoint = use_checkpoint

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            if self.use_checkpoint and self.training:
                # dropout inside: the RNG state is restored for the recomputation
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self.head(x)


def get_loaders(seed):
    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X, y, test_size=0.2, random_state=seed, stratify=y)
    mean, std = parts[0].mean(), parts[0].std()
    X_tr, X_va = (torch.tensor((a - mean) / std, dtype=torch.float32) for a in parts[:2])
    y_tr, y_va = (torch.tensor(a) for a in parts[2:])
    return (DataLoader(TensorDataset(X_tr, y_tr), batch_size=80, shuffle=True),
            DataLoader(TensorDataset(X_va, y_va), batch_size=180))


if __name__ == "__main__":
    torch.manual_seed(101)
    train_loader, valid_loader = get_loaders(101)
    model = DeepNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(6):
        model.train()
        train_loss = 0.0
        for xb, yb in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(xb), yb)
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(xb) / len(train_loader.dataset)
        model.eval()
        valid_loss = correct = 0.0
        with torch.no_grad():
            for xb, yb in valid_loader:
                out = model(xb)
                valid_loss += criterion(out, yb).item() * len(xb) / len(valid_loader.dataset)
                correct += (out.argmax(1) == yb).sum().item() / len(valid_loader.dataset)
        print(f"{epoch + 1}/6 train={train_loss:.4f} valid={valid_loss:.4f} acc={correct:.4f}")
    print(f"accuracy {correct:.4f} with {len(model.blocks)} checkpointed blocks")
