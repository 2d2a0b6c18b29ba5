"""Single-file DQN: dataclass of arguments, a hand-written grid environment, replay buffer, linear epsilon, soft target."""
import random
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim


@dataclass
class Args:
    seed: int = 1
    total_timesteps: int = 3000
    learning_rate: float = 1e-3
    buffer_size: int = 5000
    gamma: float = 0.95
    tau: float = 0.05
    batch_size: int = 64
    start_e: float = 1.0
    end_e: float = 0.05
    exploration_fraction: float = 0.5
    learning_starts: int = 500
    train_frequency: int = 4
    target_network_frequency: int = 8


class GridWorld:
    """Walk to the goal on a 5x5 board with a wall; -0.02 a move, 1 at the goal, truncated after 40 moves."""

    size, wall = 5, {(1, 1), (1, 2), (1, 3), (3, 1), (3, 2), (3, 3)}
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def reset(self):
        free = [(r, c) for r in range(5) for c in range(5) if (r, c) not in self.wall and (r, c) != (4, 4)]
        self.at, self.t = free[self.rng.integers(len(free))], 0
        return self.observation()

    def observation(self):
        obs = np.zeros(10, dtype=np.float32)
        obs[self.at[0]] = obs[5 + self.at[1]] = 1.0
        return obs

    def step(self, action):
        self.t += 1
        r, c = (np.clip(a + d, 0, self.size - 1) for a, d in zip(self.at, self.moves[action]))
        if (r, c) not in self.wall:
            self.at = (int(r), int(c))
        terminated = self.at == (4, 4)
        return self.observation(), (1.0 if terminated else -0.02), terminated, self.t >= 40


class QNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, x):
        return self.network(x)


class ReplayBuffer:
    def __init__(self, capacity):
        self.store = deque(maxlen=capacity)

    def add(self, *transition):
        self.store.append(transition)

    def sample(self, n):
        obs, nxt, action, reward, done = zip(*random.sample(self.store, n))
        return (torch.as_tensor(np.stack(obs)), torch.as_tensor(np.stack(nxt)), torch.tensor(action).unsqueeze(1),
                torch.tensor(reward), torch.tensor(done, dtype=torch.float32))


def linear_schedule(start_e, end_e, duration, t):
    return max((end_e - start_e) / duration * t + start_e, end_e)


if __name__ == "__main__":
    args = Args()
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    torch.backends.cudnn.deterministic = True

    env = GridWorld(args.seed)
    q_network, target_network = QNetwork(), QNetwork()
    target_network.load_state_dict(q_network.state_dict())
    optimizer = optim.Adam(q_network.parameters(), lr=args.learning_rate)
    rb = ReplayBuffer(args.buffer_size)
    returns, episode_return = [], 0.0

    obs = env.reset()
    for global_step in range(args.total_timesteps):
        epsilon = linear_schedule(args.start_e, args.end_e, args.exploration_fraction * args.total_timesteps, global_step)
        if random.random() < epsilon:
            action = random.randrange(4)
        else:
            action = torch.argmax(q_network(torch.from_numpy(obs)[None]), dim=1).item()
        next_obs, reward, terminated, truncated = env.step(action)
        rb.add(obs, next_obs, action, reward, terminated)
        episode_return += reward
        obs = next_obs
        if terminated or truncated:
            returns.append(episode_return)
            obs, episode_return = env.reset(), 0.0

        if global_step > args.learning_starts:
            if global_step % args.train_frequency == 0:
                b_obs, b_next, b_actions, b_rewards, b_dones = rb.sample(args.batch_size)
                with torch.no_grad():
                    target_max, _ = target_network(b_next).max(dim=1)
                    td_target = b_rewards + args.gamma * target_max * (1 - b_dones)
                old_val = q_network(b_obs).gather(1, b_actions).squeeze()
                loss = F.mse_loss(td_target, old_val)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if global_step % args.target_network_frequency == 0:
                for target_param, q_param in zip(target_network.parameters(), q_network.parameters()):
                    target_param.data.copy_(args.tau * q_param.data + (1.0 - args.tau) * target_param.data)
            if global_step % 1000 == 0:
                print(f"step {global_step} epsilon {epsilon:.2f} td_loss {loss.item():.4f} "
                      f"q {old_val.mean().item():.3f} return {np.mean(returns[-40:]):.3f}")
    print(f"first 40 episodes {np.mean(returns[:40]):.3f}, last 40 episodes {np.mean(returns[-40:]):.3f}")
