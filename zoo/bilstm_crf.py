"""The BiLSTM-CRF tutorial: one sentence at a time, forward algorithm and Viterbi written out; tags name, number, operator, keyword."""
import io
import keyword
import tokenize

import torch
import torch.nn as nn
import torch.optim as optim

torch.manual_seed(1)
START_TAG, STOP_TAG = "<START>", "<STOP>"
SOURCE = '''
total = 0
for i in range ( 10 ) :
total = total + 1
return total
if total > 3 :
while i < 7 :
x = y * 2
y = x - 10
return x + y
for x in y :
if not x :
x = 3
while total > i :
y = total * 7
'''


def to_index(seq, to_ix):
    return torch.tensor([to_ix[w] for w in seq], dtype=torch.long)


def log_sum_exp(vec):
    max_score = vec[0, vec.argmax(1).item()]
    return max_score + torch.log(torch.sum(torch.exp(vec - max_score.view(1, -1))))


class BiLSTM_CRF(nn.Module):
    def __init__(self, vocab_size, tag_to_ix, embedding_dim, hidden_dim):
        super().__init__()
        self.hidden_dim = hidden_dim
        self.tag_to_ix = tag_to_ix
        self.tagset_size = len(tag_to_ix)
        self.word_embeds = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim // 2, num_layers=1, bidirectional=True)
        self.hidden2tag = nn.Linear(hidden_dim, self.tagset_size)
        self.transitions = nn.Parameter(torch.randn(self.tagset_size, self.tagset_size))
        self.transitions.data[tag_to_ix[START_TAG], :] = -10000
        self.transitions.data[:, tag_to_ix[STOP_TAG]] = -10000

    def init_hidden(self):
        return (torch.randn(2, 1, self.hidden_dim // 2), torch.randn(2, 1, self.hidden_dim // 2))

    def _forward_alg(self, feats):
        init_alphas = torch.full((1, self.tagset_size), -10000.)
        init_alphas[0][self.tag_to_ix[START_TAG]] = 0.
        forward_var = init_alphas
        for feat in feats:
            alphas_t = []
            for next_tag in range(self.tagset_size):
                emit_score = feat[next_tag].view(1, -1).expand(1, self.tagset_size)
                trans_score = self.transitions[next_tag].view(1, -1)
                alphas_t.append(log_sum_exp(forward_var + trans_score + emit_score).view(1))
            forward_var = torch.cat(alphas_t).view(1, -1)
        terminal_var = forward_var + self.transitions[self.tag_to_ix[STOP_TAG]]
        return log_sum_exp(terminal_var)

    def _get_lstm_features(self, sentence):
        embeds = self.word_embeds(sentence).view(len(sentence), 1, -1)
        lstm_out, _ = self.lstm(embeds, self.init_hidden())
        return self.hidden2tag(lstm_out.view(len(sentence), self.hidden_dim))

    def _score_sentence(self, feats, tags):
        score = torch.zeros(1)
        tags = torch.cat([torch.tensor([self.tag_to_ix[START_TAG]], dtype=torch.long), tags])
        for i, feat in enumerate(feats):
            score = score + self.transitions[tags[i + 1], tags[i]] + feat[tags[i + 1]]
        return score + self.transitions[self.tag_to_ix[STOP_TAG], tags[-1]]

    def _viterbi_decode(self, feats):
        backpointers = []
        forward_var = torch.full((1, self.tagset_size), -10000.)
        forward_var[0][self.tag_to_ix[START_TAG]] = 0
        for feat in feats:
            scores = forward_var + self.transitions
            best, ids = scores.max(1)
            backpointers.append(ids.tolist())
            forward_var = (best + feat).view(1, -1)
        terminal_var = forward_var + self.transitions[self.tag_to_ix[STOP_TAG]]
        best_tag_id = terminal_var.argmax(1).item()
        path_score = terminal_var[0][best_tag_id]
        best_path = [best_tag_id]
        for pointers in reversed(backpointers):
            best_tag_id = pointers[best_tag_id]
            best_path.append(best_tag_id)
        assert best_path.pop() == self.tag_to_ix[START_TAG]
        best_path.reverse()
        return path_score, best_path

    def neg_log_likelihood(self, sentence, tags):
        feats = self._get_lstm_features(sentence)
        return self._forward_alg(feats) - self._score_sentence(feats, tags)

    def forward(self, sentence):
        return self._viterbi_decode(self._get_lstm_features(sentence))


def tagged(line):
    words = [t for t in tokenize.generate_tokens(io.StringIO(line).readline) if t.string.strip()]
    kinds = {tokenize.NUMBER: "NUM", tokenize.OP: "OP"}
    tags = ["KEY" if keyword.iskeyword(t.string) else kinds.get(t.type, "NAME") for t in words]
    return [t.string for t in words], tags


training_data = [tagged(line) for line in SOURCE.strip().splitlines()]
word_to_ix = {}
for sentence, tags in training_data:
    for word in sentence:
        word_to_ix.setdefault(word, len(word_to_ix))
tag_to_ix = {"NAME": 0, "NUM": 1, "OP": 2, "KEY": 3, START_TAG: 4, STOP_TAG: 5}
model = BiLSTM_CRF(len(word_to_ix), tag_to_ix, 6, 8)
optimizer = optim.SGD(model.parameters(), lr=0.05, weight_decay=1e-4)


def show():
    with torch.no_grad():
        right = total = 0
        for sentence, tags in training_data:
            path = model(to_index(sentence, word_to_ix))[1]
            right += sum(p == tag_to_ix[t] for p, t in zip(path, tags, strict=True))
            total += len(tags)
        print(f"{right} of {total} tags right")


show()
for epoch in range(15):
    running = 0.0
    for sentence, tags in training_data:
        model.zero_grad()
        sentence_in = to_index(sentence, word_to_ix)
        targets = torch.tensor([tag_to_ix[t] for t in tags], dtype=torch.long)
        loss = model.neg_log_likelihood(sentence_in, targets)
        loss.backward()
        optimizer.step()
        running += loss.item()
    if epoch % 3 == 0:
        print(f"epoch {epoch}: negative log-likelihood {running / len(training_data):.3f}")
show()
