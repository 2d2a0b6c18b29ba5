"""An exact Gaussian process of gpytorch."""

# needs: gpytorch
import math, torch, gpytorch

torch.manual_seed(0)
train_x = torch.linspace(0, 1, 100)
train_y = torch.sin(train_x * (2 * math.pi)) + torch.randn(train_x.size()) * math.sqrt(0.04)


class M(gpytorch.models.ExactGP):
    def __init__(s, x, y, l):
        super().__init__(x, y, l)
        s.mean_module = gpytorch.means.ConstantMean()
        s.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())

    def forward(s, x):
        return gpytorch.distributions.MultivariateNormal(s.mean_module(x), s.covar_module(x))


lik = gpytorch.likelihoods.GaussianLikelihood()
model = M(train_x, train_y, lik)
model.train()
lik.train()
opt = torch.optim.Adam(model.parameters(), lr=0.1)
mll = gpytorch.mlls.ExactMarginalLogLikelihood(lik, model)
for i in range(50):
    opt.zero_grad()
    out = model(train_x)
    loss = -mll(out, train_y)
    loss.backward()
    opt.step()
print(loss.item())
model.eval()
lik.eval()
with torch.no_grad(), gpytorch.settings.fast_pred_var():
    p = lik(model(torch.linspace(0, 1, 51)))
    print(p.mean[:3])
