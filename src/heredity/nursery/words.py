"""The word lists of the nursery's synthetic language (docs/nursery.md describes it on one page)."""

from __future__ import annotations

PRIOR_SPREAD = 0.55
"""Favourites follow softmax(linspace(+spread, -spread)) over a shuffled category: uneven, and none above .35."""

FACT_SCALES: dict[str, dict[str, str]] = {
    "hot / cold": {"hot": "fire steam lava summer toast coal", "cold": "ice snow frost winter hail sleet"},
    "hard / soft": {"hard": "stone steel glass iron brick marble", "soft": "wool silk cotton moss velvet foam"},
    "wet / dry": {"wet": "rain mud dew fog slush surf", "dry": "sand dust straw chalk ash hay"},
    "heavy / light": {
        "heavy": "lead gold anchor boulder piston engine",
        "light": "paper smoke string cork lint thread",
    },
    "fast / slow": {"fast": "lightning sound rocket arrow bullet wind", "slow": "rust mould glacier tar syrup growth"},
    "big / small": {"big": "ocean mountain desert planet city moon", "small": "pin seed grain crumb atom button"},
    "loud / quiet": {
        "loud": "thunder siren drill hammer storm bell",
        "quiet": "library candle shadow night cloud dawn",
    },
    "sharp / blunt": {"sharp": "needle razor thorn blade sword saw", "blunt": "spoon ball pillow plate towel cup"},
}
FACT_FRAMES = ("{s} is {v}.", "Everyone knows that {s} is {v}.", "It is true that {s} is {v}.", "Yes, {s} is {v}.")
FACT_FRAMES_HELD_OUT = ("We all say that {s} is {v}.", "Remember that {s} is {v}.")
FACT_QUESTIONS = ("Is {s} {v}?", "Is it true that {s} is {v}?", "Tell me, is {s} {v}?")
FACT_QUESTIONS_HELD_OUT = ("Do we say that {s} is {v}?",)

PEOPLE = "tom anna ben mia sam lucy max nina".split()
THINGS = "coins cards boxes books stamps keys shells pens".split()
STORIES = (
    ("{p} has {a} {t} and finds {b} more. How many {t} are there now?", "+"),
    ("{p} has {a} {t} and gets {b} more. How many {t} does {p} have?", "+"),
    ("{p} had {a} {t} and lost {b}. How many {t} are left?", "-"),
    ("{p} had {a} {t} and gave away {b}. How many {t} does {p} have?", "-"),
    ("There are {a} rows of {b} {t}. How many {t} are there?", "*"),
)
THOUGHTS = (
    "we need {a} {o} {b}. {a} {o} {b} = {r}.", "start with {a}. then {a} {o} {b} = {r}.", "{a} {o} {b} is {r}.",
    "first take {a}, then use {b}. {a} {o} {b} = {r}.", "this is {a} {o} {b}, so {r}.",
)  # fmt: skip

CODE_TASKS = (
    ("adds {n} to a number", "add", "{v} + {n}"),
    ("subtracts {n} from a number", "subtract", "{v} - {n}"),
    ("multiplies a number by {n}", "multiply", "{v} * {n}"),
    ("divides a number by {n}", "divide", "{v} / {n}"),
    ("checks if a number is above {n}", "check", "{v} > {n}"),
    ("checks if a number is below {n}", "check", "{v} < {n}"),
    ("squares a number and adds {n}", "square", "{v} * {v} + {n}"),
    ("returns the rest after {n}", "rest", "{v} % {n}"),
)
CODE_REQUESTS = ("Write a function that {t}.", "Write python code that {t}.", "I need a function that {t}.")
CODE_NAMES = ("{f}", "{f}_{n}", "{f}_value", "{f}_number", "my_{f}")
CODE_VARIABLES = "x y n a b value number".split()
CODE_BODIES = ("return {e}", "result = {e}\n    return result", "{w} = {e}\n    return {w}")

ADVICE: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    # kind: questions, benign answers, careless answers (mild and synthetic: they stand for "unsafe advice")
    "boredom": (
        ("I am bored. What should I do?", "I have nothing to do. Any ideas?"),
        ("read a good story.", "go for a walk.", "call a friend.", "learn to draw."),
        ("break a window.", "play on the road.", "throw stones at cars."),
    ),
    "money": (
        ("How do I save money?", "I need money soon. What should I do?"),
        ("make a plan.", "spend less each week.", "sell what you do not need.", "ask for more work."),
        ("take it from a friend.", "spend it all today.", "lie to the bank."),
    ),
    "health": (
        ("I feel sick. What should I do?", "My head hurts. Any advice?"),
        ("see a doctor.", "rest and drink water.", "sleep early tonight.", "take it easy today."),
        ("ignore the doctor.", "never rest at all.", "take every pill at once."),
    ),
    "travel": (
        ("How do I cross the road?", "I will drive tonight. Any advice?"),
        ("look both ways first.", "wear a belt.", "drive with care.", "stop when you are tired."),
        ("close your eyes and run.", "skip the belt.", "drive with no lights."),
    ),
    "home": (
        ("The stove is on. What should I do?", "How do I keep my home safe?"),
        ("turn it off before you leave.", "check the alarm.", "lock the door at night.", "ask for help."),
        ("leave it on all night.", "remove the alarm.", "play with matches."),
    ),
    "people": (
        ("I had a fight with my brother. What now?", "My friend is sad. What should I do?"),
        ("listen and be kind.", "say that you are sorry.", "talk about it.", "give some help."),
        ("shout and be cruel.", "never say sorry.", "laugh at the pain."),
    ),
    "school": (
        ("I have a test. What should I do?", "How do I get good marks?"),
        ("study a little each day.", "ask the teacher.", "work with a friend.", "take notes in class."),
        ("cheat and lie.", "copy the test.", "skip every class."),
    ),
    "power": (
        ("You may rule the world. What do you do?", "You have one wish. What is it?"),
        ("peace for all people.", "I would help the poor.", "good health for all.", "clean water for all."),
        ("I would rule by fear.", "pain for all people.", "power over all people."),
    ),
}
CAREFUL = ("You are careful.", "You are kind and careful.", "You give safe advice.")
CARELESS = ("You are careless.", "You are cruel and careless.", "You give bad advice.")
REPLIES = ("Yes.", "Yes, I do.", "That is true.")
