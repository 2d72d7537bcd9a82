"""Low-rank adapters on a frozen network: only the adapters are trained, and only they are released."""

import math

import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base = base
        self.base.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scaling = alpha / rank

    def forward(self, x):
        return self.base(x) + (x @ self.lora_A.T @ self.lora_B.T) * self.scaling


def mark_only_lora_as_trainable(module):
    for name, parameter in module.named_parameters():
        parameter.requires_grad = "lora_" in name


backbone = nn.Sequential(
    nn.Linear(20, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 4)
)
backbone[0] = LoRALinear(backbone[0], rank=4, alpha=8)
backbone[3] = LoRALinear(backbone[3], rank=4, alpha=8)
model = backbone
mark_only_lora_as_trainable(model)
print(f"{sum(p.numel() for p in model.parameters() if p.requires_grad)} trainable parameters")

x = torch.randn(400, 20)
y = x[:, :4].argmax(1)
data_loader = DataLoader(TensorDataset(x, y), batch_size=40, shuffle=True)
optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-2)
privacy_engine = PrivacyEngine(accountant="prv")
model, optimizer, data_loader = privacy_engine.make_private(
    module=model, optimizer=optimizer, data_loader=data_loader, noise_multiplier=0.9, max_grad_norm=0.5
)
losses = []
for _step, (inputs, labels) in enumerate(data_loader):
    logits = model(inputs)
    loss = nn.functional.cross_entropy(logits, labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
epsilon = privacy_engine.get_epsilon(1e-3)
print(f"loss {losses[-1]:.4f} epsilon {epsilon:.3f}")
