"""The character-RNN tutorial: one word at a time, a hand-written RNN, parameters changed by p.data.add_, kinds of words told."""
import builtins
import keyword
import math
import random
import string
import sys
import time

import torch
import torch.nn as nn

all_letters = string.ascii_lowercase + string.ascii_uppercase + "_"
n_letters = len(all_letters)
category_lines = {
    "exception": sorted(n for n in dir(builtins) if n[0].isupper() and n.isalpha()),
    "dunder": sorted({n for t in (int, str, list, dict, type) for n in dir(t) if n.startswith("__")}),
    "module": sorted(n for n in sys.stdlib_module_names if n.islower() and n.isalpha() and n not in keyword.kwlist),
}
all_categories = sorted(category_lines)
n_categories = len(all_categories)


def lineToTensor(line):
    tensor = torch.zeros(len(line), 1, n_letters)
    for li, letter in enumerate(line):
        tensor[li][0][all_letters.find(letter)] = 1
    return tensor


class RNN(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super(RNN, self).__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size + hidden_size, hidden_size)
        self.i2o = nn.Linear(input_size + hidden_size, output_size)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, input, hidden):
        combined = torch.cat((input, hidden), 1)
        hidden = torch.tanh(self.i2h(combined))
        output = self.i2o(combined)
        output = self.softmax(output)
        return output, hidden

    def initHidden(self):
        return torch.zeros(1, self.hidden_size)


random.seed(4)
torch.manual_seed(4)
held_out = {}
for category in all_categories:
    random.shuffle(category_lines[category])
    held_out[category], category_lines[category] = category_lines[category][:12], category_lines[category][12:]


def categoryFromOutput(output):
    top_n, top_i = output.topk(1)
    category_i = top_i[0].item()
    return all_categories[category_i], category_i


def randomTrainingExample():
    category = random.choice(all_categories)
    line = random.choice(category_lines[category])
    category_tensor = torch.tensor([all_categories.index(category)], dtype=torch.long)
    return category, line, category_tensor, lineToTensor(line)


rnn = RNN(n_letters, 64, n_categories)
criterion = nn.NLLLoss()
learning_rate = 0.02


def train(category_tensor, line_tensor):
    hidden = rnn.initHidden()
    rnn.zero_grad()
    for i in range(line_tensor.size()[0]):
        output, hidden = rnn(line_tensor[i], hidden)
    loss = criterion(output, category_tensor)
    loss.backward()
    for p in rnn.parameters():
        p.data.add_(p.grad.data, alpha=-learning_rate)
    return output, loss.item()


current_loss = 0
all_losses = []
start = time.time()
for iter in range(1, 1001):
    category, line, category_tensor, line_tensor = randomTrainingExample()
    output, loss = train(category_tensor, line_tensor)
    current_loss += loss
    if iter % 200 == 0:
        guess, guess_i = categoryFromOutput(output)
        correct = "v" if guess == category else "x (%s)" % category
        print("%d %d%% %.4f %s / %s %s" % (iter, iter / 10, loss, line, guess, correct))
        all_losses.append(current_loss / 200)
        current_loss = 0
assert math.isfinite(time.time() - start)
print("losses", [round(v, 3) for v in all_losses])


def evaluate(line_tensor):
    hidden = rnn.initHidden()
    for i in range(line_tensor.size()[0]):
        output, hidden = rnn(line_tensor[i], hidden)
    return output


with torch.no_grad():
    right = sum(categoryFromOutput(evaluate(lineToTensor(w)))[0] == c for c in all_categories for w in held_out[c])
print(f"held out: {right} of {12 * n_categories} right")
