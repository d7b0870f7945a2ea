"""The laboratory: comparisons with their controls, and recipes for whole experiments."""

from heredity.lab.comparison import Comparison, compare, pooled
from heredity.lab.digits import Digits, digits
from heredity.lab.recipe import Recipe

__all__ = ["Comparison", "Digits", "Recipe", "compare", "digits", "pooled"]
