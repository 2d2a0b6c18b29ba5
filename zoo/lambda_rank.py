"""LambdaRank with hand-computed lambdas: the gradient is fed to y_pred.backward(), there is no scalar loss to minimise."""
import argparse
import numpy as np
import torch
import torch.nn as nn


class LambdaRankNet(nn.Module):
    def __init__(self, net_structures, leaky_relu=False, sigma=1.0):
        super(LambdaRankNet, self).__init__()
        self.fc_layers = len(net_structures)
        for i in range(len(net_structures) - 1):
            setattr(self, 'fc' + str(i + 1), nn.Linear(net_structures[i], net_structures[i + 1]))
        setattr(self, 'fc' + str(len(net_structures)), nn.Linear(net_structures[-1], 1, bias=False))
        self.activation = nn.LeakyReLU() if leaky_relu else nn.ReLU6()
        self.sigma = sigma

    def forward(self, input1):
        for i in range(1, self.fc_layers):
            input1 = self.activation(getattr(self, 'fc' + str(i))(input1))
        return getattr(self, 'fc' + str(self.fc_layers))(input1)


class NDCG(object):
    def __init__(self, k):
        self.k = k

    def evaluate(self, targets):
        g = np.power(2.0, targets) - 1.0
        disc = 1.0 / np.log2(np.arange(2, len(targets) + 2))
        return (g[:self.k] * disc[:self.k]).sum()

    def maxDCG(self, targets):
        return self.evaluate(np.sort(targets)[::-1])


class DataLoader:
    """queries with 8..25 documents, graded relevance 0..4 from a hidden non-linear utility"""

    def __init__(self, n_queries, seed, W):
        rng = np.random.RandomState(seed)
        self.sessions = []
        for _ in range(n_queries):
            n = rng.randint(8, 26)
            X = rng.normal(size=(n, 12)).astype(np.float32)
            q = rng.normal(size=3).astype(np.float32)
            X[:, 9:] = q                                   # query features repeat on each row
            u = X[:, :6] @ W + np.maximum(X[:, 6] * q[0], 0) * 1.5 + .3 * rng.normal(size=n)
            r = u.argsort().argsort() / (n - 1)
            y = np.digitize(r, [.5, .7, .85, .94]).astype(np.float32)
            self.sessions.append((X, y))
        self.num_features = 12

    def generate_batch_per_query(self, shuffle=True):
        order = np.random.permutation(len(self.sessions)) if shuffle else range(len(self.sessions))
        for i in order:
            yield self.sessions[i]


def train(start_epoch=0, epochs=4, lr=0.003, batch_size=16, ndcg_gain_in_train="exp2", sigma=1.0):
    np.random.seed(3); torch.manual_seed(3)
    W = np.random.RandomState(0).normal(size=6)
    train_loader, valid_loader = DataLoader(500, 1, W), DataLoader(200, 2, W)
    net = LambdaRankNet([train_loader.num_features, 48, 24], sigma=sigma)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)
    ideal_dcg = NDCG(10_000)
    print('ndcg@5 before', eval_ndcg_at_k(net, valid_loader))
    for i in range(start_epoch, start_epoch + epochs):
        net.train()
        net.zero_grad()
        count, grad_batch, y_pred_batch, tot = 0, [], [], 0.
        for X, Y in train_loader.generate_batch_per_query():
            if np.sum(Y) == 0:
                continue
            N = 1.0 / ideal_dcg.maxDCG(Y)
            X_tensor = torch.tensor(X)
            y_pred = net(X_tensor)
            y_pred_batch.append(y_pred)
            # compute the rank order of each document
            rank_order = (-y_pred.detach().numpy().flatten()).argsort().argsort() + 1
            with torch.no_grad():
                pos_pairs_score_diff = 1.0 + torch.exp(sigma * (y_pred - y_pred.t()))
                Y_tensor = torch.tensor(Y).view(-1, 1)
                rel_diff = Y_tensor - Y_tensor.t()
                pos_pairs, neg_pairs = (rel_diff > 0).type(torch.float32), (rel_diff < 0).type(torch.float32)
                Sij = pos_pairs - neg_pairs
                gain_diff = torch.pow(2.0, Y_tensor) - torch.pow(2.0, Y_tensor.t())
                rank_order_tensor = torch.tensor(rank_order, dtype=torch.float).view(-1, 1)
                decay_diff = 1.0 / torch.log2(rank_order_tensor + 1.0) - 1.0 / torch.log2(rank_order_tensor.t() + 1.0)
                delta_ndcg = torch.abs(N * gain_diff * decay_diff)
                lambda_update = sigma * (0.5 * (1 - Sij) - 1 / pos_pairs_score_diff) * delta_ndcg
                lambda_update = lambda_update * (Sij != 0)
                tot += (pos_pairs * delta_ndcg * torch.log1p(torch.exp(-sigma * (y_pred - y_pred.t())))).sum().item()
                lambda_update = torch.sum(lambda_update, 1, keepdim=True)
                assert lambda_update.shape == y_pred.shape
                grad_batch.append(lambda_update)
            # optimization is to similar to RankNetListWise, but to maximize NDCG; lambda_update scales with gain and decay
            count += 1
            if count % batch_size == 0:
                for grad, y_pred in zip(grad_batch, y_pred_batch):
                    y_pred.backward(grad / batch_size)
                optimizer.step()
                net.zero_grad()
                grad_batch, y_pred_batch = [], []
        if y_pred_batch:
            for grad, y_pred in zip(grad_batch, y_pred_batch):
                y_pred.backward(grad / len(y_pred_batch))
            optimizer.step()
            net.zero_grad()
        scheduler.step()
        if i % 2 == 1:
            print('epoch', i + 1, 'surrogate %.4f' % (tot / count), 'train', eval_ndcg_at_k(net, train_loader), 'held-out', eval_ndcg_at_k(net, valid_loader))


def eval_ndcg_at_k(net, loader, k=5):
    net.eval()
    res, m = [], NDCG(k)
    with torch.no_grad():
        for X, Y in loader.generate_batch_per_query(shuffle=False):
            s = net(torch.tensor(X)).numpy().flatten()
            res.append(m.evaluate(Y[np.argsort(-s)]) / m.maxDCG(Y))
    net.train()
    return round(float(np.mean(res)), 4)


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument('--epochs', type=int, default=12)
    train(epochs=p.parse_args().epochs)
