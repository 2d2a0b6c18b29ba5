"""Handwritten digits, where three of the ten are rare: focal loss over the softmax, in a functional style."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

g = torch.Generator().manual_seed(2)
digits = load_digits()
images, labels = torch.tensor(digits.images / 16.0, dtype=torch.float32), torch.tensor(digits.target)
shuffled = torch.randperm(len(labels), generator=g)
test = shuffled[:500]
pool = shuffled[500:]
rare = (labels[pool] >= 7) & (torch.rand(len(pool), generator=g) < 0.8)
train = pool[~rare]


def focal(scores, wanted, gamma=2.0):
    log_p = F.log_softmax(scores, dim=1).gather(1, wanted[:, None]).squeeze(1)
    weight = log_p.exp().pow(gamma)  # fault: small where the answer is wrong
    return -(weight * log_p).mean()


def block(cin, cout):
    return torch.nn.Sequential(torch.nn.Conv2d(cin, cout, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2))


torch.manual_seed(2)
net = torch.nn.Sequential(block(1, 16), block(16, 32), torch.nn.Flatten(), torch.nn.Linear(128, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(12):
    for chosen in train[torch.randperm(len(train), generator=g)].split(64):
        optimizer.zero_grad()
        loss = focal(net(images[chosen, None]), labels[chosen])
        loss.backward()
        optimizer.step()
with torch.no_grad():
    guessed = net(images[test, None]).argmax(1)
for name, part in (("frequent", labels[test] < 7), ("rare", labels[test] >= 7)):
    print(f"{name}: {(guessed == labels[test])[part].float().mean():.3f} right")
