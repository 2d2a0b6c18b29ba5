"""Deep Q-learning on a corridor, with experience replay and a target network."""

import collections
import copy
import random

import torch
from torch import nn

random.seed(1)
torch.manual_seed(1)
LENGTH, GAMMA, SYNC = 8, 0.95, 25


class Agent:
    def __init__(self):
        self.online = nn.Sequential(nn.Linear(LENGTH, 32), nn.ReLU(), nn.Linear(32, 2))
        self.target = copy.deepcopy(self.online)
        self.optimizer = torch.optim.Adam(self.online.parameters(), lr=5e-3)
        self.memory = collections.deque(maxlen=1000)
        self.updates = 0

    def act(self, state, epsilon):
        if random.random() < epsilon:
            return random.randrange(2)
        with torch.no_grad():
            return self.online(state).argmax().item()

    def learn(self):
        states, actions, rewards, following, done = map(torch.stack, zip(*random.sample(self.memory, 32)))
        chosen = self.online(states).gather(1, actions.unsqueeze(1)).squeeze(1)
        with torch.no_grad():
            goal = rewards + GAMMA * (1 - done) * self.target(following).max(1).values
        loss = nn.functional.mse_loss(chosen, goal)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.updates += 1
        if self.updates % SYNC == 0:
            self.target.load_state_dict(self.online.state_dict())
        return loss.item()


def encode(position):
    state = torch.zeros(LENGTH)
    state[position] = 1.0
    return state


agent = Agent()
position, steps, lengths = 0, 0, []
for turn in range(900):
    state = encode(position)
    action = agent.act(state, epsilon=max(0.1, 1 - turn / 500))
    position = max(0, position + (1 if action else -1))
    done = position == LENGTH - 1
    reward = 1.0 if done else 0.0
    values = (torch.tensor(action), torch.tensor(reward), encode(position), torch.tensor(float(done)))
    agent.memory.append((state, *values))
    steps += 1
    if done or steps >= 60:
        lengths.append(steps)
        position, steps = 0, 0
    if len(agent.memory) >= 64:
        loss = agent.learn()
        if turn % 150 == 149:
            value = agent.online(encode(0)).max().item()
            print(f"turn {turn + 1}: loss {loss:.5f}, value at the start {value:.3f}, last episodes {lengths[-3:]}")
