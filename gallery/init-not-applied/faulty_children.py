"""A deep tanh network for a wavy regression; Xavier initialisation with the gain of tanh keeps its signal alive."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Trunk(nn.Module):
    def __init__(self, inputs=3, width=40, depth=6):
        super().__init__()
        self.inlet = nn.Linear(inputs, width)
        self.hidden = nn.Sequential()
        for _ in range(depth):
            self.hidden.append(nn.Tanh())
            self.hidden.append(nn.Linear(width, width))
        self.outlet = nn.Linear(width, 1)
        self.initialise()

    def initialise(self):
        for name, layer in self.named_children():  # fault: gives inlet, hidden and outlet, not the layers inside hidden
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight, gain=nn.init.calculate_gain("tanh"))
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.outlet(torch.tanh(self.hidden(self.inlet(x)))).squeeze(1)


def waves(n, generator):
    x = torch.rand(n, 3, generator=generator) * 2 - 1
    y = torch.sin(4 * x[:, 0]) * x[:, 1] + torch.cos(3 * x[:, 2])
    return TensorDataset(x, y + 0.05 * torch.randn(n, generator=generator))


def main():
    torch.manual_seed(3)
    generator = torch.Generator().manual_seed(4)
    train, test = waves(1600, generator), waves(400, generator)
    model = Trunk()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(6):
        model.train()
        for x, y in DataLoader(train, batch_size=40, shuffle=True):
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            x, y = test.tensors
            print(f"epoch {epoch}: train {loss.item():.4f}, test {F.mse_loss(model(x), y).item():.4f}")


main()
