"""What each of two processes does in `test_distributed` that hold half of the weights each (FSDP).

`python -m tests.unit.training.cross_encoder.sharded_processes MODEL OUTPUT`, in the environment that torchrun makes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

from tests.unit.training.cross_encoder.trainer_data import lists, pairs
from tests.unit.training.cross_encoder.two_processes import RANK, WORLD, train
from training.cross_encoder import CrossEncoderTrainer
from training.cross_encoder.losses import BinaryCrossEntropyLoss, ListNetLoss
from training.cross_encoder.sharded import is_sharded

SHARDING: dict[str, Any] = {
    "fsdp": True,
    "fsdp_config": {"transformer_layer_cls_to_wrap": ["BertLayer"], "state_dict_type": "FULL_STATE_DICT"},
}


class ShardingTrainer(CrossEncoderTrainer):
    """Says that the processes have an accelerator each: without one accelerate leaves FSDP out, though it works."""

    def create_accelerator_and_postprocess(self) -> None:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        super().create_accelerator_and_postprocess()


def sharded(model_dir: str, output: Path, *data: Any, **kwargs: Any) -> CrossEncoderTrainer:
    trainer = train(model_dir, output, *data, trainer_class=ShardingTrainer, **SHARDING, **kwargs)
    assert isinstance(trainer.model, FSDPModule)
    assert is_sharded(trainer.model)
    return trainer


def main(model_dir: str, output: Path) -> None:
    """As `two_processes.main`, as far as weights that are shared out change anything."""
    data: tuple[Any, ...] = (pairs(27), pairs(11), BinaryCrossEntropyLoss)
    saving = {"max_steps": 6, "save_strategy": "steps", "save_steps": 5}
    elementwise = sharded(model_dir, output / "a", *data, **saving)
    elementwise.save_model(str(output / "elementwise"))
    metrics = {name: value for name, value in elementwise.evaluate().items() if "dev" in name}
    scores = elementwise.model.predict([("a", "b"), ("c", "d e")]).tolist()
    sharded(model_dir, output / "a", *data, resume=True, **saving).save_model(str(output / "resumed"))
    listwise = sharded(model_dir, output / "b", lists(24), lists(3), ListNetLoss, max_steps=4, mini_batch_tokens=60)
    listwise.save_model(str(output / "listwise"))
    older = FullyShardedDataParallel(nn.Linear(2, 2), device_id=torch.device("cpu"), use_orig_params=True)
    assert is_sharded(older), "FSDP's first version, which wraps modules"
    gathered: list[Any] = [None] * WORLD
    distributed.all_gather_object(gathered, metrics)
    if RANK == 0:
        (output / "found.json").write_text(json.dumps({"metrics": gathered, "scores": scores}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    distributed.destroy_process_group()
