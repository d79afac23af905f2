# ruff: noqa: F821 - the document leaves loader, evaluator and numbers to the reader
# First, you need some sentence pair data. You can either have a continuous score, like:
from training import CrossEncoder, InputExample

train_samples = [
    InputExample(texts=["sentence1", "sentence2"], label=0.3),
    InputExample(texts=["Another", "pair"], label=0.8),
]

# Then, you define the base model and the number of labels. You can take any Hugging Face pre-trained model that is
# compatible with AutoModel:
model = CrossEncoder("distilroberta-base", num_labels=1)

# We start the training by calling model.fit():
model.fit(
    train_dataloader=train_dataloader,
    evaluator=evaluator,
    epochs=num_epochs,
    warmup_steps=warmup_steps,
    output_path=model_save_path,
)
