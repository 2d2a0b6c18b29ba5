"""Multi-label attributes of digits (even, prime, has a loop, ...) from their images, one logit per attribute."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

ATTRIBUTES = {
    "even": {0, 2, 4, 6, 8},
    "prime": {2, 3, 5, 7},
    "loop": {0, 6, 8, 9},
    "large": {5, 6, 7, 8, 9},
}


class DigitAttributes(Dataset):
    def __init__(self, images, digits):
        self.images = torch.tensor(images, dtype=torch.float32).div(16).sub(0.3)
        self.labels = torch.tensor([[float(d in group) for group in ATTRIBUTES.values()] for d in digits])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"image": self.images[index].unsqueeze(0), "attributes": self.labels[index]}


class AttributeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(3, 12)
        self.out = nn.Linear(12 * 16, len(ATTRIBUTES))

    def forward(self, image):
        return self.out(torch.relu(self.norm(self.conv(image))).flatten(1))


def evaluate(model, loader):
    model.eval()
    right = torch.zeros(len(ATTRIBUTES))
    for batch in loader:
        with torch.no_grad():
            logits = model(batch["image"])
        found = logits >= 0.0
        right += (found == batch["attributes"].bool()).sum(dim=0)
    model.train()
    return (right / len(loader.dataset)).tolist()


def run(epochs=6):
    torch.manual_seed(11)
    bunch = load_digits()
    train = DigitAttributes(bunch.images[:1300], bunch.target[:1300])
    valid = DigitAttributes(bunch.images[1300:], bunch.target[1300:])
    train_loader = DataLoader(train, batch_size=40, shuffle=True)
    valid_loader = DataLoader(valid, batch_size=71)
    model = AttributeNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(epochs):
        for batch in train_loader:
            loss = nn.functional.binary_cross_entropy_with_logits(model(batch["image"]), batch["attributes"])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        shares = evaluate(model, valid_loader)
        print(epoch, "  ".join(f"{name} {share:.3f}" for name, share in zip(ATTRIBUTES, shares)))


if __name__ == "__main__":
    run()
