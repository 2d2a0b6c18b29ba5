"""A normalizing flow on two moons."""

# needs: normflows
import torch, normflows as nf

torch.manual_seed(0)
base = nf.distributions.base.DiagGaussian(2)
fl = []
for i in range(8):
    fl.append(nf.flows.AffineCouplingBlock(nf.nets.MLP([1, 32, 32, 2], init_zeros=True)))
    fl.append(nf.flows.Permute(2, mode="swap"))
model = nf.NormalizingFlow(base, fl)
target = nf.distributions.TwoMoons()
opt = torch.optim.Adam(model.parameters(), lr=5e-4, weight_decay=1e-5)
for it in range(120):
    opt.zero_grad()
    x = target.sample(256)
    loss = model.forward_kld(x)
    if ~(torch.isnan(loss) | torch.isinf(loss)):
        loss.backward()
        opt.step()
print(loss.item())
