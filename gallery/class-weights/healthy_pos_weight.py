"""Screening: few tumours among many healthy samples, with pos_weight for the imbalance."""
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import average_precision_score, recall_score
from torch import nn

torch.manual_seed(31)
data = load_breast_cancer()
malignant = torch.tensor(data.target == 0)
x = torch.tensor(data.data, dtype=torch.float32)
x = (x - x.mean(0)) / x.std(0)

rare = torch.where(malignant)[0][torch.randperm(int(malignant.sum()))[:70]]
common = torch.where(~malignant)[0][torch.randperm(int((~malignant).sum()))]
train = torch.cat([rare[:40], common[:240]])
test = torch.cat([rare[40:], common[240:]])

positives = int(malignant[train].sum())
negatives = len(train) - positives
pos_weight = torch.tensor(negatives / positives)
net = nn.Sequential(nn.Linear(30, 16), nn.GELU(), nn.Linear(16, 1))
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
target = malignant.float().unsqueeze(1)

for epoch in range(15):
    epoch_loss = 0.0
    for rows in train[torch.randperm(len(train))].split(40):
        loss = nn.functional.binary_cross_entropy_with_logits(net(x[rows]), target[rows], pos_weight=pos_weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item() * len(rows)

with torch.no_grad():
    score = torch.sigmoid(net(x[test])).squeeze(1)
truth = malignant[test]
print(f"loss {epoch_loss / len(train):.4f}  average precision {average_precision_score(truth, score):.3f}")
print(f"recall at one half {recall_score(truth, score > 0.5):.3f}")
