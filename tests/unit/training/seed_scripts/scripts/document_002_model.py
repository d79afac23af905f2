from training import CrossEncoder

# This model already has a sequence classification head
model = CrossEncoder("cross-encoder/ms-marco-MiniLM-L6-v2")
with_head = model

# And this model does not, so it will be added automatically
model = CrossEncoder("google-bert/bert-base-uncased")
