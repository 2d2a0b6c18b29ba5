"""Forward-forward: every layer has a local loss and an optimiser of its own; no gradient passes between layers."""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

torch.manual_seed(8)
CLASSES, THRESHOLD = 10, 2.0


def overlay(x, y):
    """The label in front of the picture, one-hot; pictures are never equal to their label's code."""
    return torch.cat([2.0 * nn.functional.one_hot(y, CLASSES).float(), x], dim=1)


class FFLayer(nn.Linear):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.opt = torch.optim.Adam(self.parameters(), lr=5e-3)

    def forward(self, x):
        direction = x / (x.norm(2, dim=1, keepdim=True) + 1e-4) * x.shape[1] ** 0.5
        return torch.relu(super().forward(direction))

    def train_on(self, positive, negative):
        good = self(positive).pow(2).mean(1)
        bad = self(negative).pow(2).mean(1)
        loss = nn.functional.softplus(torch.cat([THRESHOLD - good, bad - THRESHOLD])).mean()
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        with torch.no_grad():
            return self(positive), self(negative), loss.item()


class FFNet:
    def __init__(self, sizes):
        self.layers = [FFLayer(a, b) for a, b in zip(sizes, sizes[1:])]

    def train_on(self, positive, negative):
        losses = []
        for layer in self.layers:
            positive, negative, loss = layer.train_on(positive, negative)
            losses.append(loss)
        return losses

    @torch.no_grad()
    def predict(self, x):
        scores = []
        for c in range(CLASSES):
            h, goodness = overlay(x, torch.full((len(x),), c)), 0.0
            for layer in self.layers:
                h = layer(h)
                goodness = goodness + h.pow(2).mean(1)
            scores.append(goodness)
        return torch.stack(scores, 1).argmax(1)


digits = load_digits()
x = torch.tensor(digits.data / 16.0, dtype=torch.float32)
y = torch.tensor(digits.target)
train_ids, test_ids = (torch.as_tensor(i) for i in train_test_split(range(len(y)), test_size=400, random_state=0))
x = (x - x[train_ids].mean()) / x[train_ids].std()
net = FFNet([64 + CLASSES, 128, 128])
print(f"untrained: accuracy {(net.predict(x[test_ids]) == y[test_ids]).float().mean():.3f}")
for epoch in range(15):
    sums = torch.zeros(2)
    batches = train_ids[torch.randperm(len(train_ids))].split(64)
    for ids in batches:
        wrong = (y[ids] + torch.randint(1, CLASSES, (len(ids),))) % CLASSES
        sums += torch.tensor(net.train_on(overlay(x[ids], y[ids]), overlay(x[ids], wrong)))
    if epoch % 3 == 2:
        accuracy = (net.predict(x[test_ids]) == y[test_ids]).float().mean()
        print(f"epoch {epoch:2d} local losses {[round(v, 3) for v in (sums / len(batches)).tolist()]} accuracy {accuracy:.3f}")
