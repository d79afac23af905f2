# ruff: noqa: F821 - the document leaves loader, evaluator and numbers to the reader
# Or you have distinct classes as in the training_nli.py example:
from training import CrossEncoder, InputExample

label2int = {"contradiction": 0, "entailment": 1, "neutral": 2}
train_samples = [
    InputExample(texts=["sentence1", "sentence2"], label=label2int["neutral"]),
    InputExample(texts=["Another", "pair"], label=label2int["entailment"]),
]

# For binary tasks and tasks with continuous scores (like STS), we set num_labels=1. For classification tasks, we set it
# to the number of labels we have.
model = CrossEncoder("distilroberta-base", num_labels=len(label2int))

# We start the training by calling model.fit():
model.fit(
    train_dataloader=train_dataloader,
    evaluator=evaluator,
    epochs=num_epochs,
    warmup_steps=warmup_steps,
    output_path=model_save_path,
)
