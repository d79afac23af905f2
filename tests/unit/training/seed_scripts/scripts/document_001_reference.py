# ruff: noqa: F821 - the document describes calls; samples, loader and paths are the reader's
# Every call of the reference as its signature stands there, arguments in the order of the document.
import torch

from training.cross_encoder import CrossEncoder
from training.cross_encoder.evaluation import (
    CEBinaryAccuracyEvaluator,
    CEBinaryClassificationEvaluator,
    CECorrelationEvaluator,
    CERerankingEvaluator,
    CESoftmaxAccuracyEvaluator,
)

# class CrossEncoder(model_name, num_labels=None, max_length=None, device=None, tokenizer_args={}, automodel_args={},
#     default_activation_function=None)
model = CrossEncoder(
    "bert-base-uncased",
    1,
    64,
    "cpu",
    tokenizer_args={},
    automodel_args={},
    default_activation_function=torch.nn.Sigmoid(),
)
classifier = CrossEncoder(model_name="bert-base-uncased", num_labels=3, max_length=64, device="cpu")

# fit(train_dataloader, evaluator=None, epochs=1, loss_fct=None, activation_fct=Identity(), scheduler="WarmupLinear",
#     warmup_steps=10000, optimizer_class=AdamW, optimizer_params={"lr": 2e-05}, weight_decay=0.01, evaluation_steps=0,
#     output_path=None, save_best_model=True, max_grad_norm=1, use_amp=False, callback=None, show_progress_bar=True)
evaluator = CEBinaryAccuracyEvaluator(sentence_pairs, labels, "accuracy", 0.5, True)
model.fit(
    train_dataloader,
    evaluator,
    1,
    torch.nn.BCEWithLogitsLoss(),
    torch.nn.Identity(),
    "WarmupLinear",
    10000,
    torch.optim.AdamW,
    {"lr": 2e-05},
    0.01,
    1,
    output_path,
    True,
    1,
    False,
    callback,
    False,
)

# predict(sentences, batch_size=32, show_progress_bar=None, num_workers=0, activation_fct=None, apply_softmax=False,
#     convert_to_numpy=True, convert_to_tensor=False)
scores = model.predict(
    sentences=sentence_pairs,
    batch_size=32,
    show_progress_bar=None,
    num_workers=0,
    activation_fct=None,
    apply_softmax=False,
    convert_to_numpy=True,
    convert_to_tensor=False,
)
probabilities = classifier.predict(sentence_pairs, apply_softmax=True, convert_to_tensor=True)

# save(path) and save_pretrained(path)
model.save(f"{output_path}/saved")
model.save_pretrained(f"{output_path}/saved_pretrained")

# Evaluators: each returns the figure that its text describes.
results = {
    # It measure the accuracy of the predict class vs. the gold labels. It uses a fixed threshold
    "binary_accuracy": CEBinaryAccuracyEvaluator(sentence_pairs, labels, name="a", threshold=0.5, write_csv=True)(
        model
    ),
    # it compute the average precision and the best possible f1 score
    "binary_classification": CEBinaryClassificationEvaluator(
        sentence_pairs, labels, name="b", show_progress_bar=False, write_csv=True
    )(model),
    # it compute the pearson & spearman correlation
    "correlation": CECorrelationEvaluator(sentence_pairs, gold_scores, name="c", write_csv=True)(model),
    # It measure the accuracy of the predict class vs. the gold labels.
    "softmax_accuracy": CESoftmaxAccuracyEvaluator(sentence_pairs, classes, name="d", write_csv=True)(classifier),
    # MRR@10 is compute to measure the quality of the ranking
    "reranking": CERerankingEvaluator(samples, mrr_at_k=10, name="e", write_csv=True)(model),
}
