"""Making and editing ONNX graphs."""
