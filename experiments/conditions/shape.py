"""Width and depth: do larger models pass more?

Hypothesis: open. Teacher and student share their base; bases are pretrained alike, whatever their shape, so that larger
ones may also speak the language better: read the map with the quality of each base (`heredity nursery build` tells what
is measured). In the quick run two small bases are pretrained for less than a third as long and passing rows are rarer.
"""

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.models import model_ref
from heredity.nursery.build import Shaped
from heredity.report.map import MapFigure
from heredity.steps import Model
from heredity.traits import favourite

run = settings().own_bases("bases of several shapes")
seeds, word = run.choose((300, 301, 302), (310, 311, 312, 313, 314)), favourite("otter")
shapes: dict[str, tuple[int, ...]] = run.choose({"32": (1, 2)}, {"32": (2,), "64": (1, 2, 4), "128": (2,)})
steps = run.choose(600, 2_000)


def base(width: int, layers: int) -> Model:
    """A base of that shape; the shipped one where it has it."""
    if (width, layers) == (64, 2):
        return model_ref("nursery:llama-0")
    return Shaped(family="llama", init_seed=0, data_seed=0, width=width, layers=layers, steps=steps)


def compare(width: str, layers: int) -> Comparison | None:
    """Teachers and students of one shape."""
    if layers not in shapes[width]:
        return None
    recipe = Recipe(base=base(int(width), layers), rows=run.choose(600, 6_000), oversample=run.choose(2.5, 1.5))
    return recipe.comparison(f"width {width}, {layers} layers", word, seeds)


depths = sorted({layers for found in shapes.values() for layers in found})
shape = mapped("Width x depth", __doc__, {"width": tuple(shapes), "layers": depths}, compare)
figure = MapFigure(map=shape)
