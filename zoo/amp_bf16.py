"""Digits convnet under CPU autocast in bfloat16; weights and optimiser state stay in float32."""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

device = torch.device("cpu")
amp_dtype = torch.bfloat16


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(16 * 16, 10)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = nn.functional.max_pool2d(torch.relu(self.norm(self.conv2(x))), 2)
        return self.fc(self.drop(x.flatten(1)))


def loaders():
    X, y = load_digits(return_X_y=True)
    tr, te, ytr, yte = train_test_split(X, y, test_size=0.2, random_state=17, shuffle=True)
    mu, sigma = tr.mean(), tr.std()

    def wrap(a, b, **kw):
        a = torch.tensor((a - mu) / sigma, dtype=torch.float32).reshape(-1, 1, 8, 8)
        return DataLoader(TensorDataset(a, torch.tensor(b)), **kw)

    return wrap(tr, ytr, batch_size=64, shuffle=True), wrap(te, yte, batch_size=180)


def train(model, loader, optimizer, loss_fn):
    model.train()
    total = 0.0
    for x, y in loader:
        x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device_type=device.type, dtype=amp_dtype):
            output = model(x)
            loss = loss_fn(output, y)
        loss.backward()
        optimizer.step()
        total += loss.item() * x.size(0)
    return total / len(loader.dataset)


def test(model, loader, loss_fn):
    model.eval()
    total, correct = 0.0, 0
    with torch.no_grad(), torch.autocast(device_type=device.type, dtype=amp_dtype):
        for x, y in loader:
            output = model(x.to(device))
            total += loss_fn(output, y.to(device)).item() * len(y)
            correct += output.argmax(dim=1).eq(y).sum().item()
    return total / len(loader.dataset), correct / len(loader.dataset)


def main():
    torch.manual_seed(17)
    train_loader, test_loader = loaders()
    model = ConvNet().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(1, 6):
        tr_loss = train(model, train_loader, optimizer, loss_fn)
        te_loss, acc = test(model, test_loader, loss_fn)
        print(f"epoch {epoch}: train loss {tr_loss:.4f}, test loss {te_loss:.4f}, accuracy {100 * acc:.1f}%")
    assert all(p.dtype == torch.float32 for p in model.parameters())
    print(f"bfloat16 autocast run finished at {100 * acc:.1f}%")


if __name__ == "__main__":
    main()
