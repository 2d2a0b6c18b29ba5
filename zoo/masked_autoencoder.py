"""A masked autoencoder on digits: 60 % of the patches are dropped, a light decoder rebuilds them; then a linear probe."""
import math

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader, TensorDataset


class MaskedAutoencoder(nn.Module):
    def __init__(self, patches=16, width=4, dim=32, decoder_dim=24):
        super().__init__()
        self.patch_embed = nn.Linear(width, dim)
        self.pos_embed = nn.Parameter(torch.randn(1, patches, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.decoder_embed = nn.Linear(dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.randn(1, 1, decoder_dim) * 0.02)
        self.decoder_pos = nn.Parameter(torch.randn(1, patches, decoder_dim) * 0.02)
        self.decoder = nn.TransformerEncoderLayer(decoder_dim, 2, 48, dropout=0.0, batch_first=True, norm_first=True)
        self.decoder_pred = nn.Linear(decoder_dim, width)

    def patchify(self, imgs):
        n = len(imgs)
        return imgs.reshape(n, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).reshape(n, 16, 4)

    def random_masking(self, x, mask_ratio):
        N, L, D = x.shape
        len_keep = int(L * (1 - mask_ratio))
        noise = torch.rand(N, L)
        ids_shuffle = torch.argsort(noise, dim=1)
        ids_restore = torch.argsort(ids_shuffle, dim=1)
        ids_keep = ids_shuffle[:, :len_keep]
        x_masked = torch.gather(x, dim=1, index=ids_keep.unsqueeze(-1).repeat(1, 1, D))
        mask = torch.ones([N, L])
        mask[:, :len_keep] = 0
        mask = torch.gather(mask, dim=1, index=ids_restore)
        return x_masked, mask, ids_restore

    def features(self, imgs):
        return self.norm(self.encoder(self.patch_embed(self.patchify(imgs)) + self.pos_embed)).flatten(1)

    def forward(self, imgs, mask_ratio=0.6):
        target = self.patchify(imgs)
        x, mask, ids_restore = self.random_masking(self.patch_embed(target) + self.pos_embed, mask_ratio)
        x = self.decoder_embed(self.norm(self.encoder(x)))
        mask_tokens = self.mask_token.repeat(x.shape[0], ids_restore.shape[1] - x.shape[1], 1)
        x = torch.cat([x, mask_tokens], dim=1)
        x = torch.gather(x, dim=1, index=ids_restore.unsqueeze(-1).repeat(1, 1, x.shape[2]))
        pred = self.decoder_pred(self.decoder(x + self.decoder_pos))
        loss = ((pred - target) ** 2).mean(dim=-1)
        return (loss * mask).sum() / mask.sum()


torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)
images = (images - images.mean()) / images.std()
train, held_out = images[:1400], images[1400:]
loader = DataLoader(TensorDataset(train), batch_size=70, shuffle=True, drop_last=True)
model = MaskedAutoencoder()
epochs, base_lr = 8, 3e-3
optimizer = torch.optim.AdamW(model.parameters(), lr=base_lr, betas=(0.9, 0.95), weight_decay=0.05)


def adjust_learning_rate(optimizer, epoch, warmup=1):
    lr = base_lr * epoch / warmup if epoch < warmup else base_lr * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = lr


for epoch in range(epochs):
    model.train()
    total = 0.0
    for it, (batch,) in enumerate(loader):
        adjust_learning_rate(optimizer, (it + 1) / len(loader) + epoch)
        loss = model(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    model.eval()
    with torch.no_grad():
        print(f"epoch {epoch} masked mse {total / len(loader):.4f}, held out {model(held_out).item():.4f}")
with torch.no_grad():
    a, b = model.features(train).numpy(), model.features(held_out).numpy()
probe = LogisticRegression(max_iter=300).fit(a, digits.target[:1400])
print("linear probe accuracy", round(probe.score(b, digits.target[1400:]), 3))
