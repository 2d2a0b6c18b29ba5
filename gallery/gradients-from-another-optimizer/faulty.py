"""Actor and critic (deterministic policy gradient) that learn to steer against the wind from random tries."""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(12)


class Wind:
    """The state is the wind at three heights, the action a correction of course in two axes, the reward minus the squared miss."""

    @staticmethod
    def states(n):
        return 2 * torch.rand(n, 3) - 1

    @staticmethod
    def reward(state, action):
        best = torch.stack([0.6 * torch.sin(2 * state[:, 0]), 0.5 * state[:, 1] * state[:, 2]], dim=1)
        return -(action - best).pow(2).sum(1, keepdim=True)


class Actor(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 2), nn.Tanh())

    def forward(self, state):
        return self.layers(state)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, state, action):
        return self.layers(torch.cat([state, action], dim=1))


class Agent:
    def __init__(self):
        self.actor, self.critic = Actor(), Critic()
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=1e-3)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=2e-3)

    def update(self, state, action, reward):
        critic_loss = F.mse_loss(self.critic(state, action), reward)
        critic_loss.backward()  # fault: adds to what actor_loss.backward() left in the critic the last time
        self.critic_optimizer.step()
        self.critic_optimizer.zero_grad()

        self.actor_optimizer.zero_grad()
        actor_loss = -self.critic(state, self.actor(state)).mean()
        actor_loss.backward()
        self.actor_optimizer.step()
        return critic_loss.item(), -actor_loss.item()


def main(updates=250, batch_size=128):
    agent, wind = Agent(), Wind()
    memory = wind.states(4000)
    tries = 2 * torch.rand(4000, 2) - 1
    rewards = wind.reward(memory, tries)
    test = wind.states(500)
    for i in range(1, updates + 1):
        rows = torch.randint(len(memory), (batch_size,))
        critic_loss, promised = agent.update(memory[rows], tries[rows], rewards[rows])
        if i % 100 == 0:
            with torch.no_grad():
                true = wind.reward(test, agent.actor(test)).mean().item()
            print(f"update {i}: critic loss {critic_loss:.3f}, promised {promised:+.3f}, reward {true:.3f}")


if __name__ == "__main__":
    main()
