"""Many models trained at once in one TensorFlow graph: the caviar strategy on one machine."""
