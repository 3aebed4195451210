"""One trainer's milliseconds a step: `python benchmarks/loop.py WORK TRAINER`.

WORK is `digits` (the digits MLP, batch 32, AdamW, clipping, cosine, a log line every 50 steps) or `language` (a Llama
of 4 layers, 128 wide, batch 16, 128 tokens). TRAINER is `hand`, `launcher`, `transformers` or `lightning`; all take
the same steps on the same data, and everything a person would leave on is on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STEPS = {"digits": (500, 3000), "language": (10, 40)}


def main() -> None:
    work, trainer = sys.argv[1:3]
    if trainer == "launcher":
        launcher(work)
    else:
        {"hand": hand, "transformers": transformers, "lightning": lightning}[trainer](work)


def launcher(work: str) -> None:
    begin, end = STEPS[work]
    common = [
        "training.max_epochs=null",
        f"training.max_steps={end + 50}",
        "training.clip_norm=1",
        "scheduler.warmup=0",
        "tracker=[tensorboard]",
        "monitor=[step_times]",
        f"monitor.step_times.begin={begin}",
        f"monitor.step_times.end={end}",
    ]
    own = {
        "digits": ["model=mlp", "training.eval_every=null"],
        "language": [
            "task=pretrain_clm",
            "model.width=128",
            "model.depth=4",
            "training.batch_size=16",
            "training.log_every=10",
            "training.eval_every=null",
        ],
    }[work]
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"LAUNCHER_TRUST": "benchmarks.*", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "launcher", f"--config-dir={ROOT / 'benchmarks' / 'conf'}", *own, *common]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    print(done.stdout.split()[-1])


def digits() -> tuple[Any, Any, Any]:
    """The digits' training tensors and the MLP, as the launcher builds them."""
    import torch
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(pixels / 16, dtype=torch.float32)[:1438]
    inputs = (inputs - inputs.mean()) / inputs.std()
    nn = torch.nn
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    return model, inputs, torch.tensor(labels)[:1438]


def llama() -> tuple[Any, Any]:
    """Random tokens in the shape of the launcher's corpus, and the same Llama."""
    import torch
    from transformers import LlamaForCausalLM

    sys.path.insert(0, str(ROOT))
    from launcher.tasks.models.llama import llama as build

    model = build(vocab_size=257, max_length=128, eos_token_id=256, width=128, depth=4)
    assert isinstance(model, LlamaForCausalLM)
    return model, torch.randint(0, 257, (2000, 129))


def hand(work: str) -> None:
    """The loop that a person writes: DataLoader, AdamW, clip_grad_norm_, CosineAnnealingLR."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    begin, end = STEPS[work]
    if work == "digits":
        model, inputs, labels = digits()
        data, size, every = TensorDataset(inputs, labels), 32, 50
    else:
        model, tokens = llama()
        data, size, every = TensorDataset(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()), 16, 10
    loader = DataLoader(data, batch_size=size, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=end + 50)
    step, total, started = 0, 0.0, 0.0
    while True:
        for batch, target in loader:
            output = model(batch)
            logits = output if work == "digits" else output.logits.flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, target.flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            total += loss.item()
            step += 1
            if step % every == 0:
                total = 0.0
            if step == begin:
                started = time.perf_counter()
            if step == end:
                print(f"{(time.perf_counter() - started) / (end - begin) * 1e3:.4f}")
                return


def transformers(work: str) -> None:
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    begin, end = STEPS[work]
    assert work == "digits", "the comparison with transformers.Trainer is on the digits MLP"
    plain, inputs, labels = digits()

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain = plain

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            logits = self.plain(x)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    class Clock(TrainerCallback):  # type: ignore[misc]
        started = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.global_step == begin:
                self.started = time.perf_counter()
            if state.global_step == end:
                print(f"{(time.perf_counter() - self.started) / (end - begin) * 1e3:.4f}", flush=True)
                os._exit(0)

    rows = [{"x": row, "labels": label} for row, label in zip(inputs, labels, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=32, max_steps=end + 50, learning_rate=1e-3, lr_scheduler_type="cosine",
            max_grad_norm=1.0, logging_steps=50, report_to=["tensorboard"], save_strategy="no", use_cpu=not torch.cuda.is_available(),
            dataloader_drop_last=True, disable_tqdm=True,
        )  # fmt: skip
        Trainer(Model(), arguments, train_dataset=rows, callbacks=[Clock()]).train()


def lightning(work: str) -> None:
    import torch
    from lightning import Callback, LightningModule, Trainer
    from torch.utils.data import DataLoader, TensorDataset

    begin, end = STEPS[work]
    assert work == "digits", "the comparison with lightning.Trainer is on the digits MLP"
    plain, inputs, labels = digits()

    class Module(LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.plain = plain

        def training_step(self, batch: Any, index: int) -> Any:
            loss = torch.nn.functional.cross_entropy(self.plain(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=end + 50)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    class Clock(Callback):  # type: ignore[misc]
        started = 0.0

        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            if trainer.global_step == begin:
                self.started = time.perf_counter()
            if trainer.global_step == end:
                print(f"{(time.perf_counter() - self.started) / (end - begin) * 1e3:.4f}", flush=True)
                os._exit(0)

    loader = DataLoader(TensorDataset(inputs, labels), batch_size=32, shuffle=True, drop_last=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_steps=end + 50, gradient_clip_val=1.0, log_every_n_steps=50, enable_progress_bar=False, callbacks=[Clock()],
            enable_checkpointing=False, enable_model_summary=False, default_root_dir=folder, accelerator="auto",
        )  # fmt: skip
        trainer.fit(Module(), loader)


if __name__ == "__main__":
    main()
