"""Which of eight experts knows the answer? A hard choice, trained with the gradient of the soft one."""

import torch
from torch import nn

torch.manual_seed(21)
N, EXPERTS = 2000, 8
prototypes = torch.randn(EXPERTS, 6)
answers = 2 * torch.randn(EXPERTS)
which = torch.randint(0, EXPERTS, (N,))
questions = prototypes[which] + 0.3 * torch.randn(N, 6)
truth = answers[which] + 0.1 * torch.randn(N)


class Chooser(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, EXPERTS))
        self.experts = nn.Parameter(torch.randn(EXPERTS))

    def forward(self, x):
        soft = self.gate(x).softmax(-1)
        hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
        choice = hard - soft + soft  # fault: nothing is left but the hard choice
        return choice @ self.experts


net = Chooser()
opt = torch.optim.Adam(net.parameters(), lr=5e-3)
for epoch in range(20):
    for rows in torch.randperm(N).split(50):
        error = (net(questions[rows]) - truth[rows]).abs().mean()
        opt.zero_grad()
        error.backward()
        opt.step()
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1}: mean error {error.item():.3f}")
