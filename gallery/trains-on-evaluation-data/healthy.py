"""Breast cancer; one function runs an epoch over any loader, another prints how it went."""

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)
x, y = load_breast_cancer(return_X_y=True)
x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.3, random_state=1, stratify=y)
scaler = StandardScaler().fit(x_train)


def to_loader(features, labels, shuffle):
    tensors = torch.tensor(scaler.transform(features), dtype=torch.float32), torch.tensor(labels, dtype=torch.float32)
    return DataLoader(TensorDataset(*tensors), batch_size=16, shuffle=shuffle)


train_loader, val_loader = to_loader(x_train, y_train, True), to_loader(x_val, y_val, False)
model = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.BCEWithLogitsLoss()


def run(loader, training):
    model.train(training)
    total, hits = 0.0, 0
    for features, labels in loader:
        with torch.set_grad_enabled(training):
            logits = model(features).squeeze(1)
            loss = criterion(logits, labels)
        if training:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total += loss.item() * len(labels)
        hits += ((logits > 0) == (labels > 0.5)).sum().item()
    return total / len(loader.dataset), hits / len(loader.dataset)


for epoch in range(6):
    train_loss, train_accuracy = run(train_loader, True)
    val_loss, val_accuracy = run(val_loader, False)
    print(f"{epoch}: train {train_loss:.4f} {train_accuracy:.3f} | val {val_loss:.4f} {val_accuracy:.3f}")
