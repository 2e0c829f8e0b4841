"""The model: built, trained by an engine that knows backends and precisions, read from files, written as ONNX."""
