"""Deep embedded clustering of digits: an autoencoder, k-means, then soft assignments."""
import numpy as np, torch, torch.nn as nn
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score as nmi
torch.manual_seed(0); np.random.seed(0)
X, y = load_digits(return_X_y=True); X = torch.tensor(X / 16., dtype=torch.float32); N = len(X)
enc = nn.Sequential(nn.Linear(64, 200), nn.ReLU(), nn.Linear(200, 10)); dec = nn.Sequential(nn.Linear(10, 200), nn.ReLU(), nn.Linear(200, 64))
opt = torch.optim.Adam(list(enc.parameters()) + list(dec.parameters()), 1e-3)
for e in range(30):
    for ix in torch.randperm(N).split(128):
        l = nn.functional.mse_loss(dec(enc(X[ix])), X[ix]); opt.zero_grad(); l.backward(); opt.step()
with torch.no_grad(): Z = enc(X).numpy()
km = KMeans(10, n_init=5, random_state=0).fit(Z)
print('ae mse %.4f' % l.item(), 'kmeans nmi %.3f' % nmi(y, km.labels_))
mu = nn.Parameter(torch.tensor(km.cluster_centers_))
def soft_assign(z): q = 1 / (1 + torch.cdist(z, mu) ** 2); return q / q.sum(1, keepdim=True)
def target(q): w = q ** 2 / q.sum(0); return (w / w.sum(1, keepdim=True)).detach()
opt = torch.optim.SGD([*enc.parameters(), mu], lr=.02, momentum=.9)
for it in range(240):
    if it % 40 == 0:
        with torch.no_grad(): Q = soft_assign(enc(X))
        P = target(Q); lab = Q.argmax(1).numpy(); print(it, 'nmi %.3f' % nmi(y, lab), 'kl %.4f' % (P * (P / Q).log()).sum(1).mean())
    ix = torch.randint(N, (256,)); q = soft_assign(enc(X[ix]))
    loss = (P[ix] * (P[ix].log() - q.log())).sum(1).mean()
    opt.zero_grad(); loss.backward(); opt.step()
