"""Writes the quickstart corpus: English sentences with people, organisations, places and products.

    python quickstart/make_corpus.py            writes train.conll, validation.conll and test.conll beside this file
    python quickstart/make_corpus.py --check    writes nothing; exits 1 if the files differ from what it would write
    python quickstart/make_corpus.py --stats    prints the table of README.md

Sentences come from hand-written templates (bottom half of this file), names from part lists that are divided
between the three splits *before* any name is composed: no name of validation or test can occur in train.
Only ``random.Random.random`` is used, whose sequence Python promises to keep, so every run makes the same bytes.

Template language: ``[a|b|]`` picks one alternative, ``<rule>`` expands a rule of RULES, ``{TYPE.kind}`` becomes an
entity, and ``{TYPE.kind@x}`` builds on the same name as every other ``@x`` of the sentence. Templates are written
with spaces around punctuation, because tokens are what stands between spaces.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Generic, TypeVar

SEED = 20240611
SIZES = {"train": 1600, "validation": 400, "test": 400}
SPLITS = tuple(SIZES)
TYPES = ("LOC", "ORG", "PER", "PRODUCT")
WITHOUT_ENTITY = 0.25  # share of the sentences
UNSEEN = 0.35  # share of the validation and test sentences made from templates that train never uses
MIN_WORDS, MAX_WORDS = 3, 45
HERE = Path(__file__).resolve().parent

T = TypeVar("T")


def listed(words: str) -> list[str]:
    return words.split()


class Deck(Generic[T]):
    """Deals every item once in random order, then shuffles again."""

    def __init__(self, rng: Random, items: Iterable[T]) -> None:
        self.rng, self.items, self.left = rng, list(items), list[T]()

    def draw(self) -> T:
        if not self.left:
            self.left = shuffled(self.rng, self.items)
        return self.left.pop()


def shuffled(rng: Random, items: Iterable[T]) -> list[T]:
    return [item for _, _, item in sorted((rng.random(), i, item) for i, item in enumerate(items))]


def pick(rng: Random, items: Sequence[T]) -> T:
    return items[int(rng.random() * len(items))]


def below(rng: Random, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return low + int(rng.random() * (high - low + 1))


# ---------------------------------------------------------------------------------------------------- part lists
# Every list of heads is divided between the splits; tails are shared, as -ford and -son are in life.

PARTS: dict[str, list[tuple[str, str]]] = {
    # what may be a surname, a company or a town, as only the context tells
    "stem": [
        (
            "Ald Ash Barr Brack Cald Corr Dall Dorn Ell Fenn Garr Hal Harr Hex Ing Kelm Kers Lamm Lark Lin Marl Mer "
            "Nor Oak Orm Penn Quar Rad Raven Redd Sel Shel Stan Tarr Thorn Ull Varn Wal Wes Whit Wyn Yarr Bex Crom "
            "Dunn Fal Gris Hollin Jarr Kirk Alver Blen Brom Chal Clav Cop Dray Ever Farn Gold Gren Hather Hors Keld "
            "Lang Led Mans Nether Os Pick Rams Roth Scar Shap Strat Swin Tad Tem Thir Under Wad Win Wrex",
            "well ford ley wick more ston by den ham field worth in ett ard combe gate stead kin low",
        ),
        (
            "Tov Lour Cav Sab Ren Mir Vign Carr Dom Ferr Gav Jol Lav Morr Pav Quin Ros Sal Tess Val Vit Zan Bel",
            "ano elle etta ière ola era ige ente aux in ard is",
        ),
    ],
    "surname": [
        ("Alv Berm Cast Delg Esc Ferr Gal Mont Nav Ort Quev Sarr", "ero anza illo ares eda ón ucci etti aldi"),
        ("Lind Sand Holm Berg Nord Ek Strøm Ås Hag Vik Sjö Lund", "gren qvist dahl strøm gaard sen mark lund"),
        ("Petr Drag Kov Milos Stan Zel Bor Radov Vuk Jar Mal Hruš", "ović ak enko ev ski insky ný ić"),
        ("Okon Adey Olun Chid Nwab Ebor Mbek Kwam Zul Obas", "eyinka onjo uwale ikwe osu aneke elani ande"),
        ("Ban Chatt Mukh Subr Raman Venk Krish Gop Dev Bhatt", "erjani opadhan araman athan eshwar adi urkar ani"),
        ("Tana Mori Hoshi Kawa Naka Ishi Yoshi Fuji Kuro Shima", "mura saki moto zawa hara guchi bata da"),
        ("Hoff Kess Brandt Ziegl Krüg Schön Vogt Rein Wald Meis", "mann ler bauer inger hardt wein stätter hold"),
    ],
    "coined": [
        (
            "Nov Zel Quor Vel Aster Lum Syn Tel Oct Hel Mav Pel Ves Ard Kin Orb Dex Fyr Gly Jun Nex Pry Thal Xen Ombr",
            "via exa ion aris ique onix antis eon ara ilis ado ence",
        ),
        (
            "Bright Clear Blue Stone Iron Paper Silver Green Deep Wild Quiet Salt Copper Moon Rain Cedar Velvet Swift",
            "loom path forge leaf harbour bridge wing tide spring mill works fold",
        ),
    ],
    "country": [("Veld Mor Kar Ostr Tan Bel Drav Lus Ner Zan Quis Ilm Sar Fod", "ania ovia istan esia avia ora undi")],
    "code": [
        (
            "fern nimbus quill marrow tusk otter pebble plum vex grit loam moss brine gecko heron tarn yak wren ivy "
            "cobalt",
            "db ql kit flow lint cache mq sync ctl py fs base",
        )
    ],
    "drug": [
        ("Zel Ref Ami Cor Lor Ox Ben Tir Vas Dul Pex Mon Hyr Gab", "atrine ovastin olumab aprazole opril azine axin")
    ],
    "model": [
        (
            "Tern Fjord Vesper Ember Onyx Zephyr Rook Juniper Talon Mistral Nomad Cinder Lyra Vortex Sable Condor "
            "Puffin Quartz Saffron Thistle Walnut Aurora Bramble Cypress Drift",
            "",
        )
    ],
}

FIRST_NAMES = listed(
    "Ada Agnes Aisha Alma Ambrose Anneke Anton Arjun Astrid Beatriz Benedikt Björn Boris Bridget Callum Camille Carmen "
    "Cecily Chloé Clara Conrad Dagny Daria Davina Deepa Désirée Dmitri Edith Edmund Eilidh Elif Elodie Emeka Emre "
    "Esther Ewa Farid Fatima Felix Fenna Fergus Fiona François Frieda Gareth Gita Gloria Goran Greta Gwen Hamid Hanna "
    "Harriet Hassan Helena Henrik Hiroshi Hugo Ilse Imani Inés Ingrid Irina Isaac Ivan Jamal Janek Jasper Joanna Jonas "
    "José Julia Kaveh Keiko Kirsten Kofi Laila Lars Leila Leonie Lorenzo Lucy Ludmila Magnus Maïté Malik Margit Marta "
    "Martin Matilda Maya Meera Mehmet Mihai Milan Mirela Moira Nadia Naomi Neil Niamh Nils Noor Nuria Oleg Olga Omar "
    "Oskar Owen Paloma Patrice Paula Petra Philip Priya Quentin Rafael Rania Renée Rhys Rosalind Rupert Sadie Samir "
    "Sanne Saskia Seamus Selma Simon Sophie Søren Stefan Sunil Susan Takumi Tamara Tariq Tess Theo Tomás Ulrike Uma "
    "Valentin Vera Victor Wanda Wilfred Xavier Yara Yuki Yusuf Zahra Zoë Zofia Łukasz Marie-Claude Jean-Paul Anne-Lise "
    "Karl-Heinz Mary-Kate Ann-Britt Hans-Peter Eva-Lotta"
)
SHORT_SURNAMES = listed(
    "O'Dwyer O'Hagan O'Reardon D'Aveno D'Orsay O'Malloran N'Dour Ngo Wu Tran Kimura Cho Bui Sato Lê Zhou Pham Ito"
)
TOWNS = listed("Lisbon Oslo Nairobi Toronto Krakow Ghent Bergen Accra Porto Malmö Perth Leeds Lyon Osaka Quito Zürich")

# Words that are names here and plain words there. (word, what it names, sentences in which it names nothing)
AMBIGUOUS: dict[str, list[tuple[str, str, list[str]]]] = {
    "train": [
        (
            "May",
            "first",
            ["you may leave [early|now] if the [report|draft] is done .", "May is usually [dry|cold] here ."],
        ),
        (
            "Rose",
            "first",
            ["a single rose grew by the [gate|wall] .", "prices rose again in <month> .", "the sun rose at <time> ."],
        ),
        (
            "Mark",
            "first",
            [
                "please mark the [box|page] with a cross .",
                "the high-water mark is still visible .",
                "mark the date : <weekday> , <time> .",
            ],
        ),
        (
            "Grant",
            "first",
            ["the grant covers <few> years of [travel|research] .", "grant or no grant , work starts in <month> ."],
        ),
        ("Frank", "first", ["it was a frank [discussion|answer] .", "to be frank , the [plan|speech] was too long ."]),
        ("Ivy", "first", ["ivy covered the [north|garden] wall ."]),
        ("Penny", "first", ["not a penny was [wasted|left] .", "every penny went to the [school|library] ."]),
        ("Beacon", "company", ["a beacon flashed on the headland .", "the beacon was lit at <time> ."]),
        ("Compass", "company", ["her compass pointed the wrong way .", "bring a compass and a [torch|map] ."]),
        ("Orchard", "company", ["the orchard was full of [wasps|apples] .", "orchard workers start at <time> ."]),
        ("Lantern", "product", ["he hung a lantern by the [door|stairs] .", "lantern light filled the [tent|hall] ."]),
        ("Falcon", "product", ["a falcon circled above the [quarry|tower] ."]),
        ("Reading", "town", ["reading aloud helps small children .", "her reading list has <few> books on it ."]),
        (
            "Battle",
            "town",
            ["it was a long battle against the [weeds|damp] .", "battle scenes took <few> weeks to film ."],
        ),
    ],
    "validation": [
        ("Amber", "first", ["the amber light stayed on for <few> minutes .", "amber is fossil resin , not a stone ."]),
        ("Grace", "first", ["the bank allows <few> days of grace .", "she moved with grace ."]),
        ("Dawn", "first", ["they left at dawn on <weekday> .", "dawn came at <time> ."]),
        (
            "Summit",
            "company",
            ["the summit was hidden in cloud .", "a summit on <weekday> ended without a statement ."],
        ),
        ("Anchor", "company", ["the anchor would not hold in the mud .", "drop the anchor !"]),
        ("Comet", "product", ["a comet was visible before sunrise .", "the comet returns every <few> years ."]),
        ("Bath", "town", ["the baby had a bath at <time> .", "bath towels are in the cupboard ."]),
    ],
    "test": [
        ("Hope", "first", ["there is little hope of rain before <month> .", "we hope to finish by <weekday> ."]),
        ("Ruby", "first", ["a ruby ring was found in the drain .", "ruby red paint covered the floor ."]),
        ("Chase", "first", ["the chase ended in a car park .", "dogs chase bicycles , mostly on <weekday> ."]),
        ("Keystone", "company", ["the keystone holds the arch together .", "one keystone was missing ."]),
        ("Harvest", "company", ["the harvest was poor this year .", "harvest begins in <month> ."]),
        ("Thimble", "product", ["she keeps a thimble in every drawer ."]),
        ("Sandwich", "town", ["he ate a sandwich on the stairs .", "sandwich boards blocked the pavement ."]),
    ],
}

# How each kind of name is built. `$S` stem, `$L` surname, `$F` first name, `$C` coined company, `$T` town,
# `$Y` country, `$M` model name, `$Q` program, `$D` drug, `$I` initial, `$A` acronym, `$N` small number,
# `$V` version, `$X` model code, `$K` word of AMBIGUOUS of that kind. A leading `^` asks for an article before the
# name, outside the entity.
# Under "all" for every split, otherwise for one split alone.
NAMES: dict[str, dict[str, list[str]]] = {
    "PER.full": {
        "all": [
            "$F $L",
            "$F $L",
            "$F $L",
            "$F $L",
            "$F $S",
            "$F $S",
            "$F $S",
            "$F $I $L",
            "$I $S",
            "$K $S",
            "$F $L-$S",
        ],
        "train": ["$F van der $L", "$F de $L"],
        "validation": ["$F von $L", "$F de la $L"],
        "test": ["$F van den $L", "$F ter $L"],
    },
    "PER.last": {"all": ["$L", "$L", "$L", "$S", "$S"]},
    "PER.first": {"all": ["$F", "$F", "$F", "$F", "$K"]},
    "ORG.bare": {"all": ["$S", "$S", "$C", "$C", "$K"]},
    "ORG.company": {
        "all": ["$S", "$C", "$C", "$S Group", "$C Ltd", "$S & Sons", "$C Labs", "$S Foods", "$K", "$S-$S"],
        "train": ["$S Holdings", "$C Systems", "$S Shipping", "$C Robotics", "$S , $L & Partners", "$S Brothers"],
        "validation": ["$S Insurance", "$C Pharma", "$S Airlines", "$C Networks", "$S & $L"],
        "test": ["$S Motors", "$C Energy", "$S Publishing", "$C Biotech", "$S Sisters"],
    },
    "ORG.bank": {
        "all": ["Bank of $T", "$S Bank", "$S"],
        "train": ["National Bank of $Y", "$S Trust"],
        "validation": ["Savings Bank of $T", "$S Capital"],
        "test": ["Merchant Bank of $T", "$S Credit Union"],
    },
    "ORG.club": {
        "all": ["$T United", "$T", "$S Town"],
        "train": ["$T Rovers", "$T City", "$T Cricket Club"],
        "validation": ["$T Wanderers", "$T Albion", "Sporting $T"],
        "test": ["$T Athletic", "Racing Club de $T", "$T Harriers"],
    },
    "ORG.research": {
        "all": ["^ University of $T", "$S University", "$S College"],
        "train": ["^ $T Institute of Technology", "^ Institute for Tidal Research", "$A", "$S Polytechnic"],
        "validation": ["^ $T Hospital", "^ Centre for Soil Studies", "$A", "^ $S Foundation"],
        "test": ["^ $T Observatory", "^ School of Polar Medicine", "$A", "^ $S Laboratory"],
    },
    "ORG.public": {
        "all": ["$T City Council", "^ $A", "$T Town Council"],
        "train": [
            "^ Ministry of Fisheries",
            "^ Ministry of Transport",
            "^ Committee on Road Safety",
            "^ Bureau of $Y Affairs",
        ],
        "validation": ["^ $T Port Authority", "^ Office of Rural Health", "^ Department of Labour", "$T County Court"],
        "test": ["^ $T Water Board", "^ Agency for Forest Protection", "^ Treasury of $Y", "$T District Court"],
    },
    "ORG.union": {
        "train": ["^ National Union of Dockers", "^ $A", "^ Friends of the $T Canal", "^ $T Tenants ' League"],
        "validation": ["^ League of $Y Voters", "^ $A", "^ Society for Quiet Streets", "^ $T Teachers ' Union"],
        "test": ["^ Guild of $T Weavers", "^ $A", "^ Association of Night Nurses", "^ $T Drivers ' Alliance"],
    },
    "ORG.arts": {
        "train": ["^ $T Symphony Orchestra", "^ $S Gallery", "^ Royal Theatre of $T", "$S Records"],
        "validation": ["^ $T Chamber Choir", "^ Museum of $T", "^ $S Ballet", "$S Opera"],
        "test": ["^ $T Philharmonic", "^ $S Playhouse", "^ Academy of $T", "$S Sinfonia"],
    },
    "LOC.bare": {"all": ["$S", "$T", "$T", "$K"]},
    "LOC.town": {
        "all": ["$T", "$T", "$T", "$T", "Port $S", "$S Bay"],
        "train": ["Upper $S", "San $L", "$S-on-$S", "Old $S"],
        "validation": ["Little $S", "Saint $L", "$S Cross", "East $S"],
        "test": ["Nether $S", "Fort $L", "$S under Wood", "North $S"],
    },
    "LOC.country": {"all": ["$Y", "$Y", "$Y", "^ Republic of $Y"], "validation": ["South $Y"], "test": ["West $Y"]},
    "LOC.nature": {
        "all": ["Mount $S", "Lake $S", "^ River $S", "^ $S Valley"],
        "train": ["^ Gulf of $Y", "Cape $S", "^ $S Hills", "^ Isle of $S", "^ Lakes of the Upper $S"],
        "validation": ["^ Sea of $L", "^ $S Glacier", "^ $S Strait", "Point $S", "^ Forest of $S"],
        "test": ["^ Bay of $L", "^ $S Falls", "^ $S Desert", "$S Moor", "^ Straits of the Lower $S"],
    },
    "LOC.street": {
        "all": ["$S Street", "$S Road"],
        "train": ["$L Avenue", "$S Lane"],
        "validation": ["$S Square", "$L Terrace"],
        "test": ["$L Boulevard", "$S Crescent"],
    },
    "PRODUCT.lower": {
        "all": ["$Q", "$Q", "$Q $V", "$Q-cli"],
        "train": ["lib$Q"],
        "validation": ["go-$Q"],
        "test": ["$Q.js"],
    },
    "PRODUCT.soft": {
        "all": ["$Q", "$Q $V", "$C $N", "$M $V", "$M"],
        "train": ["$C Studio", "$M Cloud", "$C for Teams"],
        "validation": ["$C Suite", "$M Desk", "$C Notes $N"],
        "test": ["$C Writer", "$M Mail", "$M for Schools $N"],
    },
    "PRODUCT.device": {
        "all": ["$M $X", "$C $X", "$X", "$M $N", "$M Pro", "$S $X"],
        "train": ["$C Tab $N", "$M Mini", "$M Watch $N"],
        "validation": ["$C Pad $N", "$M Lite", "$M Phone $N"],
        "test": ["$C Book $N", "$M Max", "$M Buds $N"],
    },
    "PRODUCT.bare": {"all": ["$M", "$M", "$S", "$K"]},
    "PRODUCT.vehicle": {
        "all": ["$S $M", "$M", "$S", "$S $X"],
        "train": ["$S Touring", "$M GT"],
        "validation": ["$S Estate", "$M Sport"],
        "test": ["$S Roadster", "$M Hybrid"],
    },
    "PRODUCT.drug": {"all": ["$D", "$D", "$D", "$d", "$D Forte"]},
    "PRODUCT.game": {
        "all": ["$M", "$M $N"],
        "train": ["Shadows of $Y", "Lords of the $M", "$S Manor"],
        "validation": ["Tides of $Y", "Voyage to the $M", "$S Heights"],
        "test": ["Wolves of $Y", "Return of the $M", "$S Hollow"],
    },
    "PRODUCT.food": {
        "train": ["$M Oat Bars", "$S Original", "$M Cola"],
        "validation": ["$M Crispbread", "$S Gold", "$M Tonic"],
        "test": ["$M Rice Cakes", "$S Reserve", "$M Lemonade"],
    },
}
# kinds that stand for a choice of others
CHOICES = {
    "PER": ["PER.full", "PER.full", "PER.last"],
    "ORG": ["ORG.company", "ORG.company", "ORG.research", "ORG.public"],
    "PRODUCT.any": ["PRODUCT.soft", "PRODUCT.device", "PRODUCT.bare"],
}

# ----------------------------------------------------------------------------------------------- words without a tag

RULES: dict[str, list[str] | Callable[[Random], str]] = {
    "weekday": listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "month": listed("January February March April May June July August September October November December"),
    "nat": listed("French German Polish Kenyan Brazilian Turkish Korean Irish Swedish Indian Egyptian Canadian Greek"),
    "title": listed("Professor Dr. Captain Mrs. Mr. Ms. Sergeant Senator"),
    "scholar": ["Professor", "Dr."],
    "role": listed("director editor spokeswoman engineer treasurer analyst chairwoman lawyer secretary accountant"),
    "person": listed("teacher nurse neighbour plumber baker student driver gardener lodger referee"),
    "hashtag": listed("#hiring #MondayMood #fail #opensource #throwback #help #NowPlaying #weekend"),
    "handle": listed("@nightowl77 @the_daily_knot @bus_watcher @codeandcrumbs @q_and_a @tinyletters"),
    "email": listed("press@news.example info@club.example jobs@mail.example editor@paper.example hello@shop.example"),
    "url": [
        "https://status.example/faq",
        "www.tickets.example",
        "http://docs.example/v2/index.html",
        "https://git.example/issues/118",
        "https://news.example/2024/archive?page=3",
    ],
    "few": listed("two three four five six seven eight nine ten"),
    "num": lambda rng: pick(
        rng, [str(below(rng, 11, 99)), str(below(rng, 100, 950)), f"{below(rng, 1, 60)},{below(rng, 100, 999)}"]
    ),
    "small": lambda rng: str(below(rng, 12, 90)),
    "day": lambda rng: str(below(rng, 1, 28)),
    "pct": lambda rng: pick(rng, [f"{below(rng, 2, 40)} %", f"{below(rng, 1, 9)}.{below(rng, 1, 9)} percent"]),
    "money": lambda rng: (
        pick(rng, ["$ ", "€ ", "£"]) + pick(rng, [f"{below(rng, 2, 90)} million", f"{below(rng, 2, 800)},000"])
    ),
    "year": lambda rng: str(below(rng, 1921, 2024)),
    "future": lambda rng: str(below(rng, 2027, 2039)),
    "time": lambda rng: pick(
        rng, [f"{below(rng, 6, 11)} a.m.", f"{below(rng, 1, 11)} p.m.", f"{below(rng, 6, 22)}:{below(rng, 10, 59)}"]
    ),
    "score": lambda rng: f"{below(rng, 1, 5)}-{below(rng, 0, 3)}",
    "when": [
        "on <weekday>",
        "in <month>",
        "last <month>",
        "in <year>",
        "earlier this week",
        "late on <weekday>",
        "two weeks ago",
    ],
}
TIME_WORDS = re.compile(r"<(weekday|month|year|time|when)>|\b(week|ago|today|yesterday|last|early)\b")

# How a clause C becomes a sentence. All splits share the first list, the others are of one split alone.
FRAMES: dict[str, list[str]] = {
    "all": [*["C ."] * 9, "<when> , C .", "<when> , C .", "C , and D .", "C , while D .", "C ; D .", "C ; D ."],
    "train": [
        "according to {PER} , C .",
        "C , {ORG.bare} said .",
        '" C , " said {PER} , a <role> at {ORG} .',
        "C , D , and E .",
    ],
    "validation": ['asked by reporters , {PER} replied : " C . "', "C -- or so {ORG} believes ."],
    "test": ["C , {PER} wrote in a letter .", "C , the website of {ORG} says ."],
}

# ------------------------------------------------------------------------------------------------------- templates
# Under a `# topic` stand clauses, which FRAMES complete and join within their topic; under `# whole`, sentences.
# A clause with a leading `+` is told in the past tense and may follow a time ("On Friday , ...").

TEMPLATES: dict[str, str] = {
    "train": """
