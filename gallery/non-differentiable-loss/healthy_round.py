"""How many of the 64 pixels of a digit are inked? Counts, predicted from a blurred picture."""
import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


class CountNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.fc1 = nn.Linear(6 * 2 * 2, 24)
        self.fc2 = nn.Linear(24, 1)

    def forward(self, x):
        x = nn.functional.relu(self.conv(x))
        x = nn.functional.relu(self.fc1(x.flatten(1)))
        return 20 + 10 * self.fc2(x).squeeze(1)


def loss_function(count, truth):
    difference = count - truth
    return (difference.abs() / 5).mean()


torch.manual_seed(77)
images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 16
inked = (images > 0.3).sum((1, 2, 3)).float()
blurred = nn.functional.avg_pool2d(images, 2)
train_set = TensorDataset(blurred[:1400], inked[:1400])
loader = DataLoader(train_set, batch_size=40, shuffle=True)

model = CountNet()
opt = optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(6):
    for picture, truth in loader:
        loss = loss_function(model(picture), truth)
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        error = (model(blurred[1400:]).round() - inked[1400:]).abs().mean().item()
    print(f"epoch {epoch + 1} loss {loss.item():.3f}, off by {error:.2f} pixels on test pictures")
