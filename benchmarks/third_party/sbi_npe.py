"""Neural posterior estimation with sbi."""

# needs: sbi
import torch
from sbi.inference import NPE
from sbi.utils import BoxUniform

torch.manual_seed(0)
prior = BoxUniform(low=-2 * torch.ones(3), high=2 * torch.ones(3))
theta = prior.sample((600,))
x = theta + 1 + 0.1 * torch.randn_like(theta)
inf = NPE(prior=prior)
inf.append_simulations(theta, x)
inf.train(max_num_epochs=4, training_batch_size=50)
