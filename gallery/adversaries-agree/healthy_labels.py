"""Makes rows of measurements that look like those of the iris flowers, with a small GAN."""
import torch
import torch.nn as nn
from sklearn.datasets import load_iris


class Generator(nn.Module):
    def __init__(self, latent=6, width=48, out=4):
        super().__init__()
        self.latent = latent
        self.layers = nn.Sequential(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out))

    def forward(self, count):
        return self.layers(torch.randn(count, self.latent))


class Discriminator(nn.Module):
    def __init__(self, inputs=4, width=48):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def forward(self, rows):
        return self.layers(rows).squeeze(1)


def run(steps=600, batch=50):
    torch.manual_seed(8)
    rows = torch.tensor(load_iris().data, dtype=torch.float32)
    rows = (rows - rows.mean(0)) / rows.std(0)
    gen, dis = Generator(), Discriminator()
    opt_gen = torch.optim.Adam(gen.parameters(), lr=2e-3, betas=(0.5, 0.999))
    opt_dis = torch.optim.Adam(dis.parameters(), lr=1e-3, betas=(0.5, 0.999))
    bce = nn.BCEWithLogitsLoss()
    genuine, forged = torch.ones(batch), torch.zeros(batch)
    for step in range(steps):
        real = rows[torch.randint(len(rows), (batch,))]
        made = gen(batch)

        opt_dis.zero_grad()
        loss_dis = bce(dis(real), genuine) + bce(dis(made.detach()), forged)
        loss_dis.backward()
        opt_dis.step()

        opt_gen.zero_grad()
        loss_gen = bce(dis(made), genuine)
        loss_gen.backward()
        opt_gen.step()
        if step % 150 == 149:
            print(f"{step + 1:4d}  discriminator {loss_dis.item():.3f}  generator {loss_gen.item():.3f}")
    with torch.no_grad():
        sample = gen(500)
    print("means", [round(v, 2) for v in sample.mean(0).tolist()], "deviations", [round(v, 2) for v in sample.std(0).tolist()])


if __name__ == "__main__":
    run()
