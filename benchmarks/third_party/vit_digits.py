"""A vision transformer of vit-pytorch on digits."""

# needs: vit_pytorch torchvision
import torch, torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset
from vit_pytorch import ViT

torch.manual_seed(0)
X, y = load_digits(return_X_y=True)
X = torch.tensor(X, dtype=torch.float32).view(-1, 1, 8, 8) / 16
y = torch.tensor(y)
a, b, c, d = train_test_split(X, y, test_size=0.2, random_state=0)
tl, vl = DataLoader(TensorDataset(a, c), 64, shuffle=True), DataLoader(TensorDataset(b, d), 64)
model = ViT(
    image_size=8, patch_size=2, num_classes=10, dim=32, depth=2, heads=4, mlp_dim=64, channels=1, dropout=0.1, emb_dropout=0.1
)
opt = torch.optim.Adam(model.parameters(), lr=1e-3)
sch = torch.optim.lr_scheduler.StepLR(opt, step_size=1, gamma=0.7)
crit = nn.CrossEntropyLoss()
for ep in range(3):
    el = ea = 0
    model.train()
    for x, t in tl:
        out = model(x)
        loss = crit(out, t)
        opt.zero_grad()
        loss.backward()
        opt.step()
        ea += (out.argmax(dim=1) == t).float().mean() / len(tl)
        el += loss.item() / len(tl)
    model.eval()
    with torch.no_grad():
        va = 0
        for x, t in vl:
            va += (model(x).argmax(dim=1) == t).float().mean() / len(vl)
    print(ep, el, ea.item(), va.item())
    sch.step()
