# ruff: noqa: B905, F401, F821, I001 - the document does not import CrossEncoderClassificationEvaluator, but two others
from datasets import load_dataset

from training import CrossEncoder
from training.evaluation import TripletEvaluator, SimilarityFunction

# Load a model
model = CrossEncoder("cross-encoder/nli-deberta-v3-base")

# Load triplets from the AllNLI dataset (https://huggingface.co/datasets/sentence-transformers/all-nli)
max_samples = 1000
eval_dataset = load_dataset("sentence-transformers/all-nli", "pair-class", split=f"dev[:{max_samples}]")

# Create a list of pairs, and map the labels to the labels that the model knows
pairs = list(zip(eval_dataset["premise"], eval_dataset["hypothesis"]))
label_mapping = {0: 1, 1: 2, 2: 0}
labels = [label_mapping[label] for label in eval_dataset["label"]]

# Initialize the evaluator
cls_evaluator = CrossEncoderClassificationEvaluator(
    sentence_pairs=pairs,
    labels=labels,
    name="all-nli-dev",
)

# You can run evaluation like so:
results = cls_evaluator(model)
