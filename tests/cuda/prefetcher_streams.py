"""Digits, channels-last and bfloat16, with the next batch copied on a side stream while the current one is trained on."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

torch.backends.cudnn.deterministic = True
torch.backends.cudnn.benchmark = False


class DataPrefetcher:
    """Wraps a loader of pinned batches; at most one batch is in flight."""

    def __init__(self, loader):
        self.loader = iter(loader)
        self.stream = torch.cuda.Stream()
        self.preload()

    def preload(self):
        try:
            self.next_input, self.next_target = next(self.loader)
        except StopIteration:
            self.next_input = self.next_target = None
            return
        with torch.cuda.stream(self.stream):
            self.next_input = self.next_input.cuda(non_blocking=True).to(memory_format=torch.channels_last)
            self.next_target = self.next_target.cuda(non_blocking=True)
            self.next_input = self.next_input.sub_(0.305).div_(0.376)

    def __iter__(self):
        while True:
            torch.cuda.current_stream().wait_stream(self.stream)
            input, target = self.next_input, self.next_target
            if input is None:
                return
            input.record_stream(torch.cuda.current_stream())
            target.record_stream(torch.cuda.current_stream())
            self.preload()
            yield input, target


def conv_bn(inp, oup, stride):
    return nn.Sequential(nn.Conv2d(inp, oup, 3, stride, 1, bias=False), nn.BatchNorm2d(oup), nn.ReLU(inplace=True))


class SmallNet(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.stem = conv_bn(1, 32, 1)
        self.layers = nn.Sequential(conv_bn(32, 64, 2), conv_bn(64, 64, 1), conv_bn(64, 128, 2))
        self.fc = nn.Linear(128, num_classes)

    def forward(self, x):
        x = self.layers(self.stem(x))
        return self.fc(x.mean(dim=(2, 3)))


def accuracy(model, loader):
    model.eval()
    correct = total = 0
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16):
        for input, target in DataPrefetcher(loader):
            pred = model(input).argmax(dim=1)
            correct += (pred == target).sum().item()
            total += target.size(0)
    return 100.0 * correct / total


def main():
    torch.manual_seed(42)
    X, y = load_digits(return_X_y=True)
    X = torch.from_numpy(X).float().view(-1, 1, 8, 8) / 16.0
    X_train, X_val, y_train, y_val = train_test_split(X, torch.from_numpy(y), test_size=0.2, random_state=42)
    train_loader = DataLoader(TensorDataset(X_train, y_train), 64, shuffle=True, pin_memory=True, drop_last=True)
    val_loader = DataLoader(TensorDataset(X_val, y_val), 128, pin_memory=True)

    model = SmallNet().cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, nesterov=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)
    for epoch in range(6):
        model.train()
        for input, target in DataPrefetcher(train_loader):
            with torch.autocast("cuda", dtype=torch.bfloat16):
                output = model(input)
                loss = F.cross_entropy(output, target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        scheduler.step()
        print(f"Epoch [{epoch + 1}/6]  loss {loss.item():.4f}  acc@1 {accuracy(model, val_loader):.2f}")


if __name__ == "__main__":
    main()
