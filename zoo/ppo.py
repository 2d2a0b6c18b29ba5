"""PPO (clipped, GAE) steering a noisy point mass to the origin; vectorised environment written in numpy."""
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from torch.distributions.normal import Normal

NUM_ENVS, NUM_STEPS, UPDATES = 32, 32, 9
EPOCHS, MINIBATCHES = 4, 4
GAMMA, LAMBDA, CLIP, ENT, VF = 0.97, 0.95, 0.2, 0.003, 0.5


class PointMass:
    """state (position, velocity), reward -(position^2 + 0.1 velocity^2 + 0.01 force^2) / 10, 32 steps an episode"""

    def __init__(self, n, seed):
        self.n, self.rng, self.t = n, np.random.default_rng(seed), 0
        self.x = np.zeros((n, 2), dtype=np.float32)

    def reset(self):
        self.t = 0
        self.x = self.rng.uniform(-1, 1, (self.n, 2)).astype(np.float32)
        return torch.from_numpy(self.x.copy())

    def step(self, force):
        force = np.clip(force, -2, 2)
        self.x[:, 1] += 0.2 * force + 0.02 * self.rng.standard_normal(self.n)
        self.x[:, 0] += 0.2 * self.x[:, 1]
        self.x = np.clip(self.x, -2, 2)
        self.t += 1
        reward = -0.1 * (self.x[:, 0] ** 2 + 0.1 * self.x[:, 1] ** 2 + 0.01 * force**2)
        return torch.from_numpy(self.x.copy()), torch.from_numpy(reward.astype(np.float32)), self.t >= 32


def layer_init(layer, std=np.sqrt(2), bias_const=0.0):
    torch.nn.init.orthogonal_(layer.weight, std)
    torch.nn.init.constant_(layer.bias, bias_const)
    return layer


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(layer_init(nn.Linear(2, 48)), nn.Tanh(), layer_init(nn.Linear(48, 1), std=1.0))
        self.actor_mean = nn.Sequential(layer_init(nn.Linear(2, 48)), nn.Tanh(), layer_init(nn.Linear(48, 1), std=0.01))
        self.actor_logstd = nn.Parameter(torch.zeros(1))

    def get_value(self, x):
        return self.critic(x).squeeze(-1)

    def get_action_and_value(self, x, action=None):
        probs = Normal(self.actor_mean(x).squeeze(-1), self.actor_logstd.exp())
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action), probs.entropy(), self.get_value(x)


torch.manual_seed(1)
np.random.seed(1)
envs = PointMass(NUM_ENVS, seed=1)
agent = Agent()
optimizer = optim.Adam(agent.parameters(), lr=3e-3, eps=1e-5)
schedule = optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=UPDATES)

obs = torch.zeros((NUM_STEPS, NUM_ENVS, 2))
actions, logprobs, rewards, values = (torch.zeros((NUM_STEPS, NUM_ENVS)) for _ in range(4))

for update in range(1, UPDATES + 1):
    next_obs = envs.reset()
    for step in range(NUM_STEPS):
        obs[step] = next_obs
        with torch.no_grad():
            actions[step], logprobs[step], _, values[step] = agent.get_action_and_value(next_obs)
        next_obs, rewards[step], truncated = envs.step(actions[step].numpy())

    with torch.no_grad():  # the episode is cut by time, so the last value is bootstrapped
        advantages = torch.zeros_like(rewards)
        lastgaelam, next_value = 0, agent.get_value(next_obs)
        for t in reversed(range(NUM_STEPS)):
            delta = rewards[t] + GAMMA * next_value - values[t]
            advantages[t] = lastgaelam = delta + GAMMA * LAMBDA * lastgaelam
            next_value = values[t]
        returns = advantages + values

    b_obs = obs.reshape(-1, 2)
    b_actions, b_logprobs, b_adv, b_returns = (v.reshape(-1) for v in (actions, logprobs, advantages, returns))
    b_inds = np.arange(NUM_STEPS * NUM_ENVS)
    v_losses = []
    for epoch in range(EPOCHS):
        np.random.shuffle(b_inds)
        for mb_inds in np.split(b_inds, MINIBATCHES):
            _, newlogprob, entropy, newvalue = agent.get_action_and_value(b_obs[mb_inds], b_actions[mb_inds])
            ratio = (newlogprob - b_logprobs[mb_inds]).exp()
            adv = b_adv[mb_inds]
            adv = (adv - adv.mean()) / (adv.std() + 1e-8)
            pg_loss = torch.max(-adv * ratio, -adv * torch.clamp(ratio, 1 - CLIP, 1 + CLIP)).mean()
            v_loss = 0.5 * ((newvalue - b_returns[mb_inds]) ** 2).mean()
            loss = pg_loss - ENT * entropy.mean() + VF * v_loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
            v_losses.append(v_loss.item())
    schedule.step()
    print(f"update {update} episodic return {rewards.sum(0).mean().item():8.3f} value loss {np.mean(v_losses):7.3f} "
          f"std {agent.actor_logstd.exp().item():.3f}")

print("last return %.3f" % rewards.sum(0).mean().item())
