"""What each of two processes does in `test_distributed`; one process alone does it with batches of twice the size.

`python -m tests.unit.training.cross_encoder.two_processes MODEL OUTPUT`, in the environment that torchrun makes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, distributed, nn

from tests.unit.training.cross_encoder.trainer_data import arguments, identical, lists, pairs, weights
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer
from training.cross_encoder.evaluation import CrossEncoderCorrelationEvaluator
from training.cross_encoder.losses import (
    ADRMSELoss,
    BinaryCrossEntropyLoss,
    LambdaLoss,
    ListNetLoss,
    MultipleNegativesRankingLoss,
    RankNetLoss,
)

WORLD = int(os.environ.get("WORLD_SIZE", "1"))
RANK = int(os.environ.get("RANK", "0"))


class Scaled(nn.Module):
    """A loss with a parameter of its own, which every process must learn alike."""

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__()
        self.inner = BinaryCrossEntropyLoss(model)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, inputs: list[Any], labels: Tensor) -> dict[str, Tensor]:
        return {f"part_{RANK}": self.scale.squeeze() * self.inner(inputs, labels)}


def train(model_dir: str, output: Path, data: Any, dev: Any, loss: Any, **kwargs: Any) -> CrossEncoderTrainer:
    model = CrossEncoder(model_dir, device="cpu")
    size = 8 // WORLD
    resume, trainer_class = kwargs.pop("resume", None), kwargs.pop("trainer_class", CrossEncoderTrainer)
    kwargs |= {"ddp_backend": "gloo"} if WORLD > 1 else {}
    args = arguments(output, per_device_train_batch_size=size, dataloader_drop_last=True, **kwargs)
    evaluator = CrossEncoderCorrelationEvaluator(
        list(zip(pairs(9)["query"], pairs(9)["document"], strict=True)), [float(i) for i in range(9)], name="dev"
    )
    trainer = trainer_class(model, args, data, dev, loss(model), evaluator)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def gathering(model: CrossEncoder) -> MultipleNegativesRankingLoss:
    return MultipleNegativesRankingLoss(model, num_negatives=3, gather_across_devices=True)


def joined(model_dir: str, output: Path) -> dict[str, CrossEncoderTrainer]:
    """Trains with losses whose mean the processes must take together: of ragged lists, of in-batch negatives."""
    ragged, unlabelled = lists(24, longest=9), pairs(24).remove_columns("label")
    found = {}
    for name, loss in (("lambda", LambdaLoss), ("rank_net", RankNetLoss), ("adr_mse", ADRMSELoss)):
        found[name] = train(model_dir, output / name, ragged, lists(9, seed=1), loss, max_steps=4)
    found["in_batch"] = train(model_dir, output / "in_batch", unlabelled, unlabelled, gathering, max_steps=4)
    for trainer in found.values():
        assert trainer.evaluate()["eval_loss"] > 0, "uneven batches of an evaluation do not hang"
    return found


class OfUser(nn.Module):
    """A loss that knows nothing of processes."""

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__()
        self.model = model
        self.inner = BinaryCrossEntropyLoss(model)
        self.inner.across_processes = False

    def forward(self, inputs: list[Any], labels: Tensor) -> Tensor:
        loss: Tensor = self.inner(inputs, labels)
        return loss


def by_dataset(model_dir: str, output: Path) -> dict[str, CrossEncoderTrainer]:
    """Trains with a loss for each dataset: in a step, all processes have batches of the same one.

    By default they would differ in it every other step, and losses that wait for the other processes would hang.
    """

    def losses(model: CrossEncoder) -> Any:
        return {"ragged": LambdaLoss(model), "more": ADRMSELoss(model), "pairs": OfUser(model)}

    data: dict[str, Any] = {"ragged": lists(30, longest=9), "more": lists(17, seed=1, longest=9), "pairs": pairs(21)}
    dev = {name: one.select(range(3)) for name, one in data.items()}
    streams = {name: one.to_iterable_dataset() for name, one in data.items()}
    weights_of = {"ragged": 1.0, "more": 2.0, "pairs": 1.0}
    return {
        "by_dataset": train(model_dir, output / "e", data, dev, losses, max_steps=6),
        "streams_by_dataset": train(
            model_dir, output / "f", streams, dev, losses, max_steps=4, dataset_weights=weights_of
        ),
    }


def main(model_dir: str, output: Path) -> None:
    """Trains several times and writes the weights, and of each process what it measured."""
    saving = {"max_steps": 6, "save_strategy": "steps", "save_steps": 5}  # in the middle of the second epoch
    elementwise = train(model_dir, output / "a", pairs(27), pairs(11), BinaryCrossEntropyLoss, **saving)
    resumed = train(model_dir, output / "a", pairs(27), pairs(11), BinaryCrossEntropyLoss, resume=True, **saving)
    assert identical(weights(elementwise.model), weights(resumed.model)), "resumed by several processes"
    metrics = {name: value for name, value in elementwise.evaluate().items() if "dev" in name or name == "eval_loss"}
    listwise = train(model_dir, output / "b", lists(24), lists(3), ListNetLoss, max_steps=4, mini_batch_tokens=60)
    several = {"x": pairs(27), "y": pairs(13, seed=1)}
    uneven = train(model_dir, output / "c", several, {"x": pairs(1)}, Scaled, num_train_epochs=2)
    assert uneven.evaluate()["eval_x_loss"] > 0, "fewer rows than processes"
    stream = train(
        model_dir, output / "d", pairs(27).to_iterable_dataset(), pairs(5), BinaryCrossEntropyLoss, max_steps=4
    )
    streamed = [
        stream.evaluate(pairs(rows).to_iterable_dataset())["eval_loss"] for rows in (3, 11, 13)
    ]  # a batch, three and four batches, the last not full
    trainers = joined(model_dir, output) | by_dataset(model_dir, output)
    scales = [uneven.loss.scale.item()]
    if WORLD > 1:
        gathered: list[Any] = [None] * WORLD
        distributed.all_gather_object(gathered, [scales[0], metrics])
        scales = [scale for scale, _ in gathered]
        assert gathered[0][1] == gathered[1][1], gathered
    if RANK == 0:
        trainers |= {"elementwise": elementwise, "listwise": listwise, "stream": stream}
        for name, trainer in trainers.items():
            save_file(weights(trainer.accelerator.unwrap_model(trainer.model)), output / f"{name}.safetensors")
        found = {"metrics": metrics, "scales": scales, "logged": uneven.state.log_history[0], "streamed": streamed}
        (output / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    if distributed.is_initialized():
        distributed.destroy_process_group()
