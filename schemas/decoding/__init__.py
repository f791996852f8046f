"""Neuron-dropping curves: the tables, and the steps from sessions to results."""
