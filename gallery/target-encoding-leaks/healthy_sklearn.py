"""Hours that a repair takes, from its workshop (one of 900), its kind and the age of the machine; workshops are target-encoded."""
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(3)
torch.manual_seed(3)
MANY = 4500
workshop = rng.integers(0, 900, MANY)
kind = rng.integers(0, 6, MANY)
age = rng.gamma(2.0, 3.0, MANY)
pace = rng.normal(0, 0.4, 900)
hours = 4 + pace[workshop] + 0.8 * np.sin(kind) + 0.5 * np.sqrt(age) + rng.normal(0, 1.2, MANY)

learn, check = train_test_split(np.arange(MANY), test_size=1200, random_state=0)
shops = workshop[:, None].astype(str)
encoder = TargetEncoder(target_type="continuous", smooth=1.0, random_state=0)
fitted = encoder.fit_transform(shops[learn], hours[learn])
kinds = OneHotEncoder(sparse_output=False).fit_transform(kind[:, None])
scaler = StandardScaler()


def table(rows, encoded):
    return np.concatenate([encoded, kinds[rows], age[rows, None]], axis=1)


x_learn = scaler.fit_transform(table(learn, fitted))
x_check = scaler.transform(table(check, encoder.transform(shops[check])))
centre, width = hours[learn].mean(), hours[learn].std()
learn_set, check_set = (
    TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor((hours[i] - centre) / width, dtype=torch.float32))
    for x, i in ((x_learn, learn), (x_check, check))
)
net = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1), nn.Flatten(0))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
for epoch in range(15):
    net.train()
    losses = []
    for x, y in DataLoader(learn_set, batch_size=64, shuffle=True):
        loss = nn.functional.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        errors = torch.cat([(net(x) - y).square() for x, y in DataLoader(check_set, batch_size=300)])
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1}: training {np.mean(losses):.3f}, validation {errors.mean().item():.3f}")
