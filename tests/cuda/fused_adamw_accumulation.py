"""Patches of digits through a little transformer: fp16, gradient accumulation, fused AdamW, one-cycle schedule."""

import math

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Subset, TensorDataset

EPOCHS = 10
MICRO_BATCH = 16
ACCUMULATE = 4
MAX_LR = 3e-3


class TinyViT(nn.Module):
    def __init__(self, dim: int = 64, depth: int = 2, heads: int = 4, classes: int = 10):
        super().__init__()
        self.patchify = nn.Conv2d(1, dim, kernel_size=2, stride=2)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 16, dim))
        layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, images):
        tokens = self.patchify(images).flatten(2).transpose(1, 2) + self.pos_embed
        return self.head(self.norm(self.encoder(tokens)).mean(dim=1))


def param_groups(model: nn.Module, weight_decay: float):
    decay, no_decay = [], []
    for name, param in model.named_parameters():
        (no_decay if param.ndim < 2 or "pos_embed" in name else decay).append(param)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    hits = torch.zeros((), device="cuda")
    for images, labels in loader:
        with torch.autocast(device_type="cuda", dtype=torch.float16):
            logits = model(images.cuda())
        hits += (logits.argmax(dim=-1) == labels.cuda()).sum()
    return hits.item() / len(loader.dataset)


def main():
    torch.manual_seed(2024)
    digits = load_digits()
    images = torch.as_tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    dataset = TensorDataset(images, torch.as_tensor(digits.target))
    shuffled = torch.randperm(len(dataset)).tolist()
    train_set, val_set = Subset(dataset, shuffled[:1440]), Subset(dataset, shuffled[1440:])
    train_loader = DataLoader(train_set, MICRO_BATCH, shuffle=True, drop_last=True, pin_memory=True)
    val_loader = DataLoader(val_set, 128)

    model = TinyViT().cuda()
    optimizer = torch.optim.AdamW(param_groups(model, 0.05), lr=MAX_LR, betas=(0.9, 0.98), fused=True)
    updates_per_epoch = math.ceil(len(train_loader) / ACCUMULATE)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, MAX_LR, total_steps=EPOCHS * updates_per_epoch)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**12)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)

    for epoch in range(EPOCHS):
        model.train()
        epoch_loss = 0.0
        optimizer.zero_grad(set_to_none=True)
        for i, (images, labels) in enumerate(train_loader):
            images, labels = images.cuda(non_blocking=True), labels.cuda(non_blocking=True)
            # the last window of an epoch may hold fewer micro-batches than the others
            window = min(ACCUMULATE, len(train_loader) - i // ACCUMULATE * ACCUMULATE)
            with torch.autocast(device_type="cuda", dtype=torch.float16):
                loss = criterion(model(images), labels)
            scaler.scale(loss / window).backward()
            epoch_loss += loss.item()
            if (i + 1) % ACCUMULATE == 0 or i + 1 == len(train_loader):
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
                scaler.step(optimizer)
                scaler.update()
                scheduler.step()
                optimizer.zero_grad(set_to_none=True)
        print(f"epoch {epoch}: loss {epoch_loss / len(train_loader):.4f}, val acc {evaluate(model, val_loader):.4f}")


if __name__ == "__main__":
    main()
