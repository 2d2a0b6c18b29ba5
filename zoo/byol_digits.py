"""BYOL on digits: two augmented views, an online network with predictor, a momentum target; judged by a linear probe on 60 labels."""
import copy
import math

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(11)


class TwoViews(Dataset):
    """Each item: two random shifts of the same image with noise and a random gain."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def augment(self, x):
        dy, dx = torch.randint(-1, 2, (2,)).tolist()
        x = torch.roll(x, (dy, dx), dims=(-2, -1))
        return x * (0.8 + 0.4 * torch.rand(())) + 0.3 * torch.randn_like(x)

    def __getitem__(self, i):
        x = self.images[i]
        return self.augment(x), self.augment(x)


def mlp(inputs, hidden, outputs):
    return nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs))


class Encoder(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True),
            nn.Flatten(), nn.Linear(32 * 16, width),
        )

    def forward(self, x):
        return self.body(x)


class BYOL(nn.Module):
    def __init__(self, encoder, width=64, projection=32, base_momentum=0.97):
        super().__init__()
        self.online_encoder, self.online_projector = encoder, mlp(width, 128, projection)
        self.predictor = mlp(projection, 64, projection)
        self.target_encoder = copy.deepcopy(self.online_encoder)
        self.target_projector = copy.deepcopy(self.online_projector)
        for p in [*self.target_encoder.parameters(), *self.target_projector.parameters()]:
            p.requires_grad = False
        self.base_momentum = base_momentum

    @torch.no_grad()
    def update_target(self, progress):
        m = 1 - (1 - self.base_momentum) * (math.cos(math.pi * progress) + 1) / 2
        for online, target in ((self.online_encoder, self.target_encoder), (self.online_projector, self.target_projector)):
            for p, q in zip(online.parameters(), target.parameters()):
                q.data.mul_(m).add_(p.data, alpha=1 - m)

    def forward(self, a, b):
        pa = self.predictor(self.online_projector(self.online_encoder(a)))
        pb = self.predictor(self.online_projector(self.online_encoder(b)))
        with torch.no_grad():
            ta = self.target_projector(self.target_encoder(a))
            tb = self.target_projector(self.target_encoder(b))
        return (2 - 2 * F.cosine_similarity(pa, tb.detach(), dim=-1)).mean() + (
            2 - 2 * F.cosine_similarity(pb, ta.detach(), dim=-1)
        ).mean()


@torch.no_grad()
def features(encoder, images):
    encoder.eval()
    out = encoder(images)
    encoder.train()
    return F.normalize(out, dim=1)


def probe(encoder):
    a, b = features(encoder, x_train), features(encoder, x_test)
    linear = LogisticRegression(C=1000.0, max_iter=300).fit(a[:60].numpy(), y_train[:60].numpy())
    return linear.score(b.numpy(), y_test.numpy()), a.std(0).mean().item()


digits = load_digits()
split = train_test_split(digits.images, digits.target, test_size=0.3, random_state=0, stratify=digits.target)
x_train, x_test = ((torch.tensor(a, dtype=torch.float32).unsqueeze(1) - 4.88) / 6.02 for a in split[:2])
y_train, y_test = (torch.tensor(a) for a in split[2:])

loader = DataLoader(TwoViews(x_train), batch_size=128, shuffle=True, drop_last=True)
model = BYOL(Encoder())
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3, weight_decay=1e-4)
EPOCHS = 6
total = EPOCHS * len(loader)
print("untrained: linear {:.3f}, spread {:.3f}".format(*probe(model.online_encoder)))
step = 0
for epoch in range(EPOCHS):
    meter = 0.0
    for view1, view2 in loader:
        loss = model(view1, view2)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        model.update_target(step / total)
        meter += loss.item()
    print(f"epoch {epoch} loss {meter / len(loader):.4f}")
print("trained: linear {:.3f}, spread {:.3f}".format(*probe(model.online_encoder)))
