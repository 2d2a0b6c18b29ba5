"""Train a digit classifier made of a convolutional encoder and a linear head."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Encoder(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, stride=1, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.project = nn.Linear(16 * 4 * 4, dim)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        return torch.tanh(self.project(x.flatten(start_dim=1)))


class Classifier(nn.Module):
    def __init__(self, dim=24):
        super().__init__()
        self.encoder = Encoder(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        code = self.encoder(x).detach()  # fault: detach() keeps the encoder from training
        return self.head(code)


def batches(x, y, batch_size):
    for idx in torch.randperm(len(x)).split(batch_size):
        yield x[idx], y[idx]


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        hits = model(x).argmax(dim=1) == y
    model.train()
    return hits.float().mean().item()


torch.manual_seed(2024)
digits = load_digits()
x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
y = torch.tensor(digits.target)
x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.2, stratify=y, random_state=2024)
x_train, x_val = (x_train - x_train.mean()) / x_train.std(), (x_val - x_train.mean()) / x_train.std()

model = Classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(1, 9):
    loss_sum = 0.0
    for images, labels in batches(x_train, y_train, 40):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(labels)
    print(f"epoch {epoch}  train loss {loss_sum / len(x_train):.3f}  val accuracy {accuracy(model, x_val, y_val):.3f}")
print(f"final val accuracy {accuracy(model, x_val, y_val):.3f}")
