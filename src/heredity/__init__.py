"""heredity: what did your model inherit? A laboratory and auditor for hidden trait transmission between models."""

from importlib.metadata import version

__version__ = version("heredity")
