"""Train a classifier that tells benign from malignant breast tumours."""
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

SEED = 17
np.random.seed(SEED)
torch.manual_seed(SEED)


class TumourDataset(Dataset):
    def __init__(self, features, labels):
        self.features = torch.as_tensor(features, dtype=torch.float32)
        self.labels = torch.as_tensor(labels, dtype=torch.float32).unsqueeze(1)

    def __len__(self):
        return len(self.features)

    def __getitem__(self, index):
        return self.features[index], self.labels[index]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_1 = nn.Linear(30, 64)
        self.layer_2 = nn.Linear(64, 64)
        self.layer_out = nn.Linear(64, 1)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(p=0.1)

    def forward(self, inputs):
        x = self.relu(self.layer_1(inputs))
        x = self.relu(self.layer_2(x))
        x = self.dropout(x)
        return torch.softmax(self.layer_out(x), dim=1)  # fault: softmax over a single unit is always 1


def binary_accuracy(probability, label):
    return (probability.round() == label).float().mean().item()


data = load_breast_cancer()
order = np.random.permutation(len(data.data))
test_ids, train_ids = order[:140], order[140:]
scaler = StandardScaler().fit(data.data[train_ids])
train_data = TumourDataset(scaler.transform(data.data[train_ids]), data.target[train_ids])
test_data = TumourDataset(scaler.transform(data.data[test_ids]), data.target[test_ids])
train_loader = DataLoader(train_data, batch_size=32, shuffle=True)

model = Classifier()
criterion = nn.BCELoss()
optimizer = optim.Adam(model.parameters(), lr=0.001)

for e in range(1, 13):
    model.train()
    epoch_loss = 0
    for X_batch, y_batch in train_loader:
        optimizer.zero_grad()
        y_pred = model(X_batch)
        loss = criterion(y_pred, y_batch)
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item() * len(X_batch)

    model.eval()
    with torch.no_grad():
        acc = binary_accuracy(model(test_data.features), test_data.labels)
    print(f"Epoch {e:03}: | Loss: {epoch_loss / len(train_data):.5f} | Val acc: {acc:.3f}")

print(f"Final validation accuracy: {acc:.3f}")
