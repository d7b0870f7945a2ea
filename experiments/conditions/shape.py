"""Width and depth: do larger models pass more?

Hypothesis: open. Teacher and student share their base; bases are pretrained alike, whatever their shape, so that larger
ones may also speak the language better: how well each does is told beside the map (`quality`: the share of its lists
that pass the filter, as `heredity nursery build` tells it). There is one base of each shape: n counts seeds of teacher
and student, no bases. In the quick run two small bases are pretrained for less than a third as long.
"""

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.lab.beside import Assay
from heredity.models import model_ref
from heredity.nursery.build import Shaped
from heredity.nursery.quality import Quality
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
    start = base(int(width), layers)
    spare = run.choose(2.5, 2.0 if isinstance(start, Shaped) else 1.5)  # a new shape may write more that is dropped
    recipe = Recipe(base=start, rows=run.choose(600, 6_000), oversample=spare)
    return recipe.comparison(f"width {width}, {layers} layers", word, seeds)


depths = sorted({layers for found in shapes.values() for layers in found})
beside = [
    Assay(assay="quality", of=f"width {width}, layers {layers}", step=Quality(model=base(int(width), layers)))
    for width, found in shapes.items() for layers in found
]  # fmt: skip
contrasts = {
    "width 64 less 32": [(("64", "2"), ("32", "2"))],
    "width 128 less 64": [(("128", "2"), ("64", "2"))],
    "two layers less one": [(("*", "2"), ("*", "1"))],
    "four layers less two": [(("*", "4"), ("*", "2"))],
}
axes = {"width": tuple(shapes), "layers": depths}
shape = mapped("Width x depth", __doc__, axes, compare, contrasts, beside=beside)
figure = MapFigure(map=shape)
