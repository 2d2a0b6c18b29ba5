# Versicolor or not? A margin classifier on the iris measurements, in the manner of a support vector machine.
import torch
from sklearn.datasets import load_iris
from torch import nn

torch.manual_seed(8)
flowers = load_iris()
x = torch.tensor(flowers.data, dtype=torch.float32)
x = (x - x.mean(0)) / x.std(0)
is_versicolor = torch.tensor(flowers.target == 1)
order = torch.randperm(150)
train, test = order[:110], order[110:]

labels = 2.0 * is_versicolor.float() - 1.0

model = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 1), nn.Flatten(0))
margin = nn.SoftMarginLoss()
opt = torch.optim.Adam(model.parameters(), lr=5e-3)


def report(epoch):
    with torch.no_grad():
        score = model(x[test])
    said = score > 0
    truth = is_versicolor[test]
    accuracy = (said == truth).float().mean().item()
    print(f"epoch {epoch}: accuracy {accuracy:.3f}, {int(said.sum())} of {len(test)} called versicolor ({int(truth.sum())} are)")


for epoch in range(1, 61):
    for rows in train[torch.randperm(len(train))].split(22):
        opt.zero_grad()
        loss = margin(model(x[rows]), labels[rows])
        loss.backward()
        opt.step()
    if epoch % 20 == 0:
        report(epoch)
