from training import CrossEncoder
from training.cross_encoder.evaluation import CrossEncoderNanoBEIREvaluator

# Load a model
model = CrossEncoder("cross-encoder/ms-marco-MiniLM-L6-v2")

# Initialize the evaluator. Unlike most other evaluators, this one loads the relevant datasets
# directly from Hugging Face, so there's no mandatory arguments
dev_evaluator = CrossEncoderNanoBEIREvaluator()

# You can run evaluation like so:
results = dev_evaluator(model)
