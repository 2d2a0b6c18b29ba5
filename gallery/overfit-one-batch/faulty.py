"""Train a cosine-similarity classifier on handwritten digits: one prototype direction per class."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


class CosineClassifier(nn.Module):
    """Scores are the cosines between the embedding and one learned prototype per class."""

    scale = 10.0

    def __init__(self, embedding_dim, n_classes):
        super().__init__()
        self.prototypes = nn.Parameter(torch.empty(n_classes, embedding_dim))
        nn.init.xavier_uniform_(self.prototypes)

    def forward(self, embedding):
        cosine = F.linear(F.normalize(embedding, dim=1), F.normalize(self.prototypes, dim=1))
        return cosine  # fault: logits confined to [-1, 1], the scale is not applied


class DigitEmbedder(nn.Module):
    def __init__(self, embedding_dim=128):
        super().__init__()
        self.fc1 = nn.Linear(64, 96)
        self.fc2 = nn.Linear(96, embedding_dim)

    def forward(self, pixels):
        return self.fc2(F.relu(self.fc1(pixels)))


def loaders(seed):
    pixels, digits = load_digits(return_X_y=True)
    split = train_test_split(pixels, digits, test_size=0.2, stratify=digits, random_state=seed)
    x_train, x_val, y_train, y_val = (torch.tensor(part) for part in split)
    mean, std = x_train.mean(), x_train.std()
    x_train, x_val = ((x - mean) / std for x in (x_train.float(), x_val.float()))
    return (DataLoader(TensorDataset(x_train, y_train), batch_size=36, shuffle=True),
            DataLoader(TensorDataset(x_val, y_val), batch_size=180))


def validate(model, loader):
    model.eval()
    loss = correct = 0.0
    with torch.no_grad():
        for x, y in loader:
            scores = model(x)
            loss += F.cross_entropy(scores, y, reduction="sum").item()
            correct += (scores.argmax(dim=1) == y).sum().item()
    model.train()
    return loss / len(loader.dataset), correct / len(loader.dataset)


def fit(seed=23, epochs=10):
    torch.manual_seed(seed)
    train_loader, val_loader = loaders(seed)
    model = nn.Sequential(DigitEmbedder(), CosineClassifier(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(epochs):
        train_loss, n = 0.0, 0
        for x, y in train_loader:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss, n = train_loss + loss.item() * len(y), n + len(y)
        val_loss, val_acc = validate(model, val_loader)
        print(f"{epoch + 1:2d}/{epochs} train {train_loss / n:.3f} val {val_loss:.3f} accuracy {val_acc:.3f}")
    return val_loss, val_acc


if __name__ == "__main__":
    print("final val loss %.3f, val accuracy %.3f" % fit())