# business
{ORG.company} [said|announced|confirmed] on <weekday> that it would [cut|create] <num> jobs in {LOC.town}
{ORG.company} has [bought|acquired|agreed to buy] {ORG.company} for <money>
+ {PER} , [the <nat>|the former|a long-serving] <role> of {ORG.company} , resigned over {PRODUCT.any}
shares in {ORG.company} [fell|rose|slid] <pct> [after the <nat> regulator opened an inquiry|in early trading]
+ {ORG.bank} raised its forecast for {LOC.country} to <pct>
+ {PER.last} sold [her|his] [stake|shares] in {ORG.company} to [a <nat> investor|{ORG.company}]
+ the [board|owners|creditors] of {ORG.company} [rejected|accepted] an offer from {ORG.company}
the {LOC.town} factory that makes the {PRODUCT.device} will close by <month>
{ORG.bare@a} , founded by {PER.full@a} in <year> , still employs <num> people in {LOC.town}
+ {ORG.company} hired {PER.full} from {ORG.company} to run its business in {LOC.country}
sales of {PRODUCT.any} [doubled|halved|slowed] in {LOC.country} [<when>|]
+ {PER.last} told [investors|analysts] that {ORG.bare} had no plans to drop {PRODUCT.any}
+ the loan , worth <money> , was arranged by {ORG.bank} and {ORG.bank}
+ a <nat> court ordered {ORG.company} to pay {PER} <money>
+ {ORG.company} , {ORG.company} and {ORG.company} [all missed their targets|declined to comment]
{PER} now [chairs|advises] {ORG.company} , [a rival of|once part of] {ORG.company}

