"""DQN with replay memory and a target network on 'catch' (a ball falls, a paddle moves), env written here."""
import math
import random
from collections import deque, namedtuple

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward", "done"))

ROWS, COLS = 6, 5
BATCH_SIZE, GAMMA, TAU, LR = 64, 0.95, 0.02, 2e-3
EPS_START, EPS_END, EPS_DECAY = 0.9, 0.05, 400


class Catch:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def reset(self):
        self.ball = [0, self.rng.randrange(COLS)]
        self.paddle = self.rng.randrange(COLS)
        return self.state()

    def state(self):
        return np.array([self.ball[0] / 2.5 - 1, self.ball[1] / 2 - 1, self.paddle / 2 - 1], dtype=np.float32)

    def step(self, action):
        self.paddle = min(max(self.paddle + action - 1, 0), COLS - 1)
        self.ball[0] += 1
        done = self.ball[0] == ROWS - 1
        reward = (1.0 if self.ball[1] == self.paddle else -1.0) if done else 0.0
        return self.state(), reward, done


class ReplayMemory:
    def __init__(self, capacity):
        self.memory = deque([], maxlen=capacity)

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, batch_size):
        return Transition(*zip(*random.sample(self.memory, batch_size)))

    def __len__(self):
        return len(self.memory)


def q_network():
    return nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))


def optimize_model(policy_net, target_net, optimizer, memory):
    batch = memory.sample(BATCH_SIZE)
    state = torch.from_numpy(np.stack(batch.state))
    next_state = torch.from_numpy(np.stack(batch.next_state))
    action = torch.tensor(batch.action).unsqueeze(1)
    reward, done = torch.tensor(batch.reward), torch.tensor(batch.done, dtype=torch.float32)

    q = policy_net(state).gather(1, action).squeeze(1)
    with torch.no_grad():
        next_q = target_net(next_state).max(1).values
    expected = reward + GAMMA * next_q * (1 - done)
    loss = nn.functional.smooth_l1_loss(q, expected)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()
    return loss.item()


def evaluate(net, episodes=60):
    env, caught = Catch(seed=4242), 0
    with torch.no_grad():
        for _ in range(episodes):
            s, done = env.reset(), False
            while not done:
                s, r, done = env.step(int(net(torch.from_numpy(s)).argmax()))
            caught += r > 0
    return caught / episodes


def main():
    random.seed(1), torch.manual_seed(1)
    env, memory = Catch(seed=1), ReplayMemory(3000)
    policy_net, target_net = q_network(), q_network()
    target_net.load_state_dict(policy_net.state_dict())
    optimizer = optim.AdamW(policy_net.parameters(), lr=LR, amsgrad=True)
    steps_done = 0
    for block in range(6):
        losses = []
        for _ in range(50):
            state, done = env.reset(), False
            while not done:
                eps = EPS_END + (EPS_START - EPS_END) * math.exp(-steps_done / EPS_DECAY)
                if random.random() > eps:
                    with torch.no_grad():
                        action = int(policy_net(torch.from_numpy(state)).argmax())
                else:
                    action = random.randrange(3)
                next_state, reward, done = env.step(action)
                memory.push(state, action, next_state, reward, done)
                state = next_state
                steps_done += 1
                if len(memory) >= 200 and steps_done % 3 == 0:
                    losses.append(optimize_model(policy_net, target_net, optimizer, memory))
                    with torch.no_grad():
                        for t, p in zip(target_net.parameters(), policy_net.parameters()):
                            t.lerp_(p, TAU)
        print(f"episodes {50 * (block + 1)} mean loss {np.mean(losses):.4f} caught {evaluate(policy_net):.2f}")
    print("Complete")


if __name__ == "__main__":
    main()
