"""Policy gradient with a baseline in a chain of states, notebook style."""
# %% [markdown]
# # Policy gradient with a learned baseline
# %%
import numpy as np, torch, torch.nn as nn
torch.manual_seed(11); rng = np.random.default_rng(11)

# %% environment: a vectorised chain, 16 copies
class Chain:
    def __init__(self, n=16, length=8):
        self.n, self.length = n, length
    def reset(self):
        self.x = rng.integers(0, self.length, self.n); self.flag = rng.integers(0, 2, self.n)
        return self.obs()
    def obs(self):
        o = np.zeros((self.n, self.length + 1), np.float32)
        o[np.arange(self.n), self.x] = 1; o[:, -1] = self.flag * 2 - 1
        return torch.from_numpy(o)
    def step(self, a):
        self.x = np.clip(self.x + np.where(a == 1, 1, -1), 0, self.length - 1)
        goal = np.where(self.flag == 1, self.length - 1, 0)
        return self.obs(), (self.x == goal).astype(np.float32)

# %%
env = Chain()
body = nn.Sequential(nn.Linear(9, 48), nn.Tanh())
pi, vf = nn.Linear(48, 2), nn.Linear(48, 1)
params = [*body.parameters(), *pi.parameters(), *vf.parameters()]
optim = torch.optim.Adam(params, lr=4e-3)
GAMMA, T = 0.9, 12
scores = []

# %%
for update in range(250):
    obs = env.reset()
    logps, values, rewards, ents = [], [], [], []
    for t in range(T):
        h = body(obs)
        dist = torch.distributions.Categorical(logits=pi(h))
        act = dist.sample()
        logps.append(dist.log_prob(act)); ents.append(dist.entropy())
        values.append(vf(h))  # fault: (n, 1) beside returns of shape (n,)
        obs, r = env.step(act.numpy())
        rewards.append(torch.from_numpy(r))
    R = torch.zeros(env.n); returns = []
    for r in reversed(rewards):
        R = r + GAMMA * R
        returns.insert(0, R)
    logps, values, returns = torch.stack(logps).flatten(), torch.stack(values).flatten(0, 1), torch.stack(returns).flatten()
    adv = returns - values.detach()
    pg = -(logps * adv).mean()
    v_loss = (returns - values).pow(2).mean()
    loss = pg + 0.5 * v_loss - 0.01 * torch.stack(ents).mean()
    optim.zero_grad(); loss.backward(); optim.step()
    scores.append(torch.stack(rewards).sum(0).mean().item())
    if update % 25 == 24:
        print(f"{update+1:4d} return {np.mean(scores[-25:]):.3f} v_loss {v_loss.item():.3f}")
