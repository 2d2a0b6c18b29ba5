"""A vector-quantised autoencoder on digits."""

# needs: vector_quantize_pytorch
import torch, torch.nn as nn
from vector_quantize_pytorch import VectorQuantize, FSQ
from sklearn.datasets import load_digits

torch.manual_seed(0)
X = (torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16 - 0.5) / 0.5


class AE(nn.Sequential):
    def forward(self, x):
        idx = cl = None
        for layer in self:
            if isinstance(layer, VectorQuantize):
                x, idx, cl = layer(x)
            else:
                x = layer(x)
        return x.clamp(-1, 1), idx, cl


model = AE(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.MaxPool2d(2),
    nn.GELU(),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.MaxPool2d(2),
    VectorQuantize(dim=32, codebook_size=64, accept_image_fmap=True),
    nn.Upsample(scale_factor=2),
    nn.Conv2d(32, 16, 3, padding=1),
    nn.GELU(),
    nn.Upsample(scale_factor=2),
    nn.Conv2d(16, 1, 3, padding=1),
)
opt = torch.optim.AdamW(model.parameters(), lr=3e-4)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), 64, shuffle=True)


def it(l):
    while True:
        for x in l:
            yield x[0]


g = it(loader)
for i in range(80):
    opt.zero_grad()
    x = next(g)
    out, idx, cl = model(x)
    rec = (out - x).abs().mean()
    (rec + 10 * cl).backward()
    opt.step()
print(rec.item())
