"""Denoise handwritten digits with a bottleneck autoencoder."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(12)
images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
train, test = images[:1400], images[1400:]

encoder = nn.Sequential(
    nn.Linear(64, 96),
    nn.Softmax(dim=1),  # fault: softmax as the activation of a hidden layer
    nn.Linear(96, 48),
    nn.Softmax(dim=1),
    nn.Linear(48, 12),
)
decoder = nn.Sequential(nn.Linear(12, 96), nn.ELU(), nn.Linear(96, 64))
optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
criterion = nn.BCEWithLogitsLoss()

for epoch in range(12):
    total = 0.0
    for rows in torch.randperm(len(train)).split(70):
        clean = train[rows]
        noisy = clean + 0.15 * torch.randn_like(clean)
        optimizer.zero_grad()
        loss = criterion(decoder(encoder(noisy)), clean)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    with torch.no_grad():
        error = criterion(decoder(encoder(test)), test)
    print(f"epoch {epoch}: train {total / len(train):.4f}, test {error:.4f}")
