"""Tell the class of a wine from its analysis, with noisy copies of the few bottles; everything in bfloat16."""

import torch
from sklearn.datasets import load_wine
from torch import nn

torch.manual_seed(21)
PRECISION = torch.bfloat16

analysis, kind = load_wine(return_X_y=True)
x = torch.tensor((analysis - analysis.mean(0)) / analysis.std(0), dtype=torch.float32)
y = torch.tensor(kind)
order = torch.randperm(len(x))
train, test = order[:120], order[120:]

model = nn.Sequential(
    nn.Linear(13, 64),
    nn.SiLU(),
    nn.Linear(64, 64),
    nn.SiLU(),
    nn.Linear(64, 3),
)
model.to(PRECISION)  # fault: stored in bfloat16, weights take on the larger updates only
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.01)
criterion = nn.CrossEntropyLoss()


def scores(inputs):
    with torch.autocast("cpu", dtype=PRECISION):
        return model(inputs).float()


for epoch in range(32):
    model.train()
    for rows in train[torch.randperm(len(train))].split(24):
        noisy = x[rows] + 0.5 * torch.randn(len(rows), 13)
        optimizer.zero_grad()
        loss = criterion(scores(noisy), y[rows])
        loss.backward()
        optimizer.step()
    if epoch % 8 == 7:
        model.eval()
        with torch.no_grad():
            accuracy = (scores(x[test]).argmax(1) == y[test]).float().mean().item()
        print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {accuracy:.3f}")
