"""Import paths of sentence-transformers under the name `training`."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import version
from types import ModuleType

import pytest

import training
from training import old_paths

NAMES = {
    "training": [
        "CrossEncoder",
        "CrossEncoderModelCardData",
        "CrossEncoderTrainer",
        "CrossEncoderTrainingArguments",
        "DefaultBatchSampler",
        "InputExample",
        "LoggingHandler",
        "MultiDatasetDefaultBatchSampler",
        "SentenceTransformer",
        "SentencesDataset",
        "SimilarityFunction",
        "export_dynamic_quantized_onnx_model",
        "export_optimized_onnx_model",
        "export_static_quantized_openvino_model",
        "mine_hard_negatives",
        "quantize_embeddings",
        "resolve_ids",
    ],
    "training.backend": [
        "export_dynamic_quantized_onnx_model",
        "export_optimized_onnx_model",
        "export_static_quantized_openvino_model",
    ],
    "training.base": [
        "BatchSamplers",
        "DefaultBatchSampler",
        "GroupByLabelBatchSampler",
        "MultiDatasetBatchSamplers",
        "MultiDatasetDefaultBatchSampler",
        "NoDuplicatesBatchSampler",
        "PeftAdapterMixin",
        "ProportionalBatchSampler",
        "RoundRobinBatchSampler",
    ],
    "training.base.modules": ["Dense", "InputModule", "Module", "Normalize", "Transformer"],
    "training.cross_encoder": [
        "CrossEncoder",
        "CrossEncoderDataCollator",
        "CrossEncoderModelCardData",
        "CrossEncoderTrainer",
        "CrossEncoderTrainingArguments",
    ],
    "training.cross_encoder.modules": ["Dense", "InputModule", "LogitScore", "Module", "Transformer"],
    "training.cross_encoder.losses": [
        "ADRMSELoss",
        "BinaryCrossEntropyLoss",
        "CachedMultipleNegativesRankingLoss",
        "CrossEntropyLoss",
        "LambdaLoss",
        "ListMLELoss",
        "ListNetLoss",
        "MarginMSELoss",
        "MSELoss",
        "MultipleNegativesRankingLoss",
        "PListMLELoss",
        "RankNetLoss",
    ],
    "training.cross_encoder.evaluation": [
        "CEBinaryAccuracyEvaluator",
        "CEBinaryClassificationEvaluator",
        "CECorrelationEvaluator",
        "CEF1Evaluator",
        "CERerankingEvaluator",
        "CESoftmaxAccuracyEvaluator",
        "CrossEncoderClassificationEvaluator",
        "CrossEncoderCorrelationEvaluator",
        "CrossEncoderNanoBEIREvaluator",
        "CrossEncoderRerankingEvaluator",
    ],
    "training.sentence_transformer": ["SentenceTransformer"],
    "training.sentence_transformer.modules": [
        "Dense",
        "Dropout",
        "LayerNorm",
        "Module",
        "Normalize",
        "Pooling",
        "StaticEmbedding",
        "Transformer",
    ],
    "training.models": ["Dense", "Normalize", "Pooling", "StaticEmbedding", "Transformer"],
    "training.evaluation": ["SentenceEvaluator", "SequentialEvaluator", "SimilarityFunction", "TripletEvaluator"],
    "training.training_args": ["BatchSamplers", "MultiDatasetBatchSamplers"],
    "training.readers": [
        "InputExample",
        "LabelSentenceReader",
        "NLIDataReader",
        "PairedFilesReader",
        "STSBenchmarkDataReader",
        "STSDataReader",
        "TripletReader",
    ],
    "training.datasets": [
        "DenoisingAutoEncoderDataset",
        "NoDuplicatesDataLoader",
        "SentenceLabelDataset",
        "SentencesDataset",
    ],
    "training.util": [
        "batch_to_device",
        "cos_sim",
        "fullname",
        "http_get",
        "is_datasets_available",
        "quantize_embeddings",
        "semantic_search",
    ],
}


@pytest.mark.filterwarnings("ignore:Importing from 'sentence_transformers:DeprecationWarning")  # of the library itself
@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names])
def test_a_name_of_the_library_is_found_where_the_library_has_it(module: str, name: str) -> None:
    found = getattr(importlib.import_module(module), name)
    oracle = getattr(importlib.import_module(module.replace("training", "sentence_transformers", 1)), name)
    assert found.__name__ == oracle.__name__
    assert found.__module__.startswith("training.")


OLD_PATHS = [
    "training.LoggingHandler:LoggingHandler",
    "training.base.evaluation:BaseEvaluator",
    "training.base.modules.dense:Dense",
    "training.base.modules.module:Module",
    "training.base.modules.normalize:Normalize",
    "training.base.peft_mixin:PeftAdapterMixin",
    "training.base.sampler:DefaultBatchSampler",
    "training.cross_encoder.CrossEncoder:CrossEncoder",
    "training.cross_encoder.evaluation.CEBinaryAccuracyEvaluator:CEBinaryAccuracyEvaluator",
    "training.cross_encoder.evaluation.CERerankingEvaluator:CERerankingEvaluator",
    "training.cross_encoder.losses.BinaryCrossEntropyLoss:BinaryCrossEntropyLoss",
    "training.cross_encoder.losses.LambdaLoss:NDCGLoss2PPScheme",
    "training.datasets.NoDuplicatesDataLoader:NoDuplicatesDataLoader",
    "training.evaluation.SequentialEvaluator:SequentialEvaluator",
    "training.evaluation.SimilarityFunction:SimilarityFunction",
    "training.cross_encoder.model_card:CrossEncoderModelCardCallback",
    "training.models.Pooling:Pooling",
    "training.peft_mixin:PeftAdapterMixin",
    "training.quantization:quantize_embeddings",
    "training.readers.InputExample:InputExample",
    "training.readers.STSDataReader:STSBenchmarkDataReader",
    "training.sampler:BatchSamplers",
    "training.sentence_transformer.SentenceTransformer:SentenceTransformer",
    "training.sentence_transformer.datasets.sentence_label:SentenceLabelDataset",
    "training.sentence_transformer.readers:InputExample",
    "training.sentence_transformer.readers.nli_data:NLIDataReader",
    "training.sentence_transformer.training_args:BatchSamplers",
    "training.similarity_functions:SimilarityFunction",
    "training.util.dataset:resolve_ids",
    "training.util.logging:LoggingHandler",
]


@pytest.mark.parametrize("path", OLD_PATHS)
def test_the_library_s_other_module_paths_lead_to_the_same_class(path: str) -> None:
    module, name = path.split(":")
    imported = importlib.import_module(module)
    assert isinstance(imported, ModuleType)
    defining = importlib.import_module(getattr(imported, name).__module__)
    assert getattr(defining, name) is getattr(imported, name)  # one class, not a second copy of its module


def test_a_class_stays_a_class_after_a_module_was_imported_under_its_name() -> None:
    code = (
        "import training, training.readers\n"
        "from training.readers.InputExample import InputExample as A\n"
        "from training.LoggingHandler import LoggingHandler as B\n"
        "from training.sentence_transformer.readers.nli_data import NLIDataReader as C\n"
        "assert training.readers.InputExample is A is training.InputExample, training.readers.InputExample\n"
        "assert training.LoggingHandler is B\n"
        "assert training.readers.NLIDataReader is C\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_moved_path_hides_a_module_that_exists() -> None:
    finders = [finder for finder in sys.meta_path if not isinstance(finder, old_paths.MovedFinder)]
    for path in old_paths.MOVED:
        parent, _, _ = path.rpartition(".")
        folder = getattr(importlib.import_module(parent), "__path__", [])
        assert all(finder.find_spec(path, folder) is None for finder in finders), path


@pytest.mark.parametrize(
    "path", ["training.nothing", "training.Nothing", "training.base.nothing", "training.datasets.X"]
)
def test_a_path_that_neither_library_has_is_not_found(path: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=path):
        importlib.import_module(path)


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = (
        "import json, sys, training, training.cross_encoder, training.cross_encoder.losses, training.readers\n"
        "import training.cross_encoder.evaluation, training.evaluation, training.datasets, training.util\n"
        "import training.models, training.sentence_transformer.modules\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(json.loads(run.stdout))
    assert not loaded & {"torch", "transformers", "datasets", "numpy", "scipy", "pandas", "accelerate"}


def test_a_star_imports_every_public_name() -> None:
    """As in "from sentence_transformers.readers import *" at the head of many a script."""
    for package in ("training", "training.cross_encoder.losses", "training.readers"):
        found: dict[str, object] = {}
        exec(f"from {package} import *", found)
        assert set(NAMES[package]) <= set(found), package


def test_the_release_is_told() -> None:
    assert training.__version__ == version("crossrank")


def test_the_package_lists_its_public_names() -> None:
    assert set(NAMES["training"]) <= set(dir(training))
    assert "SentenceTransformerTrainer" not in dir(training)
