"""Wasserstein GAN with gradient penalty on two moons, several critic steps per generator step."""
import torch
import torch.nn as nn
from sklearn.datasets import make_moons


class Critic(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1, bias=False)
        )

    def forward(self, x):
        return self.net(x).view(-1)


class Generator(nn.Module):
    def __init__(self, z_dim=4, width=64):
        super().__init__()
        self.z_dim = z_dim
        self.net = nn.Sequential(
            nn.Linear(z_dim, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
        )

    def forward(self, z):
        return self.net(z)

    def sample(self, n):
        return self(torch.randn(n, self.z_dim))


def gradient_penalty(critic, real, fake):
    alpha = torch.rand(real.size(0), 1)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    score = critic(mixed)
    (grad,) = torch.autograd.grad(score.sum(), mixed, create_graph=True)
    return ((grad.norm(2, dim=1) - 1) ** 2).mean()


def energy_distance(a, b):
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


def infinite(data, batch_size):
    while True:
        order = torch.randperm(len(data))
        for chunk in order.split(batch_size)[: len(data) // batch_size]:
            yield data[chunk]


def main(n_epochs=6, gen_steps=35, n_critic=3, batch_size=96, lamb=2.0):
    torch.manual_seed(4)
    points, _ = make_moons(2400, noise=0.05, random_state=4)
    points = torch.tensor(points, dtype=torch.float32)
    held_out, points = points[:400], points[400:]
    mean, std = points.mean(0), points.std(0)
    points, held_out = (points - mean) / std, (held_out - mean) / std

    critic, gen = Critic(), Generator()
    opt_c = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
    opt_g = torch.optim.Adam(gen.parameters(), lr=1e-3, betas=(0.0, 0.9))
    stream = infinite(points, batch_size)
    with torch.no_grad():
        print(f"before training: energy distance {energy_distance(gen.sample(400), held_out):.4f}")

    for epoch in range(n_epochs):
        w_estimate = 0.0
        for _ in range(gen_steps):
            for _ in range(n_critic):
                real = next(stream)
                with torch.no_grad():
                    fake = gen.sample(batch_size)
                real_score, fake_score = critic(real).mean(), critic(fake).mean()
                loss_c = fake_score - real_score + lamb * gradient_penalty(critic, real, fake)
                opt_c.zero_grad()
                loss_c.backward()
                opt_c.step()
            w_estimate += (real_score - fake_score).item()

            for p in critic.parameters():
                p.requires_grad_(False)
            loss_g = -critic(gen.sample(batch_size)).mean()
            opt_g.zero_grad()
            loss_g.backward()
            opt_g.step()
            for p in critic.parameters():
                p.requires_grad_(True)
        with torch.no_grad():
            distance = energy_distance(gen.sample(400), held_out)
        print(f"epoch {epoch} wasserstein {w_estimate / gen_steps:.3f} energy distance {distance:.4f}")
    print(f"after training: energy distance {distance:.4f}")


if __name__ == "__main__":
    main()
