"""Pre-train a backbone on digits 0-4, freeze it, then train a new head on digits 5-9."""
import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class Backbone(nn.Module):
    def __init__(self, out_features=64):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 16, out_features),
            nn.ReLU(inplace=True),
        )
        self.out_features = out_features

    def forward(self, x):
        return self.features(x)


def split(x, y, classes, generator):
    rows = torch.nonzero((y >= classes[0]) & (y <= classes[1])).squeeze(1)
    rows = rows[torch.randperm(len(rows), generator=generator)]
    cut = int(0.8 * len(rows))
    part = lambda r: TensorDataset(x[r], y[r] - classes[0])
    return {"train": DataLoader(part(rows[:cut]), batch_size=40, shuffle=True),
            "val": DataLoader(part(rows[cut:]), batch_size=100)}


def train_model(model, dataloaders, criterion, optimizer, num_epochs, label):
    for epoch in range(num_epochs):
        for phase in ["train", "val"]:
            if phase == "train":
                model.train()
            else:
                model.eval()
            running_loss, running_corrects = 0.0, 0
            for inputs, labels in dataloaders[phase]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                running_loss += loss.item() * inputs.size(0)
                running_corrects += torch.sum(outputs.argmax(1) == labels).item()
            n = len(dataloaders[phase].dataset)
            print(f"{label} {epoch}/{num_epochs - 1} {phase:5s} loss {running_loss / n:.4f} acc {running_corrects / n:.4f}")
    return running_corrects / n


def main():
    torch.manual_seed(30)
    g = torch.Generator().manual_seed(30)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    x = (x - 4.88) / 6.02   # mean and deviation of the pixels
    y = torch.tensor(digits.target)

    backbone = Backbone()
    pretrain_model = nn.Sequential(backbone, nn.Linear(backbone.out_features, 5))
    optimizer = optim.Adam(pretrain_model.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss()
    train_model(pretrain_model, split(x, y, (0, 4), g), criterion, optimizer, 4, "pretrain")

    for param in backbone.parameters():
        param.requires_grad = False
    before = [p.clone() for p in backbone.parameters()]
    head = nn.Linear(backbone.out_features, 5)
    model = nn.Sequential(backbone, head)
    optimizer_head = optim.SGD(head.parameters(), lr=0.03, momentum=0.9)
    acc = train_model(model, split(x, y, (5, 9), g), criterion, optimizer_head, 6, "head")

    unchanged = all(torch.equal(a, b) for a, b in zip(before, backbone.parameters()))
    print(f"transfer accuracy {acc:.4f}, backbone unchanged: {unchanged}")


if __name__ == "__main__":
    main()
