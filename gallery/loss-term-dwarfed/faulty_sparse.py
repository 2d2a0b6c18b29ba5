# Which of the measurements tell how far diabetes has gone after a year? A net with few weights should show it.
import torch
from sklearn.datasets import load_diabetes

x, y = load_diabetes(return_X_y=True)
x = torch.tensor(x / x.std(0), dtype=torch.float32)
y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)
torch.manual_seed(11)
order = torch.randperm(len(x))
held_out, fitted = order[:100], order[100:]

layers = [torch.nn.Linear(10, 48), torch.nn.Linear(48, 24), torch.nn.Linear(24, 1)]
for layer in layers:
    torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    torch.nn.init.zeros_(layer.bias)
weights = [p for layer in layers for p in layer.parameters()]
optimizer = torch.optim.Adam(weights, lr=2e-3)


def predict(rows):
    hidden = torch.relu(layers[0](rows))
    hidden = torch.relu(layers[1](hidden))
    return layers[2](hidden).squeeze(1)


for epoch in range(25):
    for rows in fitted[torch.randperm(len(fitted))].split(38):
        error = ((predict(x[rows]) - y[rows]) ** 2).mean()
        sparse = sum(layer.weight.abs().sum() for layer in layers)
        loss = error + 0.8 * sparse  # fault: so strong that all weights go to zero
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        explained = 1 - ((predict(x[held_out]) - y[held_out]) ** 2).mean() / y[held_out].var()
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1}: squared error {error.item():.3f}, R2 {explained.item():.3f}")
