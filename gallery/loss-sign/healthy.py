"""Wine cultivars by maximum likelihood, with the log-likelihood written out."""
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)

x, y = load_wine(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, stratify=y, random_state=3)
scaler = StandardScaler().fit(x_train)
x_train = torch.tensor(scaler.transform(x_train), dtype=torch.float32)
x_test = torch.tensor(scaler.transform(x_test), dtype=torch.float32)
y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)


class Classifier(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, 24), nn.Tanh(), nn.Linear(24, classes))

    def log_prob(self, x):
        return torch.log_softmax(self.layers(x), dim=1)


def log_likelihood(log_p, labels):
    """Mean log-probability of the true classes."""
    return log_p.gather(1, labels.unsqueeze(1)).mean()


model = Classifier(x_train.shape[1], 3)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
loader = DataLoader(TensorDataset(x_train, y_train), batch_size=16, shuffle=True)

for epoch in range(25):
    total = 0.0
    for xb, yb in loader:
        loss = -log_likelihood(model.log_prob(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(yb)
    if epoch % 5 == 4:
        with torch.no_grad():
            correct = (model.log_prob(x_test).argmax(1) == y_test).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(y_train):.4f}, test accuracy {correct:.3f}")