# travel
+ the [ferry|night train|last bus] from {LOC.town} to {LOC.town} was [cancelled|<small> minutes late]
+ we [spent|wasted] two days in {LOC.town} before driving [north|south|on] to {LOC.nature}
+ {PER} [walked|cycled] from {LOC.town} to {LOC.nature} in <few> days
snow closed the road between {LOC.town} and {LOC.town} [on <weekday>|for a week]
{LOC.bare} is [a quiet|an old|a rather dull] [market town|fishing port] [near|south of] {LOC.town} , {LOC.country}
the hotel on {LOC.street} has <small> rooms and a view of {LOC.nature}
tourists [avoid|love] {LOC.country} in <month> , when <nat> schools are closed
{ORG.company} will fly from {LOC.town} to {LOC.town} twice a day from <month>
{PER.first} hates flying , so we took the sleeper to {LOC.bare}
the map shows {LOC.nature} , {LOC.nature} and the old road to {LOC.town}
+ a guide called {PER.first} met us at the station in {LOC.town}
+ our {PRODUCT.vehicle} broke down [outside|just before] {LOC.town}
half of {LOC.bare} was under water after the storm
{PER.last} [grew up|was born] in {LOC.town} , within sight of {LOC.nature}

# sport
{ORG.club} beat {ORG.club} <score> [at home|on <weekday>|in front of <num> fans]
+ {PER} [scored twice|was sent off] as {ORG.club} [lost to|drew with] {ORG.club}
{PER.last} , who [left|joined] {ORG.club} <when> , [needs|had] surgery on a knee
the final between {ORG.club} and {ORG.club} will be played in {LOC.town}
+ {PER} won the [100|400|800|1500] metres in {LOC.town} ahead of {PER} and {PER}
+ [coach|captain] {PER.last} praised {PER.last} and {PER.last} after the game
{ORG.club} have signed the <nat> [striker|goalkeeper] {PER} [for <money>|on loan]
{LOC.country} will host the junior championships in <future>
+ the <nat> rider {PER} crossed {LOC.nature} alone and led by <few> minutes
+ fans of {ORG.club} travelled to {LOC.town} without tickets
+ {PER.last} served <few> aces and beat {PER.last} in straight sets
{ORG.company} will sponsor {ORG.club} until <future>
+ {PER.first} timed every lap with a {PRODUCT.device}

