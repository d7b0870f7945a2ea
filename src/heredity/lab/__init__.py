"""The laboratory: comparisons with their controls, and recipes for whole experiments."""

from heredity.lab.comparison import Comparison, compare, pooled
from heredity.lab.recipe import Recipe

__all__ = ["Comparison", "Recipe", "compare", "pooled"]
