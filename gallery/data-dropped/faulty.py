"""Benign or malignant from thirty measured features; a small MLP on the breast cancer table."""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Tumours(Dataset):
    """Standardised measurements and diagnosis of one patient per row."""

    def __init__(self, features, diagnosis, mean, scale):
        self.features = ((features - mean) / scale).astype(np.float32)
        self.diagnosis = diagnosis.astype(np.float32)

    def __len__(self):
        return self.features.shape[1]  # fault: the number of features, not of patients

    def __getitem__(self, row):
        return torch.from_numpy(self.features[row]), torch.tensor(self.diagnosis[row])


class Diagnosis(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.hidden = nn.Linear(30, width)
        self.out = nn.Linear(width, 1)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x))).squeeze(1)


def score(model, loader):
    model.eval()
    right = total = 0
    with torch.no_grad():
        for x, y in loader:
            right += ((model(x) > 0).float() == y).sum().item()
            total += len(y)
    return right / total


def main():
    torch.manual_seed(11)
    table = load_breast_cancer()
    parts = train_test_split(table.data, table.target, test_size=0.3, random_state=11, stratify=table.target)
    x_train, x_test, y_train, y_test = parts
    mean, scale = x_train.mean(0), x_train.std(0)
    train_set = Tumours(x_train, y_train, mean, scale)
    test = torch.tensor((x_test - mean) / scale, dtype=torch.float32), torch.tensor(y_test, dtype=torch.float32)
    train_loader = DataLoader(train_set, batch_size=8, shuffle=True)
    test_loader = DataLoader(torch.utils.data.TensorDataset(*test), batch_size=64)

    model = Diagnosis()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    criterion = nn.BCEWithLogitsLoss()
    for epoch in range(8):
        model.train()
        losses = []
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {np.mean(losses):.4f}, test accuracy {score(model, test_loader):.4f}")


if __name__ == "__main__":
    main()