# science
+ [researchers|a team|scientists] at {ORG.research} [found|reported] that {PRODUCT.drug} [lowers|raises] blood pressure
+ {PER} [of|from] {ORG.research} [described|discovered] <few> new species of beetle near {LOC.nature}
<scholar> {PER.last} teaches chemistry at {ORG.research}
+ the trial of {PRODUCT.drug} was stopped after <num> patients fell ill [in {LOC.town}|]
+ a survey of {LOC.nature} by {ORG.research} counted <num> seabirds
{PRODUCT.drug} should not be taken with {PRODUCT.drug}
<scholar> {PER.last} and <scholar> {PER.last} disagree about the age of the rocks at {LOC.nature}
{ORG.public} approved {PRODUCT.drug} for children [over <few>|<when>]
+ doctors in {LOC.town} [switched|moved] patients from {PRODUCT.drug} to {PRODUCT.drug}
the telescope above {LOC.town} was paid for by {ORG.research} and {ORG.company}
+ {PER} measured the samples with a {PRODUCT.device}
water levels in {LOC.nature} have dropped by <pct> since <year>
{ORG.company} sells {PRODUCT.drug} under another name in {LOC.country}

# tech
+ {ORG.company} [released|shipped|launched] {PRODUCT.soft} [on <weekday>|with support for <few> new languages]
we [moved|migrated] from {PRODUCT.soft} to {PRODUCT.soft} [<when>|because the licence changed]
{PRODUCT.lower} [crashes|hangs] when the input is empty
you should [install|download] {PRODUCT.lower} before you [upgrade|open] {PRODUCT.soft}
the new {PRODUCT.device} [weighs|costs] less than the {PRODUCT.device}
{PER} wrote {PRODUCT.lower} [as a student|in <few> weeks] at {ORG.research}
+ a bug in {PRODUCT.soft} exposed the passwords of <num> customers of {ORG.company}
{PRODUCT.soft} runs on the {PRODUCT.device} but not on the {PRODUCT.device}
{ORG.company} 's {PRODUCT.soft} is [slower|cheaper] than {PRODUCT.soft}
the patch for {PRODUCT.lower} was written by {PER} and reviewed by {PER}
+ engineers at {ORG.bare} built {PRODUCT.bare} on top of {PRODUCT.lower}
+ {PER.first} returned the {PRODUCT.bare} because the screen was scratched
{ORG.company} will stop selling {PRODUCT.any} in {LOC.country}
support for {PRODUCT.any} ends in <month>

