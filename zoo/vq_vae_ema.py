"""VQ-VAE on digits: codebook kept as buffers and moved by exponential averages, straight-through gradients."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader


class VectorQuantizerEMA(nn.Module):
    def __init__(self, num_embeddings, embedding_dim, commitment_cost=0.25, decay=0.95, epsilon=1e-5):
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.commitment_cost, self.decay, self.epsilon = commitment_cost, decay, epsilon
        embed = torch.randn(num_embeddings, embedding_dim)
        self.register_buffer("embedding", embed)
        self.register_buffer("ema_cluster_size", torch.ones(num_embeddings))
        self.register_buffer("ema_w", embed.clone())

    def forward(self, inputs):
        flat = inputs.reshape(-1, self.embedding_dim)
        distances = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ self.embedding.t() + self.embedding.pow(2).sum(1)
        codes = distances.argmin(1)
        encodings = F.one_hot(codes, self.num_embeddings).to(flat.dtype)
        quantized = self.embedding[codes].view_as(inputs)

        if self.training:
            with torch.no_grad():
                self.ema_cluster_size.mul_(self.decay).add_(encodings.sum(0), alpha=1 - self.decay)
                self.ema_w.mul_(self.decay).add_(encodings.t() @ flat, alpha=1 - self.decay)
                n = self.ema_cluster_size.sum()
                size = (self.ema_cluster_size + self.epsilon) / (n + self.num_embeddings * self.epsilon) * n
                self.embedding.copy_(self.ema_w / size.unsqueeze(1))

        loss = self.commitment_cost * F.mse_loss(inputs, quantized.detach())
        quantized = inputs + (quantized - inputs).detach()
        avg = encodings.mean(0)
        perplexity = torch.exp(-(avg * torch.log(avg + 1e-10)).sum())
        return quantized, loss, perplexity


class VQVAE(nn.Module):
    def __init__(self, hidden=32, dim=4, codes=32):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, hidden, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(hidden, dim, 1), nn.GroupNorm(1, dim))
        self.vq = VectorQuantizerEMA(codes, dim)
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, hidden, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(hidden, 1, 4, stride=2, padding=1))

    def forward(self, x):
        z = self.encoder(x).permute(0, 2, 3, 1)
        quantized, vq_loss, perplexity = self.vq(z)
        return self.decoder(quantized.permute(0, 3, 1, 2)), vq_loss, perplexity


torch.manual_seed(19)
images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1)
images = images[torch.randperm(len(images))]
images = (images - images[:1500].mean()) / images[:1500].std()
training_loader = DataLoader(images[:1500], batch_size=64, shuffle=True)
validation_loader = DataLoader(images[1500:], batch_size=99)

model = VQVAE()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, amsgrad=False)
for epoch in range(8):
    model.train()
    for data in training_loader:
        optimizer.zero_grad()
        data_recon, vq_loss, perplexity = model(data)
        loss = F.mse_loss(data_recon, data) + vq_loss
        loss.backward()
        optimizer.step()

    model.eval()
    err = used = 0.0
    with torch.no_grad():
        for data in validation_loader:
            recon, _, perplexity = model(data)
            err += F.mse_loss(recon, data).item() * len(data)
            used += perplexity.item() * len(data)
    print("epoch %d recon_error: %.4f perplexity: %.2f" % (epoch + 1, err / 297, used / 297))
print("done")
