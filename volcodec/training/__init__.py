"""Training of models: volumes, losses, optimisers, one loop for all architectures, its page."""