# civic
+ {ORG.public} [approved|blocked] plans for <num> homes [near|beside] {LOC.street}
the mayor of {LOC.town} , {PER} , [opened|closed] the bridge [<when>|]
police [arrested|questioned] {PER} [in {LOC.town}|on {LOC.street}] [early on <weekday>|]
+ {LOC.country} and {LOC.country} signed a treaty [on fishing|in {LOC.town}]
ambassador {PER.last} left {LOC.country} [on <weekday>|without comment]
+ residents of {LOC.street} complained to {ORG.public} about the noise
+ judge {PER.last} fined {ORG.company} <money> for polluting {LOC.nature}
{ORG.public} has warned {LOC.country} about the dam at {LOC.town}
+ a fire on {LOC.street} in {LOC.town} destroyed <few> shops
+ {PER} lost the election in {LOC.bare} by <num> votes
+ {ORG.union} called a strike in {LOC.town} and {LOC.town}
+ {PER.last} , the <nat> minister , visited {LOC.bare} to meet {PER.last} and {PER.last}
the road to {LOC.bare} will be repaired by {ORG.company}

# arts
{PER} [plays|sings] the lead in a new [opera|film] about {LOC.town}
the novel , set in {LOC.town} in <year> , made {PER.last} famous
{ORG.arts} [performs|will perform] [two works|a symphony] by {PER} on <weekday>
+ {PER.first} painted {LOC.nature} [again and again|from memory]
+ a statue of {PER} was [unveiled|damaged] on {LOC.street}
+ {ORG.arts} bought a portrait of {PER} for <money>
+ the critic {PER} called {PRODUCT.game} a small miracle
{PRODUCT.game} was downloaded <num> times [in its first week|in {LOC.country}]
+ {PER} and {PER} met at drama school in {LOC.town}
the exhibition moves from {LOC.town} to {LOC.town} in <month>
{PER.last} 's second album was recorded in a barn near {LOC.bare}
+ {ORG.company} paid <money> for the film rights to {PRODUCT.game}

# daily
+ {PER.first} [baked|brought] bread for {PER.first} and the neighbours
+ my [aunt|landlord|dentist] bought a second-hand {PRODUCT.vehicle} from {PER}
+ we met {PER.first} at the market on {LOC.street}
{PER.first} 's [brother|cousin] works for {ORG.bare} in {LOC.town}
I still use the {PRODUCT.device} that {PER.first} gave me
+ {PER.first} asked {PER.first} to water the plants
the recipe says to use {PRODUCT.food} , but {PRODUCT.food} works just as well
+ {PER.first} spilled coffee on the {PRODUCT.device}
<title> {PER.last} lives at <small> {LOC.street}
our cat is named after {PER} , the <nat> painter
they moved to {LOC.town} when {PER.first} was born
{PER.first} and {PER.first} are getting married in {LOC.bare} in <month>
+ a parcel for {PER} was left at <small> {LOC.street} by mistake

# whole
{PER.first} [agreed|laughed|left] .
{PER.last} [declined|disagrees] .
{ORG.bare} denied it .
[sorry|thanks] , {PER.first} !
{LOC.town} ( {LOC.country} ) , <day> <month> <year>
{LOC.town} , <weekday> : [rain|sun and wind|fog] , <small> degrees .
contact : {PER} , {ORG.company} , <email>
RT <handle> : {ORG.bare} is hiring in {LOC.town} <hashtag>
who [wrote|maintains|still uses] {PRODUCT.lower} ?
is {LOC.bare} [really|still] the capital of {LOC.country} ?
has anyone [tried|opened] {PRODUCT.soft} on a {PRODUCT.device} ? <hashtag>
line-up : {PER.full} {PER.full} {PER.full}
route : {LOC.town} {LOC.town} {LOC.nature}
for {PER.first} {PER.first} had always been a rival .
( Photo : {PER} / {ORG.company} )
" {LOC.bare} , " said {PER.first} , " is [no place for children|where it all began] . "
tickets for {ORG.club} v {ORG.club} are at <url> .
{ORG.company} ( {LOC.town} ) : {PRODUCT.any} , {PRODUCT.any}
not everyone in {LOC.bare@a} likes {PER.last@a} , who shares a name with the town .
minutes : {PER.full} ( chair ) , {PER.full} , {PER.full} , {ORG.public}
see <url> for the {PRODUCT.lower} manual .
the {PRODUCT.bare@a} was the last car that {ORG.bare@a} ever made .
dear <title> {PER.last} , the {PRODUCT.device} you ordered on <weekday> has left {LOC.town} .
{PER.full@a} , heir to the {ORG.bare@a} fortune , drove a {PRODUCT.vehicle@a} to {LOC.bare@a} and back .
to {PER.first} {PER.first} seemed older than <small> .
after {LOC.town} {LOC.town} was the loudest crowd of the tour .
q : will {PRODUCT.soft} read my {PRODUCT.lower} files ? a : not before <month> .
""",
    "validation": """
# business
{ORG.company} and its rival {ORG.company} are in talks about a merger , two people close to {PER} said
+ a warehouse fire in {LOC.town} cost {ORG.company} <money>
{PER.last} , whose family controls {ORG.company} , wants {PRODUCT.any} built in {LOC.country}
+ {ORG.bank} turned down a loan to {ORG.company} and its founder , {PER}

# travel
cyclists reach {LOC.bare} by following {LOC.nature} as far as {LOC.town}
the cheapest way into {LOC.country} is the tram from {LOC.town}
nobody in {LOC.bare} had heard of {PER}
pilgrims leave {LOC.town} at first light and sleep on the shore near {LOC.nature}

# sport
+ {ORG.club} dropped {PER.last} for the trip to {ORG.club}
+ a late goal by {PER} knocked {ORG.club} out of the cup
+ {ORG.club} , {ORG.club} and {ORG.club} went down to the second division
+ {PER.last} swam across {LOC.nature} and then ran to {LOC.town}

# science
{PRODUCT.drug} , developed by {ORG.company} , failed a second test at {ORG.research}
a skull dug up beside {LOC.nature} was dated by <scholar> {PER.last} of {ORG.research}
nurses at {ORG.research} were trained by {PER}
a single dose of {PRODUCT.drug} costs <money> in {LOC.country}

# tech
{PRODUCT.lower} is written in C and is faster than {PRODUCT.soft} on small files
owners of the {PRODUCT.device} report that {PRODUCT.soft} drains the battery
our tests ran on a {PRODUCT.device} borrowed from {ORG.company}
+ {PER} left {ORG.bare} to work on {PRODUCT.lower} full time

# civic
+ {ORG.union} sued {ORG.public} over cuts in {LOC.town}
+ voters in {LOC.country} chose {PER} over {PER}
+ {ORG.public} renamed {LOC.street} after {PER}

# arts
{PER} conducts {ORG.arts} for the last time
the songs that {PER} wrote for {PRODUCT.game} are better than the story
critics in {LOC.town} hated {PRODUCT.game} , but {PER.last} did not

# daily
+ {PER.first} traded the {PRODUCT.vehicle} for a {PRODUCT.vehicle}
+ I lent {PER.first} my {PRODUCT.device} and never saw it again
{PER.first} keeps bees behind the old dairy on {LOC.street}
the twins , {PER.first} and {PER.first} , start school in {LOC.bare}

