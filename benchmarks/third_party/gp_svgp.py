"""A variational Gaussian process of gpytorch."""

# needs: gpytorch
import torch, gpytorch
from gpytorch.models import ApproximateGP
from gpytorch.variational import CholeskyVariationalDistribution, VariationalStrategy
from sklearn.datasets import load_diabetes
from torch.utils.data import TensorDataset, DataLoader

torch.manual_seed(0)
X, y = load_diabetes(return_X_y=True)
X = torch.tensor((X - X.mean(0)) / X.std(0), dtype=torch.float32)
y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)
tr = DataLoader(TensorDataset(X[:350], y[:350]), batch_size=64, shuffle=True)
te = DataLoader(TensorDataset(X[350:], y[350:]), batch_size=64)


class GP(ApproximateGP):
    def __init__(s, ip):
        vd = CholeskyVariationalDistribution(ip.size(0))
        super().__init__(VariationalStrategy(s, ip, vd, learn_inducing_locations=True))
        s.mean_module = gpytorch.means.ConstantMean()
        s.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())

    def forward(s, x):
        return gpytorch.distributions.MultivariateNormal(s.mean_module(x), s.covar_module(x))


model = GP(X[:50])
lik = gpytorch.likelihoods.GaussianLikelihood()
model.train()
lik.train()
opt = torch.optim.Adam([{"params": model.parameters()}, {"params": lik.parameters()}], lr=0.01)
mll = gpytorch.mlls.VariationalELBO(lik, model, num_data=350)
for i in range(4):
    for x, t in tr:
        opt.zero_grad()
        loss = -mll(model(x), t)
        loss.backward()
        opt.step()
    print(i, loss.item())
model.eval()
lik.eval()
means = torch.tensor([0.0])
with torch.no_grad():
    for x, t in te:
        means = torch.cat([means, model(x).mean])
print(torch.mean(torch.abs(means[1:] - y[350:])))
