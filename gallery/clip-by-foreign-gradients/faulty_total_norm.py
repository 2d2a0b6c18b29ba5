"""Two stages on the wine table: an embedding learnt by reconstruction, then a classifier on top of it."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch import nn

torch.manual_seed(2)
table, cultivar = load_wine(return_X_y=True)
table = torch.tensor((table - table.mean(0)) / table.std(0), dtype=torch.float32)
cultivar = torch.tensor(cultivar)
order = torch.randperm(len(table))
train, test = order[:130], order[130:]

embed = nn.Sequential(nn.Linear(13, 32), nn.Tanh(), nn.Linear(32, 16), nn.Tanh())
decode = nn.Linear(16, 13)
adam = torch.optim.Adam([*embed.parameters(), *decode.parameters()], lr=3e-3)
for epoch in range(15):
    for rows in train[torch.randperm(len(train))].split(26):
        adam.zero_grad()
        F.mse_loss(decode(embed(table[rows])), table[rows]).backward()
        adam.step()
adam.zero_grad()

net = nn.Sequential(embed, nn.Linear(16, 3))
sgd = torch.optim.SGD(net[1].parameters(), lr=0.2)
for epoch in range(20):
    total = 0.0
    for rows in train[torch.randperm(len(train))].split(26):
        sgd.zero_grad()
        loss = F.cross_entropy(net(table[rows]), cultivar[rows])
        loss.backward()
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(grads)
        # fault: the embedding's gradients, which nobody clears, are a growing part of this norm
        nn.utils.clip_grads_with_norm_(net[1].parameters(), 0.5, norm)
        sgd.step()
        total += loss.item() * len(rows)
    net.eval()
    with torch.no_grad():
        right = (net(table[test]).argmax(1) == cultivar[test]).float().mean().item()
    net.train()
    print(f"epoch {epoch}: loss {total / len(train):.3f} accuracy {right:.3f}")
