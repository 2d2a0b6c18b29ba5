"""Which of four made-up languages a word is from: a hand-built recurrent cell, one random word a step, weights moved by hand."""
import math
import random
import string

import torch
import torch.nn as nn

random.seed(5)
torch.manual_seed(5)
all_letters = string.ascii_lowercase + "'"
n_letters = len(all_letters)

syllables = {
    "Norvic": ["skal", "bjor", "hvi", "gard", "ulf", "stein", "thra", "ey"],
    "Polari": ["loa", "mahi", "ka", "wai", "nu", "pele", "ono", "ia"],
    "Zhemic": ["zha", "shen", "qi", "xu", "ling", "tao", "wei", "jin"],
    "Romani": ["vento", "bella", "rosso", "mi", "cato", "lupa", "dorra", "ne"],
}
category_lines = {}
for language, parts in syllables.items():
    made = {"".join(random.choice(parts) for _ in range(random.randint(1, 2))) for _ in range(300)}
    # a letter in ten is mistaken for another, as in real names
    category_lines[language] = ["".join(random.choice(string.ascii_lowercase) if random.random() < 0.1 else c for c in w)
                                for w in sorted(made)]
all_categories = list(category_lines)
n_categories = len(all_categories)
for lines in category_lines.values():
    random.shuffle(lines)
held_out = {category: lines[:15] for category, lines in category_lines.items()}
category_lines = {category: lines[15:] for category, lines in category_lines.items()}


def letterToIndex(letter):
    return all_letters.find(letter)


def lineToTensor(line):
    tensor = torch.zeros(len(line), 1, n_letters)
    for li, letter in enumerate(line):
        tensor[li][0][letterToIndex(letter)] = 1
    return tensor


class RNN(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super(RNN, self).__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size, hidden_size)
        self.h2h = nn.Linear(hidden_size, hidden_size)
        self.h2o = nn.Linear(hidden_size, output_size)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, input, hidden):
        hidden = torch.tanh(self.i2h(input) + self.h2h(hidden))
        output = self.h2o(hidden)
        output = self.softmax(output)
        return output, hidden

    def initHidden(self):
        return torch.zeros(1, self.hidden_size)


n_hidden = 32
rnn = RNN(n_letters, n_hidden, n_categories)


def categoryFromOutput(output):
    top_n, top_i = output.topk(1)
    category_i = top_i[0].item()
    return all_categories[category_i], category_i


def randomTrainingExample():
    category = random.choice(all_categories)
    line = random.choice(category_lines[category])
    category_tensor = torch.tensor([all_categories.index(category)], dtype=torch.long)
    line_tensor = lineToTensor(line)
    return category, line, category_tensor, line_tensor


criterion = nn.NLLLoss()
learning_rate = 0.04


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


n_iters = 1200
print_every = 200
plot_every = 200
current_loss = 0
all_losses = []
for iter in range(1, n_iters + 1):
    category, line, category_tensor, line_tensor = randomTrainingExample()
    output, loss = train(category_tensor, line_tensor)
    current_loss += loss
    if iter % print_every == 0:
        guess, guess_i = categoryFromOutput(output)
        correct = "ok" if guess == category else "no (%s)" % category
        print("%d %d%% %.4f %s / %s %s" % (iter, iter / n_iters * 100, loss, line, guess, correct))
    if iter % plot_every == 0:
        all_losses.append(current_loss / plot_every)
        current_loss = 0

confusion = torch.zeros(n_categories, n_categories)


def evaluate(line_tensor):
    hidden = rnn.initHidden()
    for i in range(line_tensor.size()[0]):
        output, hidden = rnn(line_tensor[i], hidden)
    return output


with torch.no_grad():
    for category_i, category in enumerate(all_categories):
        for line in held_out[category]:
            guess, guess_i = categoryFromOutput(evaluate(lineToTensor(line)))
            confusion[category_i][guess_i] += 1
for i in range(n_categories):
    confusion[i] = confusion[i] / confusion[i].sum()
print([round(v, 3) for v in all_losses])
print(confusion.diag().mean().item())
