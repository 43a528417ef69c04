"""Do loops of other people's making see the same samples, stopped and resumed with other numbers of workers?

Each trains a tiny model and records what the model was given.  A run is stopped in the middle of an epoch, resumed from
its checkpoint with another number of workers, stopped and resumed again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.torch.readers import VOCABULARY, some_documents, store

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
from mctree_torch import Loader, TokenDataset  # noqa: E402

WINDOW = 8
SIZE = 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tmp_path_factory.mktemp("corpus") / "t.mctree", some_documents([70, 9, 33, 50, 64]))


@pytest.fixture(autouse=True)
def _frameworks_may_warn() -> Iterator[None]:
    """What other people's libraries warn of is theirs to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Tiny(torch.nn.Module):
    """A model that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(VOCABULARY, 4)
        self.out = torch.nn.Linear(4, VOCABULARY)
        self.given: list[list[int]] = []

    def forward(self, batch: dict[str, Any]) -> Any:
        self.given += batch["input_ids"].tolist()
        logits = self.out(self.table(batch["input_ids"]))
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())


def made(corpus: Path, workers: int, *, shifted: bool = True, endless: bool = False) -> Loader:
    dataset = TokenDataset(corpus, WINDOW, seed=5, shifted=shifted)
    return Loader(dataset, SIZE, num_workers=workers, endless=endless)


def expected(corpus: Path, count: int) -> list[list[int]]:
    dataset = TokenDataset(corpus, WINDOW, seed=5)
    return [dataset.read([n % len(dataset)], n // len(dataset))["input_ids"][0].tolist() for n in range(count)]


STOPS = [(0, 3), (2, 5), (1, 13)]
"""Workers, and the step before which each run stops; an epoch has 7 or 8 steps."""


def test_accelerate(corpus: Path, tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    given: list[list[int]] = []
    step = 0
    for workers, stop in STOPS:
        loader = made(corpus, workers)
        accelerator = accelerate.Accelerator(cpu=True)
        model = Tiny()
        model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.1))
        accelerator.register_for_checkpointing(loader)
        if step:
            accelerator.load_state(tmp_path / str(step))
        while step < stop:
            for batch in loader:
                accelerator.backward(model(batch))
                optimizer.step()
                step += 1
                if step == stop:
                    break
        accelerator.save_state(tmp_path / str(step))
        given += accelerator.unwrap_model(model).given
        accelerator.free_memory()
    assert given == expected(corpus, 13 * SIZE)


def test_lightning(corpus: Path, tmp_path: Path) -> None:
    lightning = pytest.importorskip("pytorch_lightning", reason="pytorch-lightning is not installed")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = Tiny()

        def training_step(self, batch: dict[str, Any], _: int) -> Any:
            return self.model(batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    given: list[list[int]] = []
    checkpoint: Path | None = None
    for workers, stop in STOPS:
        module = Module()
        trainer = lightning.Trainer(
            max_steps=stop, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, made(corpus, workers), ckpt_path=checkpoint, weights_only=False)
        assert trainer.global_step == stop
        checkpoint = tmp_path / f"{stop}.ckpt"
        trainer.save_checkpoint(checkpoint)
        given += module.model.given
    assert given == expected(corpus, 13 * SIZE)


def tiny_llama() -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, max_position_embeddings=64,
        )
    )  # fmt: skip


def test_hugging_face_trainer(corpus: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    given: list[list[int]] = []

    class Remembering(transformers.Trainer):  # type: ignore[misc, name-defined]
        def get_train_dataloader(self) -> Any:
            return loader

        def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
            given.extend(inputs["input_ids"].tolist())
            return super().training_step(model, inputs, *rest)

    class Keep(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / "samples.json").write_text(json.dumps(loader.state_dict()))

    before: Path | None = None
    for workers, stop in STOPS:
        loader = made(corpus, workers, shifted=False, endless=True)
        if before is not None:
            loader.load_state_dict(json.loads((before / "samples.json").read_text()))
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=stop, save_steps=stop, ignore_data_skip=True, use_cpu=True,
            report_to=[], disable_tqdm=True, logging_strategy="no", per_device_train_batch_size=SIZE,
        )  # fmt: skip
        Remembering(tiny_llama(), arguments, callbacks=[Keep()]).train(resume_from_checkpoint=before and str(before))
        before = tmp_path / f"checkpoint-{stop}"
    assert given == expected(corpus, 13 * SIZE)


def test_a_hugging_face_model_sees_nothing_of_the_document_before_and_is_not_asked_for_padding(corpus: Path) -> None:
    model = tiny_llama().eval()
    dataset = TokenDataset(corpus, 32, shifted=False)
    batch = dataset.read(range(len(dataset)))
    with torch.no_grad():
        plain = model(**batch, use_cache=False)
        firsts = [
            (k, at) for k, row in enumerate(batch["position_ids"].tolist()) for at in range(1, 32) if row[at] == 0
        ]
        inner = [(k, at) for k, at in firsts if batch["position_ids"][k, at - 1] != 0]
        assert inner
        for k, at in inner:
            other = batch["input_ids"][k : k + 1].clone()
            other[0, :at] = (other[0, :at] + 1) % VOCABULARY
            places = batch["position_ids"][k : k + 1]
            changed = model(input_ids=other, position_ids=places, use_cache=False)
            assert torch.allclose(changed.logits[0, at:], plain.logits[k, at:], atol=1e-6)
            assert not torch.allclose(changed.logits[0, :at], plain.logits[k, :at], atol=1e-6)
    # The loss is the mean over what follows within documents, as shifted labels say it.
    shifted = TokenDataset(corpus, 32, fields=("input_ids", "labels")).read(range(len(dataset)))["labels"]
    labels = torch.where(torch.arange(32) < 31, shifted, -100)
    mean = torch.nn.functional.cross_entropy(plain.logits.flatten(0, 1), labels.flatten())
    assert torch.allclose(mean, plain.loss, atol=1e-5)


def test_two_processes_with_gloo(corpus: Path, tmp_path: Path) -> None:
    """DDP and Accelerate over two processes, from the state of one process and back to one."""
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    first = made(corpus, 0)
    given = [row for _, batch in zip(range(3), first, strict=False) for row in batch["input_ids"].tolist()]
    (tmp_path / "state.json").write_text(json.dumps(first.state_dict()))
    root = Path(__file__).resolve().parents[2]
    # They meet by a file; Accelerate wants an address to be named all the same.
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "tests.torch.two_processes", str(corpus), str(tmp_path)]
    ranks = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}, cwd=root)
        for rank in range(2)
    ]
    try:
        assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    parts = [json.loads((tmp_path / f"given-{rank}.json").read_text()) for rank in range(2)]
    for one, other in zip(*parts, strict=True):
        given += one + other
    last = made(corpus, 1)
    last.load_state_dict(json.loads((tmp_path / "state.json").read_text()))
    given += [row for batch in last for row in batch["input_ids"].tolist()]
    assert given == expected(corpus, len(given))
    assert len(given) >= len(last.dataset)
