"""A diffusion model on digits."""

# needs: denoising_diffusion_pytorch torchvision
import torch
from denoising_diffusion_pytorch import Unet1D, GaussianDiffusion1D, Trainer1D, Dataset1D
from denoising_diffusion_pytorch import Unet, GaussianDiffusion

torch.manual_seed(0)
from sklearn.datasets import load_digits

imgs = torch.nn.functional.interpolate(torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16, size=16)
model = Unet(dim=16, dim_mults=(1, 2), channels=1, flash_attn=False)
diff = GaussianDiffusion(model, image_size=16, timesteps=100)
opt = torch.optim.Adam(diff.parameters(), lr=1e-4, betas=(0.9, 0.99))
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(imgs), 16, shuffle=True)
for i, (x,) in enumerate(loader):
    loss = diff(x)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(diff.parameters(), 1.0)
    opt.step()
    opt.zero_grad()
    if i == 30:
        break
print(loss.item())
