"""How many goals will a team score? Attack and defence strengths, fitted to Poisson counts."""

import torch
import torch.nn.functional as F

torch.manual_seed(12)
TEAMS, GAMES = 14, 3000
strength = 0.5 * torch.randn(TEAMS, 2)
home, away = torch.randint(0, TEAMS, (GAMES,)), torch.randint(0, TEAMS, (GAMES,))
goals = torch.poisson(torch.exp(0.2 + strength[home, 0] - strength[away, 1]))

attack = torch.nn.Embedding(TEAMS, 1)
defence = torch.nn.Embedding(TEAMS, 1)
level = torch.nn.Parameter(torch.zeros(1))
optimizer = torch.optim.Adam([*attack.parameters(), *defence.parameters(), level], lr=0.03)


def expected(a, b):
    return torch.exp(level + attack(a) - defence(b)).flatten()


for epoch in range(15):
    order = torch.randperm(GAMES)
    for part in order.split(100):
        loss = F.poisson_nll_loss(expected(home[part], away[part]), goals[part], log_input=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 5 == 4:
        with torch.no_grad():
            mean = expected(home, away).mean()
        print(f"epoch {epoch + 1}: {mean:.2f} goals expected on average, {goals.mean():.2f} were scored")
