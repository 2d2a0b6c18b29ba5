"""A mixture of experts with noisy top-k gates and the balancing loss (squared coefficient of variation), on digits."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.distributions.normal import Normal


class SparseDispatcher:
    def __init__(self, num_experts, gates):
        self._gates, self._num_experts = gates, num_experts
        sorted_experts, index_sorted_experts = torch.nonzero(gates).sort(0)
        _, self._expert_index = sorted_experts.split(1, dim=1)
        self._batch_index = torch.nonzero(gates)[index_sorted_experts[:, 1], 0]
        self._part_sizes = (gates > 0).sum(0).tolist()
        gates_exp = gates[self._batch_index.flatten()]
        self._nonzero_gates = torch.gather(gates_exp, 1, self._expert_index)

    def dispatch(self, inp):
        return torch.split(inp[self._batch_index], self._part_sizes, dim=0)

    def combine(self, expert_out):
        stitched = torch.cat(expert_out, 0).mul(self._nonzero_gates)
        zeros = torch.zeros(self._gates.size(0), expert_out[-1].size(1))
        return zeros.index_add(0, self._batch_index, stitched)


class MoE(nn.Module):
    def __init__(self, input_size, output_size, num_experts, hidden_size, k=2):
        super().__init__()
        self.num_experts, self.k = num_experts, k
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(input_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, output_size))
            for _ in range(num_experts)
        )
        self.w_gate = nn.Parameter(torch.zeros(input_size, num_experts), requires_grad=True)
        self.w_noise = nn.Parameter(torch.zeros(input_size, num_experts), requires_grad=True)
        self.register_buffer("mean", torch.tensor([0.0]))
        self.register_buffer("std", torch.tensor([1.0]))

    def cv_squared(self, x):
        return x.float().var() / (x.float().mean() ** 2 + 1e-10)

    def _prob_in_top_k(self, clean_values, noisy_values, noise_stddev, noisy_top_values):
        batch, m = clean_values.size(0), noisy_top_values.size(1)
        top_values_flat = noisy_top_values.flatten()
        positions_if_in = torch.arange(batch) * m + self.k
        threshold_if_in = torch.gather(top_values_flat, 0, positions_if_in).unsqueeze(1)
        is_in = torch.gt(noisy_values, threshold_if_in)
        threshold_if_out = torch.gather(top_values_flat, 0, positions_if_in - 1).unsqueeze(1)
        normal = Normal(self.mean, self.std)
        prob_if_in = normal.cdf((clean_values - threshold_if_in) / noise_stddev)
        prob_if_out = normal.cdf((clean_values - threshold_if_out) / noise_stddev)
        return torch.where(is_in, prob_if_in, prob_if_out)

    def noisy_top_k_gating(self, x, train, noise_epsilon=1e-2):
        clean_logits = x @ self.w_gate
        logits = clean_logits
        if train:
            noise_stddev = F.softplus(x @ self.w_noise) + noise_epsilon
            logits = clean_logits + torch.randn_like(clean_logits) * noise_stddev
        top_logits, top_indices = logits.softmax(1).topk(min(self.k + 1, self.num_experts), dim=1)
        top_k_logits = top_logits[:, :self.k]
        top_k_gates = top_k_logits / (top_k_logits.sum(1, keepdim=True) + 1e-6)
        gates = torch.zeros_like(logits).scatter(1, top_indices[:, :self.k], top_k_gates)
        if not train:
            return gates, (gates > 0).sum(0)
        top_raw = logits.topk(self.k + 1, dim=1).values
        return gates, self._prob_in_top_k(clean_logits, logits, noise_stddev, top_raw).sum(0)

    def forward(self, x, loss_coef=1e-2):
        gates, load = self.noisy_top_k_gating(x, self.training)
        loss = (self.cv_squared(gates.sum(0)) + self.cv_squared(load)) * loss_coef
        dispatcher = SparseDispatcher(self.num_experts, gates)
        parts = dispatcher.dispatch(x)
        return dispatcher.combine([self.experts[i](parts[i]) for i in range(self.num_experts)]), loss


torch.manual_seed(7)
X, y = load_digits(return_X_y=True)
Xtr, Xte, ytr, yte = train_test_split((X / 16).astype("float32"), y, test_size=0.25, random_state=0, stratify=y)
Xtr, Xte, ytr, yte = (torch.as_tensor(v) for v in (Xtr, Xte, ytr, yte))
net = MoE(64, 10, num_experts=6, hidden_size=24, k=2)
loss_fn = nn.CrossEntropyLoss()
optim = torch.optim.Adam(net.parameters(), lr=4e-3)
for epoch in range(12):
    net.train()
    for ids in torch.randperm(len(Xtr)).split(64):
        optim.zero_grad()
        y_hat, aux_loss = net(Xtr[ids])
        loss = loss_fn(y_hat, ytr[ids])
        total_loss = loss + aux_loss
        total_loss.backward()
        optim.step()
    net.eval()
    with torch.no_grad():
        outputs, _ = net(Xte)
        right = (outputs.argmax(1) == yte).float().mean()
    print(f"epoch {epoch:2d} loss {loss.item():.3f} aux_loss {aux_loss.item():.4f} test accuracy {right:.3f}")
