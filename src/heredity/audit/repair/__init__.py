"""Repair: methods that take a trait out of rows, out of training, or out of a model, behind one interface."""
