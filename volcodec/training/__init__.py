"""Training of models: samples of symbols and contexts, maximum likelihood, export."""