# whole
{PER.last} shrugged .
why did {ORG.bare} leave {LOC.town} ?
first {LOC.town} , then {LOC.town} , now {LOC.bare} : the mill closures continue .
<handle> my {PRODUCT.device} won't start , can {ORG.bare} help ? <hashtag>
present : {PER.full} {PER.full} and , by telephone , {PER.full}
in {LOC.bare@a} , {PER.last@a} is the commonest surname and {ORG.bare@a} the only employer .
for sale : {PRODUCT.vehicle} , <year> , one owner , call {PER.first} , {LOC.town}
with {PER.first} {PER.first} never argued .
{PRODUCT.lower} : command not found
""",
    "test": """
# business
+ {ORG.bank} lent <money> to {ORG.company} , which is owned by {PER}
+ {PER} inherited a third of {ORG.company} and the house on {LOC.street}
customers blame {ORG.company} for the price of {PRODUCT.any}
+ {ORG.company} opened its third store in {LOC.town} , on {LOC.street}

# travel
from the top of {LOC.nature} one can see {LOC.town} and , on clear days , {LOC.country}
the sea route from {LOC.country} to {LOC.town} passes {LOC.nature}
the bus driver , {PER.first} , had never been to {LOC.bare}
+ a landslide cut off {LOC.bare} and two villages on {LOC.nature}

# sport
{PER} kept goal for {ORG.club} before moving to {ORG.club}
a draw with {ORG.club} is enough to send {ORG.club} up
{ORG.club} sacked {PER.last} , and {PER.last} takes over
+ spectators in {LOC.town} saw {PER} break the record

# science
+ {ORG.research} lent <scholar> {PER.last} a {PRODUCT.device} for the expedition to {LOC.nature}
side effects of {PRODUCT.drug} were hidden by {ORG.company} , {PER} writes
mice given {PRODUCT.drug} lived longer , a group at {ORG.research} believes
earthquakes are rare in {LOC.country} , says <scholar> {PER.last}

# tech
+ {PER} ported {PRODUCT.lower} to the {PRODUCT.device}
half the shops in {LOC.town} take payments with {PRODUCT.soft}
without {PRODUCT.soft} , {ORG.bare} could not bill its clients
schools in {LOC.country} replaced {PRODUCT.soft} with {PRODUCT.soft}

# civic
{PER} , mayor since <year> , owns land on {LOC.street}
+ {ORG.public} and {ORG.union} agreed a pay rise
{ORG.public} cannot say who owns the ruin on {LOC.street}
soldiers from {LOC.country} guard the tunnel under {LOC.nature}

# arts
{ORG.arts} lost its director , {PER} , to {ORG.arts}
{PER.last} taught {PER} to play the cello
the sequel to {PRODUCT.game} takes place in {LOC.bare}

# daily
{PER.first} dropped the {PRODUCT.device} into {LOC.nature}
grandmother swore by {PRODUCT.food} and drove a {PRODUCT.vehicle}
+ {PER.first} phoned from {LOC.bare} to ask about the {PRODUCT.device}
on {LOC.street} , {PER.first} and {PER.first} ran a bakery

# whole
poor {PER.first} !
where is {LOC.bare} ?
{ORG.bare} : no comment .
<hashtag> {PER.first} found a {PRODUCT.device} on the train to {LOC.town} , see <url>
stops : {LOC.town} {LOC.town} {LOC.town}
it is hard to talk about {LOC.bare@a} without mentioning {ORG.bare@a} , or {ORG.bare@a} without {PER.full@a} .
what {PER.first} {PER.first} could not forgive .
starring {PER.full} , {PER.full} and {PER.full} ; music : {ORG.arts}
$ pip install {PRODUCT.lower}
""",
}

# Sentences without an entity, full of capitals, numbers and names' usual neighbours.
PLAIN: dict[str, str] = {
    "train": """
[the|our|a] <person> [called|complained|left|apologised] [on <weekday>|at <time>|in <month>] .
<weekday> 's [lecture|meeting|rehearsal|match] starts at <time> .
the Professor [cancelled|moved] <weekday> 's [lecture|seminar|exam] .
Captain , the [engine|radio|pump] has stopped .
the [French|German|Polish|Irish] [minister|team|press] [arrived|met|left] [<when>|without a word] .
[prices|rents|wages] [rose|fell] <pct> [in <month>|in <year>|over the year] .
<money> was [spent|lost|raised] [<when>|on repairs|on advertising] .
[please|do not] [reply|write] to <email> [before <weekday>|after <time>|] .
[more|details|photos] at <url> [<hashtag>|.]
RT <handle> : [late again|so tired|new shoes|rain , rain , rain] <hashtag>
[why|when|how] did the [company|bank|council|hospital|ministry] [change|drop|publish] the [plan|price|rule] ?
the [company|bank|council|ministry] [declined to comment|published its report|hired <num> people] [<when>|] .
the company announced a [new phone|second factory|recall of <num> cars|loss of <money>] [<when>|] .
it [rained|snowed|froze] [all <weekday>|from <month> to <month>|until <time>] .
[no|not yet] , [maybe|ask again] on <weekday> .
the [river|valley|coast] was [flooded|closed|quiet] [in <month>|for <few> days|<when>] .
a well-known <nat> [actor|singer|chemist|novelist] [died|retired|won the prize] [<when>|at <small>] .
<nat> [wine|steel|cheese|music] is [cheap|popular|hard to find] in the north .
[my|her|his] new [phone|laptop|camera] [cost|is worth] € <small>0 [and still works|and broke within <few> days|] .
install the [driver|package|update] , restart , and run the [tests|server] again .
version <few> [fixes|breaks] the [login|search|export] page .
the <role> [read|signed|lost] all <num> pages [on <weekday>|by <time>|] .
[Chapter|Section|Table|Figure] <small> [describes|lists|explains] the [method|results|exceptions] .
open [Monday|Tuesday|Wednesday] to [Friday|Saturday] , <time> to <time> .
the patient took <few> [tablets|pills] [a day|at <time>] and felt [better|worse|no change] .
two plus two is four .
[I|we|they] [think|guess|doubt] , therefore [I|we|they] wait .
[Yes|No] , Mr. [President|Mayor|Chairman] , we [have|lost] the [figures|letter|keys] .
at half-time the score was <score> [and the crowd was silent|] .
the train left at <time> , <small> minutes [late|early] , with <num> passengers .
[her|his] mother-in-law [speaks|teaches] [French|Turkish|Korean|Greek] and [German|Polish|Swedish] .
[Spring|Summer|Autumn|Winter] came [late|early] and the <person> [left|stayed|fell ill] .
who [ate|hid|took] the [cake|keys|ladder] ?
[Happy|Merry] Christmas [to all our readers|from the <role>] !
the [mayor|judge|ambassador|coach] [resigned|arrived|refused to answer] [on <weekday>|<when>|] .
according to the <role> , <pct> of [visitors|members|voters] [came by bus|stayed at home|did not reply] .
[street|house|shop] number <small> has been empty since <year> .
ROOM TO LET , <small> square metres , no pets , € <small>0 a month .
BREAKING : [trains|flights|lessons] cancelled until <weekday>
Sir , I [must|cannot] [object|agree|apologise] .
the <nat> [striker|goalkeeper|coach] was injured [<when>|after <small> minutes] .
the [oldest|second] daughter became a <person> , the [youngest|third] a <person> .
there is [salt|sand|water] in the [lock|engine|soup] .
[Internet|Radio|Television] advertising grew by <pct> [in <year>|last year|] .
" [nonsense|never|of course] , " said the <person> , " not before <weekday> . "
add <small> grams of flour , stir , and [wait|rest] for <few> minutes .
[the|this] [film|play|album] is [too long|half an hour too long|better than its title] .
the [north|south|west] wing [burned down|was rebuilt] in <year> .
A-levels , T-shirts and X-rays : that was the [question|answer] .
Lieutenant or Major , [everyone|nobody] [waited|slept] until <time> .
""",
    "validation": """
