"""Which of ten offers does a customer take? REINFORCE with a running baseline, and entropy to keep trying."""

import torch
from torch import nn

torch.manual_seed(6)
OFFERS, FEATURES = 10, 5
taste = torch.randn(FEATURES, OFFERS)


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, OFFERS))

    def forward(self, customers):
        return self.body(customers).log_softmax(dim=-1)


policy = Policy()
optimizer = torch.optim.RMSprop(policy.parameters(), lr=2e-3)
baseline = 0.0
for step in range(400):
    customers = torch.randn(64, FEATURES)
    log_p = policy(customers)
    offers = torch.multinomial(log_p.detach().exp(), 1)
    reward = (customers @ taste).gather(1, offers).squeeze(1)
    advantage = reward - baseline
    baseline += 0.05 * (reward.mean().item() - baseline)
    surprise = -(log_p.exp() * log_p).sum(-1)
    gain = advantage * log_p.gather(1, offers).squeeze(1) + 0.2 * surprise
    loss = -gain.mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 99:
        print(f"step {step + 1}: mean reward {baseline:.3f}, entropy {surprise.mean().item():.2f}")
