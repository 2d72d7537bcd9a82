"""The Hugging Face Trainer on small random models, adapters of peft among them, where they are installed."""

import copy
import warnings

import pytest
import torch
from torch.utils.data import Dataset

from clifftop.compat.privacy import Privacy

transformers = pytest.importorskip("transformers")

from clifftop.compat.transformers import (  # noqa: E402  after the package is known to be there
    PrivateTrainer,
    next_token_loss,
)

pytestmark = pytest.mark.filterwarnings("ignore")
VOCABULARY, LENGTH, COUNT = 50, 10, 48


class Texts(Dataset):
    def __init__(self):
        self.tokens = torch.randint(
            3, VOCABULARY, (COUNT, LENGTH), generator=torch.Generator().manual_seed(2)
        )
        self.lengths = torch.randint(4, LENGTH + 1, (COUNT,), generator=torch.Generator().manual_seed(3))

    def __len__(self):
        return COUNT

    def __getitem__(self, i):
        present = torch.arange(LENGTH) < self.lengths[i]
        labels = torch.where(present, self.tokens[i], -100)
        return {"input_ids": self.tokens[i], "attention_mask": present.long(), "labels": labels}


def gpt2():
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=LENGTH,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=1,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return transformers.GPT2LMHeadModel(config)


def llama():
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH,
    )
    return transformers.LlamaForCausalLM(config)


def adapted():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["c_attn"],
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
        fan_in_fan_out=True,
    )
    model = peft.get_peft_model(gpt2(), config)
    for (
        name,
        p,
    ) in model.named_parameters():  # an adapter starts at zero, where half of its gradients are zero
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3)
    return model


def trainer_of(model, folder, privacy, *, seen=None, **options):
    def collate(rows):
        if seen is not None:
            seen.append(rows)
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=12,
        num_train_epochs=1,
        learning_rate=0.3,
        lr_scheduler_type="constant",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        **options,
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    return PrivateTrainer(
        privacy=privacy,
        per_example_loss=next_token_loss,
        model=model,
        args=arguments,
        train_dataset=Texts(),
        data_collator=collate,
        optimizers=(torch.optim.SGD(trained, lr=0.3), None),
    )


@pytest.mark.parametrize("make", [gpt2, llama, adapted])
def test_clipped_steps_equal_one_backward_pass_an_example(make, tmp_path):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make()
        oracle = copy.deepcopy(model).train()
        names = list(model.state_dict())
        seen = []
        privacy = Privacy(max_grad_norm=0.2, delta=1e-3, noise_multiplier=0.0)
        trainer = trainer_of(model, tmp_path, privacy, seen=seen)
        trainer.train()
    assert trainer.engine.accountant.history == [(0.0, 0.25, 4)]
    assert list(model.state_dict()) == names
    start = copy.deepcopy(oracle)
    params = [p for p in oracle.parameters() if p.requires_grad]
    for rows in seen:
        total = [torch.zeros_like(p) for p in params]
        for row in rows:
            logits = oracle(
                input_ids=row["input_ids"][None], attention_mask=row["attention_mask"][None]
            ).logits
            grads = torch.autograd.grad(next_token_loss(logits, row["labels"][None]).sum(), params)
            norm = torch.stack([g.norm() for g in grads]).norm()
            total = [t + min(1.0, 0.2 / norm.item()) * g for t, g in zip(total, grads, strict=True)]
        with torch.no_grad():
            for p, t in zip(params, total, strict=True):
                p.sub_(0.3 * t / 12)
    moved = [
        float((a - b).detach().abs().max())
        for a, b in zip(start.parameters(), model.parameters(), strict=True)
    ]
    apart = [
        float((a - b).detach().abs().max())
        for a, b in zip(oracle.parameters(), model.parameters(), strict=True)
    ]
    assert max(apart) < 1e-5 < 1e-4 < max(moved)


def test_a_target_is_met(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = trainer_of(gpt2(), tmp_path, Privacy(max_grad_norm=1.0, delta=1e-3, target_epsilon=3.0))
        trainer.train()
    assert 2.99 < trainer.epsilon().upper <= 3.0


def test_accumulation_is_refused(tmp_path):
    privacy = Privacy(max_grad_norm=1.0, delta=1e-3, noise_multiplier=1.0)
    with pytest.raises(ValueError, match="gradient_accumulation_steps=2"):
        trainer_of(gpt2(), tmp_path, privacy, gradient_accumulation_steps=2)


def test_a_run_without_its_account_is_not_resumed(tmp_path):
    trainer = trainer_of(gpt2(), tmp_path, Privacy(max_grad_norm=1.0, delta=1e-3, noise_multiplier=1.0))
    with pytest.raises(ValueError, match="resume_from_checkpoint"):
        trainer.train(resume_from_checkpoint=True)