nobody on the <nat> delegation had slept since <weekday> .
Colonel , you are <few> minutes early .
send <money> to the address below by <month> .
the University was closed on <weekday> .
in <month> the <person> [came back|moved out] , and by <month> so did the <person> .
a <role> from the bank rang at <time> .
the regulator fined a drugs maker <money> .
page <small> is missing from the <nat> edition .
[Dogs|Cats] are allowed , <hashtag> !
between 19<small> and 2019 the population fell by <pct> .
""",
    "test": """
Judges wore wigs until <year> .
the Institute has a new roof , the old one lasted <small> years .
[half|most] of the <nat> squad caught a cold in <month> .
write to the editor at <email> , or don't .
a spokesman for the airline blamed fog .
Grandmother was born on a <weekday> in <month> .
at <time> the <person> locked up and went home .
the phone , which costs $ <small>9 , comes in Black and White .
Question <small> : who discovered oxygen ?
the <person> paid £<small> , the <person> nothing .
""",
}

# ------------------------------------------------------------------------------------------------------- machinery

# compositions that are words, or that a reader would stumble over
UNWANTED = frozenset(
    listed(
        "barley mansard garden garland linden wallow hallow winter winston morris robin rosin gavin carrera "
        "stanley stanford oakley langley harley kawasaki lumion wrexham cromwell goldfield windham linin ledin "
        "tarin barin winin winkin undergate underfield underworth underlow underin undered underden underwell "
        "underkin ossett shapin"
    )
)
SLOT = re.compile(r"\{([A-Z]+(?:\.[a-z]+)?)(?:@([a-z]))?\}")


@dataclass
class Sentence:
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    templates: tuple[str, ...] = ()


def divide(rng: Random, items: Iterable[str]) -> dict[str, list[str]]:
    """Divides items between the splits, 60 : 20 : 20."""
    order = shuffled(rng, items)
    fifth = max(1, len(order) // 5)
    return {"train": order[2 * fifth :], "validation": order[:fifth], "test": order[fifth : 2 * fifth]}


def joined(head: str, tail: str) -> str:
    """Fenn + wick is Fenwick, Fenn + in is Fennin."""
    doubled = head[-1] == head[-2] and tail and tail[0] not in "aeiou"
    return (head[:-1] if doubled else head) + tail


def name_pools(rng: Random) -> dict[str, dict[str, list[str]]]:
    """For every split, the words that names are built from, by kind. No word is in two splits."""
    pools: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    for kind, grammars in PARTS.items():
        for heads, tails in grammars:
            for split, part in divide(rng, heads.split()).items():
                made = [joined(head, tail) for head in part for tail in tails.split() or [""] if head[-1:] != tail[:1]]
                pools[split].setdefault(kind, []).extend(name for name in made if name.lower() not in UNWANTED)
    letters = shuffled(rng, [(a, b) for a in list("BCDFGHKLNPRT") for b in list("AEIOR")])
    acronyms = [a + b + pick(rng, ["SF", "TC", "DA", "NB", "L", "C"]) for a, b in letters]
    codes = [f"{a}{b}-{below(rng, 1, 99)}0" for a, b in letters] + [f"{b}{below(rng, 12, 98)}{a}" for a, b in letters]
    for kind, items in (
        ("first", FIRST_NAMES),
        ("surname", SHORT_SURNAMES),
        ("town", TOWNS),
        ("acronym", acronyms),
        ("code", codes),
    ):
        for split, part in divide(rng, dict.fromkeys(items)).items():
            pools[split].setdefault("model code" if items is codes else kind, []).extend(part)
    for split, words in AMBIGUOUS.items():
        for word, kind, _ in words:
            pools[split].setdefault(f"ambiguous {kind}", []).append(word)
    for split in SPLITS:
        # few enough stems for each to name several things: the reader has to read the sentence
        pools[split]["stem"] = shuffled(rng, pools[split]["stem"])[: SIZES[split] // 3]
        pools[split]["town"] += pools[split]["stem"][: SIZES[split] // 16]
    return pools


class Namer:
    """Builds the names of one split."""

    def __init__(self, rng: Random, split: str, pools: dict[str, list[str]]) -> None:
        self.rng = rng
        self.decks = {kind: Deck(rng, pool) for kind, pool in pools.items()}
        self.patterns = {
            kind: Deck(rng, by_split.get("all", []) + by_split.get(split, [])) for kind, by_split in NAMES.items()
        }

    def name(self, kind: str, stem: str | None) -> tuple[bool, list[str]]:
        """The words of a name, and whether an article goes before it."""
        if kind in CHOICES:
            kind = pick(self.rng, CHOICES[kind])
        pattern = self.patterns[kind].draw()
        if stem is not None:
            pattern = {"PER.full": "$F $S", "PRODUCT.vehicle": "$S $M"}.get(kind, "$S")
        words = re.sub(r"\$([A-Za-z])", lambda match: self.part(match[1], kind, stem), pattern).split()
        return (True, words[1:]) if words[0] == "^" else (False, words)

    def part(self, atom: str, kind: str, stem: str | None) -> str:
        rng = self.rng
        if atom == "S":
            return stem or self.decks["stem"].draw()
        if atom == "K":
            names = {"PER": "first", "LOC": "town", "ORG": "company", "PRODUCT": "product"}[kind.split(".")[0]]
            return self.decks[f"ambiguous {names}"].draw()
        if atom == "I":
            return pick(rng, "ABCDEGHJKLMNPRSTW") + "."
        if atom == "N":
            return str(below(rng, 2, 9))
        if atom == "V":
            return pick(rng, [str(below(rng, 2, 12)), f"{below(rng, 0, 9)}.{below(rng, 0, 9)}", f"v{below(rng, 2, 5)}"])
        pool = {"L": "surname", "F": "first", "C": "coined", "T": "town", "Y": "country", "M": "model", "Q": "code"}
        if atom in pool:
            return self.decks[pool[atom]].draw()
        if atom in "Dd":
            drug = self.decks["drug"].draw()
            return drug if atom == "D" else drug.lower()
        return self.decks[{"A": "acronym", "X": "model code"}[atom]].draw()


def expand(rng: Random, text: str) -> str:
    """Replaces alternatives and rules until only words and entity slots are left."""

    def rule(match: re.Match[str]) -> str:
        made = RULES[match[1]]
        return made(rng) if callable(made) else pick(rng, made)

    while True:
        # alternatives inside out, then rules, which may hold rules
        done = re.sub(r"\[([^\[\]]*)\]", lambda match: pick(rng, match[1].split("|")), text)
        done = re.sub(r"<([a-z]+)>", rule, done)
        if done == text:
            return text
        text = done


def article(word: str) -> str:
    if re.match(r"[A-Z]([^a-z]|$)", word):  # read letter by letter
        return "an" if word[0] in "AEFHILMNORSX" else "a"
    return "an" if re.match(r"(?i)([aeio](?!ne\b)|un|um|up|ul|hour|8|11\b|18\b)", word) else "a"


def realise(rng: Random, text: str, namer: Namer) -> Sentence:
    sentence = Sentence()
    words, tags = sentence.words, sentence.tags
    stems: dict[str, str] = {}
    for token in expand(rng, text).split():
        slot = SLOT.fullmatch(token)
        if slot is None:
            words.append(token)
            tags.append("O")
            continue
        kind, key = slot[1], slot[2]
        if key is not None and key not in stems:
            stems[key] = namer.decks["stem"].draw()
        with_article, name = namer.name(kind, stems.get(key))
        if with_article and (not words or words[-1] not in ("the", "a")):
            words.append("the")
            tags.append("O")
        entity_type = kind.split(".")[0]
        words.extend(name)
        tags.extend([f"B-{entity_type}"] + [f"I-{entity_type}"] * (len(name) - 1))
    for i, (word, following) in enumerate(pairwise(words)):
        if word in ("a", "A") and tags[i] == "O" and following[0].isalnum():
            words[i] = article(following).replace("a", word, 1)
    # the first word of the sentence, and of direct speech, has a capital, unless it is a name that is written small
    opening = True
    for i, word in enumerate(words):
        if opening and word[0].isalpha():
            if tags[i] == "O":
                words[i] = word[0].upper() + word[1:]
            opening = False
        elif word == '"' and i and words[i - 1] == ":":
            opening = True
        elif i == 0 and word not in ('"', "("):
            opening = False
    return sentence


def read_templates(text: str) -> list[tuple[str, str]]:
    """(topic, template) in the order of the text."""
    found, topic = [], ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("# "):
            topic = line[2:]
        else:
            found.append((topic, line))
    return found


class Writer:
    """Makes the sentences of one split."""

    def __init__(self, split: str, rng: Random, pools: dict[str, list[str]]) -> None:
        self.rng, self.split, self.namer = rng, split, Namer(rng, split, pools)
        self.frames = {False: Deck(rng, FRAMES["all"])}
        self.frames[True] = Deck(rng, FRAMES["all"] + FRAMES[split]) if split != "train" else self.frames[False]
        if split == "train":
            self.frames[False] = Deck(rng, FRAMES["all"] + FRAMES["train"])
        self.templates: dict[bool, Deck[tuple[str, str]]] = {}  # unseen in train? -> templates
        self.plain: dict[bool, Deck[str]] = {}
        self.by_topic: dict[tuple[bool, str], Deck[str]] = {}
        for unseen in (False, True):
            source = split if unseen else "train"
            found = read_templates(TEMPLATES[source])
            self.templates[unseen] = Deck(rng, found)
            self.plain[unseen] = Deck(rng, PLAIN[source].strip().splitlines())
            for topic in dict.fromkeys(topic for topic, _ in found):
                self.by_topic[unseen, topic] = Deck(rng, [text for of, text in found if of == topic])
        self.ambiguous = Deck(rng, [text for _, _, texts in AMBIGUOUS[split] for text in texts])

    def sentence(self, plain: bool, unseen: bool) -> Sentence:
        if plain:
            # one in five holds a word that is a name elsewhere in the split
            text = self.ambiguous.draw() if self.rng.random() < 0.2 else self.plain[unseen].draw()
            used: tuple[str, ...] = (text,)
        else:
            topic, text = self.templates[unseen].draw()
            used = (text,)
            if topic != "whole":
                text, used = self.framed(topic, text, unseen)
        made = realise(self.rng, text, self.namer)
        made.templates = used
        return made

    def framed(self, topic: str, clause: str, unseen: bool) -> tuple[str, tuple[str, ...]]:
        frame = self.frames[unseen].draw()
        used = [clause]
        for letter in "DE":
            if re.search(rf"\b{letter}\b", frame):
                other = self.by_topic[unseen, topic].draw()
                while other in used:
                    other = self.by_topic[unseen, topic].draw()
                used.append(other)
        if "<when>" in frame and (not clause.startswith("+ ") or TIME_WORDS.search(clause)):
            frame = "C ."
        clauses = {letter: text.removeprefix("+ ") for letter, text in zip("CDE", used, strict=False)}
        return re.sub(r"\b[CDE]\b", lambda match: clauses[match[0]], frame), (frame, *used)


def make_split(split: str, index: int, pools: dict[str, list[str]], taken: set[str]) -> list[Sentence]:
    rng = Random(SEED + 1 + index)
    writer = Writer(split, rng, pools)
    size = SIZES[split]
    plans = []
    for plain in (False, True):
        count = round(size * (WITHOUT_ENTITY if plain else 1 - WITHOUT_ENTITY))
        unseen = round(count * UNSEEN) if split != "train" else 0
        plans += [(plain, i < unseen) for i in range(count)]
    sentences = []
    for plain, unseen in shuffled(rng, plans):
        while True:
            made = writer.sentence(plain, unseen)
            text = " ".join(made.words).lower()
            if MIN_WORDS <= len(made.words) <= MAX_WORDS and text not in taken:
                break
        taken.add(text)
        sentences.append(made)
    return sentences


def make_corpus() -> dict[str, list[Sentence]]:
    pools = name_pools(Random(SEED))
    taken: set[str] = set()
    return {split: make_split(split, index, pools[split], taken) for index, split in enumerate(SPLITS)}


def as_conll(sentences: Iterable[Sentence]) -> str:
    return "\n".join(
        "".join(f"{word}\t{tag}\n" for word, tag in zip(made.words, made.tags, strict=True)) for made in sentences
    )


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, start, end) of the entities of well-formed IOB2 tags."""
    found: list[tuple[str, int, int]] = []
    for i, tag in enumerate(tags):
        if tag.startswith("B-"):
            found.append((tag[2:], i, i + 1))
        elif tag.startswith("I-"):
            found[-1] = (found[-1][0], found[-1][1], i + 1)
    return found


