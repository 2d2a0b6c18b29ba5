"""A generator of points on a ring against a discriminator."""
import math
import torch
from torch import nn


def ring(n):
    angle = 2 * math.pi * torch.rand(n)
    return torch.stack([angle.cos(), angle.sin()], 1) * (1 + 0.05 * torch.randn(n, 1))


def mlp(*sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


class RingGAN:
    def __init__(self, latent=4, lr=1e-3):
        self.latent = latent
        self.generator, self.critic = mlp(latent, 64, 64, 2), mlp(2, 64, 64, 1)
        self.opt_g = torch.optim.Adam(self.generator.parameters(), lr, betas=(0.5, 0.9))
        self.opt_c = torch.optim.Adam(self.critic.parameters(), lr, betas=(0.5, 0.9))
        self.bce = nn.BCEWithLogitsLoss()

    def sample(self, n):
        return self.generator(torch.randn(n, self.latent))

    def judge(self, points, real):
        scores = self.critic(points.detach())  # fault: the generator's loss is cut off as well, not only the critic's
        return self.bce(scores, torch.full_like(scores, float(real)))

    def train_step(self, n=128):
        loss_c = self.judge(ring(n), True) + self.judge(self.sample(n), False)
        self.opt_c.zero_grad()
        loss_c.backward()
        self.opt_c.step()
        loss_g = self.judge(self.sample(n), True)
        self.opt_g.zero_grad()
        loss_g.backward()
        self.opt_g.step()
        return loss_c.item(), loss_g.item()


if __name__ == "__main__":
    torch.manual_seed(11)
    gan = RingGAN()
    for step in range(1, 1501):
        critic, generator = gan.train_step()
        if step % 300 == 0:
            with torch.no_grad():
                radius = gan.sample(1000).norm(dim=1)
            print(f"{step}: critic {critic:.3f} generator {generator:.3f} radius {radius.mean():.2f} +- {radius.std():.2f}")
