"""The order of training runs, progress, and stopping; knows no Ray."""
