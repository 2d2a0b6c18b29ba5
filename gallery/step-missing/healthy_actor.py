"""Actor-critic on a small windy corridor. Batched environments, pure torch."""
import torch
from torch import nn
from torch.distributions import Categorical


class WindyGrid:
    """Agent walks on a 5x5 grid towards a goal drawn per episode; wind pushes it sideways."""

    def __init__(self, n, size=5, seed=0):
        self.n, self.size = n, size
        self.g = torch.Generator().manual_seed(seed)

    def reset(self):
        self.pos = torch.randint(0, self.size, (self.n, 2), generator=self.g)
        self.goal = torch.randint(0, self.size, (self.n, 2), generator=self.g)
        return self.obs()

    def obs(self):
        s = float(self.size - 1)
        return torch.cat([self.pos / s, self.goal / s, (self.goal - self.pos) / s], 1)

    def step(self, action):
        moves = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])
        wind = (torch.rand(self.n, generator=self.g) < 0.1).long()
        delta = moves[action]
        delta = delta + torch.stack([torch.zeros_like(wind), wind], 1)
        self.pos = (self.pos + delta).clamp(0, self.size - 1)
        at_goal = (self.pos == self.goal).all(1).float()
        return self.obs(), at_goal - 0.1


class A2C:
    def __init__(self, obs_dim=6, n_act=4, gamma=0.9):
        self.actor = nn.Sequential(nn.Linear(obs_dim, 64), nn.Tanh(), nn.Linear(64, n_act))
        self.critic = nn.Sequential(nn.Linear(obs_dim, 64), nn.Tanh(), nn.Linear(64, 1))
        self.actor_opt = torch.optim.Adam(self.actor.parameters(), lr=3e-3)
        self.critic_opt = torch.optim.Adam(self.critic.parameters(), lr=5e-3)
        self.gamma = gamma

    def rollout(self, env, horizon):
        o = env.reset()
        obs, logps, ents, rews = [], [], [], []
        for _ in range(horizon):
            dist = Categorical(logits=self.actor(o))
            a = dist.sample()
            obs.append(o)
            logps.append(dist.log_prob(a))
            ents.append(dist.entropy())
            o, r = env.step(a)
            rews.append(r)
        return torch.stack(obs), torch.stack(logps), torch.stack(ents), torch.stack(rews)

    def update(self, env, horizon=12):
        obs, logps, ents, rews = self.rollout(env, horizon)
        ret, acc = torch.zeros_like(rews), torch.zeros(rews.shape[1])
        for t in reversed(range(horizon)):
            acc = rews[t] + self.gamma * acc
            ret[t] = acc
        values = self.critic(obs).squeeze(-1)
        adv = (ret - values).detach()
        adv = (adv - adv.mean()) / (adv.std() + 1e-6)
        actor_loss = -(logps * adv).mean() - 0.005 * ents.mean()
        critic_loss = nn.functional.mse_loss(values, ret)

        self.actor_opt.zero_grad()
        self.critic_opt.zero_grad()
        actor_loss.backward()
        critic_loss.backward()
        self.actor_opt.step()
        self.critic_opt.step()
        return actor_loss.item(), critic_loss.item(), rews.sum(0).mean().item()


def greedy_score(agent, episodes=500, horizon=12):
    env = WindyGrid(episodes, seed=999)
    o = env.reset()
    total = torch.zeros(episodes)
    with torch.no_grad():
        for _ in range(horizon):
            o, r = env.step(agent.actor(o).argmax(-1))
            total += r
    return total.mean().item()


if __name__ == "__main__":
    torch.manual_seed(4)
    env, agent = WindyGrid(64, seed=4), A2C()
    for it in range(401):
        la, lc, ret = agent.update(env)
        if it % 50 == 0:
            print(f"iter {it:3d} actor {la:+.4f} critic {lc:.4f} return {ret:+.3f} greedy {greedy_score(agent):+.3f}")
