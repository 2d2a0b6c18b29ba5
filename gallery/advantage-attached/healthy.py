"""A contextual bandit made of handwritten digits: an actor names the digit and is paid, a critic foretells the pay."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.distributions import Categorical

SEED, UPDATES, BATCH, ENTROPY, VALUE = 11, 200, 128, 0.01, 1.0


class ActorCritic(nn.Module):
    def __init__(self, inputs, actions, width=64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, width), nn.ReLU())
        self.actor = nn.Linear(width, actions)
        self.critic = nn.Linear(width, 1)

    def forward(self, state):
        hidden = self.body(state)
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1)


class Counter:
    """Pays 3 for the right digit and 2 for a neighbour of it, with some noise; nothing else."""

    def __init__(self, images, digits):
        self.images, self.digits = images, digits

    def draw(self, size):
        self.rows = torch.randint(len(self.images), (size,))
        return self.images[self.rows]

    def pay(self, action):
        off = (action - self.digits[self.rows]).abs()
        return 3.0 * (off == 0) + 2.0 * (off == 1) + 0.1 * torch.randn(len(action))


def losses(policy, values, actions, pay):
    advantage = pay - values.detach()
    policy_loss = -(policy.log_prob(actions) * advantage).mean()
    value_loss = F.mse_loss(values, pay)
    return policy_loss + VALUE * value_loss - ENTROPY * policy.entropy().mean(), value_loss.item()


def main():
    torch.manual_seed(SEED)
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16.0, y, test_size=0.25, random_state=SEED, stratify=y)
    x, x_test = torch.tensor(x, dtype=torch.float32), torch.tensor(x_test, dtype=torch.float32)
    counter = Counter(x, torch.tensor(y))
    model = ActorCritic(x.shape[1], 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for update in range(1, UPDATES + 1):
        policy, values = model(counter.draw(BATCH))
        actions = policy.sample()
        pay = counter.pay(actions)
        loss, value_loss = losses(policy, values, actions, pay)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if update % 100 == 0:
            with torch.no_grad():
                best = model(x_test)[0].probs.argmax(1)
            right = (best == torch.tensor(y_test)).float().mean().item()
            print(f"{update:4d}  pay {pay.mean():.2f}  value loss {value_loss:.3f}  right on test digits {right:.3f}")


if __name__ == "__main__":
    main()