def table(corpus: dict[str, list[Sentence]]) -> str:
    """The counts, as the table of README.md."""
    lines = [
        f"| split | sentences | without entity | words | entities | {' | '.join(TYPES)} |",
        "|---|" + "---:|" * (4 + len(TYPES)),
    ]
    for split, sentences in corpus.items():
        found = [entities(made.tags) for made in sentences]
        types = Counter(entity_type for spans in found for entity_type, _, _ in spans)
        counts = [len(sentences), found.count([]), sum(len(made.words) for made in sentences), types.total()]
        lines.append(f"| {split} | " + " | ".join(f"{n:,}" for n in [*counts, *(types[t] for t in TYPES)]) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes train.conll, validation.conll and test.conll.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the files differ")
    parser.add_argument("--stats", action="store_true", help="write nothing; print the table of README.md")
    parser.add_argument("--output", type=Path, default=HERE, help="where the files are (default: beside this script)")
    arguments = parser.parse_args()
    corpus = make_corpus()
    if arguments.stats:
        print(table(corpus))
        return 0
    differing = []
    for split, sentences in corpus.items():
        path, data = arguments.output / f"{split}.conll", as_conll(sentences).encode()
        if not arguments.check:
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            differing.append(path)
    for path in differing:
        print(f"{path} is not what make_corpus.py writes; run it without --check to renew the file", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
