"""A digits classifier on top of fixed features: the leading directions of the images, rectified both ways."""

import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
FEATURES, EPOCHS = 48, 8


class Directions(nn.Module):
    """Both signs of the projections on the principal components."""

    def __init__(self, images):
        super().__init__()
        self.project = nn.Linear(64, FEATURES)
        pca = PCA(FEATURES).fit(images)
        weight = torch.tensor(pca.components_, dtype=torch.float32)
        self.project.load_state_dict({"weight": weight, "bias": -weight @ torch.tensor(pca.mean_, dtype=torch.float32)})

    def forward(self, x):
        h = self.project(x)
        return torch.cat([h.relu(), (-h).relu()], dim=1)


class Classifier(nn.Module):
    def __init__(self, backbone, classes=10):
        super().__init__()
        self.backbone = backbone
        self.norm = nn.LayerNorm(2 * FEATURES)
        self.head = nn.Linear(2 * FEATURES, classes)

    def forward(self, x):
        return self.head(self.norm(self.backbone(x)))


x, y = load_digits(return_X_y=True)
x = x / 16
images, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
train = DataLoader(TensorDataset(images[:1400], labels[:1400]), batch_size=32, shuffle=True)
val = DataLoader(TensorDataset(images[1400:], labels[1400:]), batch_size=397)

model = Classifier(Directions(x[:1400]))
model.backbone.requires_grad = False  # fault: an attribute of the module, which freezes nothing
before = [p.clone() for p in model.backbone.parameters()]
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(EPOCHS):
    model.train()
    for xb, yb in train:
        loss = nn.functional.cross_entropy(model(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in val)
    print(f"epoch {epoch}: accuracy {right / 397:.3f}")
drift = sum((a - b).norm().item() for a, b in zip(before, model.backbone.parameters()))
print(f"the features moved by {drift:.4f}")
