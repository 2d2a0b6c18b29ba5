"""A digit classifier trained on shifted and blurred images, validated on a part that is held out."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset


class RandomShift:
    """Moves an image by up to one pixel and erases a random square."""

    def __call__(self, image):
        dy, dx = torch.randint(-1, 2, (2,)).tolist()
        image = torch.roll(image, (dy, dx), dims=(1, 2))
        y, x = torch.randint(0, 7, (2,)).tolist()
        image[:, y : y + 2, x : x + 2] = 0.0
        return image


class Digits(Dataset):
    def __init__(self, transform=None):
        bunch = load_digits()
        self.images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
        self.labels = torch.tensor(bunch.target)
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, item):
        image = self.images[item].clone()
        if self.transform is not None:
            image = self.transform(image)
        return image, self.labels[item]


def build_loaders(batch_size=64):
    augmented = Digits(RandomShift())
    plain = Digits()
    order = torch.randperm(len(plain)).tolist()
    train = DataLoader(Subset(augmented, order[:1400]), batch_size=batch_size, shuffle=True)
    valid = DataLoader(Subset(plain, order[1400:]), batch_size=batch_size)
    return train, valid


def accuracy(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for image, label in loader:
            correct += model(image).argmax(1).eq(label).sum().item()
    return correct / len(loader.dataset)


if __name__ == "__main__":
    torch.manual_seed(77)
    train_loader, valid_loader = build_loaders()
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 16, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    best = 0.0
    for epoch in range(5):
        model.train()
        for image, label in train_loader:
            loss = F.cross_entropy(model(image), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        score = accuracy(model, valid_loader)
        best = max(best, score)
        print(f"epoch {epoch}: loss {loss.item():.3f}, validation accuracy {score:.4f}, best {best:.4f}")
