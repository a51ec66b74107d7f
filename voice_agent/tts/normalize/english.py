"""English: numbers, money, dates, times, units and abbreviations -> words, where espeak-ng reads them wrong.

espeak-ng reads plain numbers, ordinals, decimals and most acronyms well; they are left to it, so no number library is
needed. The rules rewrite what espeak was heard to get wrong: "$5" as "dollar five", "10-20" as "ten dash twenty",
"Dr. Smith" as two sentences.
"""

from __future__ import annotations

import re

from .rules import apply, compiled

_MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
]  # fmt: skip
_MONTH_SHORT = {name[:3].lower(): name for name in _MONTHS} | {"sept": "September"}
_DECADES = {2: "twenties", 3: "thirties", 4: "forties", 5: "fifties"}
_DECADES |= {6: "sixties", 7: "seventies", 8: "eighties", 9: "nineties"}
_MONEY = {"$": ("dollar", "cent"), "\u20ac": ("euro", "cent"), "\u00a3": ("pound", "penny"), "\u00a5": ("yen", "")}
_MONEY |= {"\u20b9": ("rupee", "paisa")}
_MAGNITUDES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "tn": "trillion"}
_PLURALS = {"penny": "pence", "yen": "yen", "foot": "feet", "inch": "inches", "paisa": "paise"}
_UNITS = {
    "km": "kilometer", "cm": "centimeter", "mm": "millimeter", "kg": "kilogram", "mg": "milligram", "ml": "milliliter",
    "mi": "mile", "ft": "foot", "lb": "pound", "lbs": "pound", "oz": "ounce", "hr": "hour", "hrs": "hour",
    "min": "minute", "mins": "minute", "sec": "second", "secs": "second", "ms": "millisecond", "kB": "kilobyte",
    "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "kW": "kilowatt", "kWh": "kilowatt hour",
    "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "mph": "mile per hour",
    "km/h": "kilometer per hour", "m/s": "meter per second", "m\u00b2": "square meter", "km\u00b2": "square kilometer",
    "m": "meter", "g": "gram", "L": "liter",
}  # fmt: skip
_FRACTIONS = {"1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "a quarter", "3/4": "three quarters"}
_WORDS = {
    "e.g.": "for example", "i.e.": "that is", "etc.": "et cetera", "vs.": "versus", "approx.": "approximately",
    "Dr.": "Doctor", "Mr.": "Mister", "Mrs.": "Missus", "Ms.": "Miz", "Prof.": "Professor", "Jr.": "Junior",
    "Sr.": "Senior", "Gen.": "General", "Sgt.": "Sergeant", "Capt.": "Captain", "Rev.": "Reverend", "Ph.D.": "P H D",
    "Inc.": "Incorporated", "Ltd.": "Limited", "Corp.": "Corporation", "dept.": "department", "Dept.": "Department",
    "Blvd.": "Boulevard", "Ave.": "Avenue", "Rd.": "Road", "w/o": "without", "w/": "with", "and/or": "and or",
}  # fmt: skip
_MAY_END = ("etc.", "Inc.", "Ltd.", "Corp.", "Jr.", "Sr.", "Ph.D.", "Blvd.", "Ave.", "Rd.", "approx.")
_SYMBOLS = {
    "\u2248": " about ", "\u2264": " at most ", "\u2265": " at least ", "\u2260": " is not ", "\u00d7": " times ",
    "\u00f7": " divided by ", "\u2192": " to ", "\u21d2": " to ", "\u2190": " from ", "\u00b1": " plus or minus ",
    "\u221e": " infinity ", "\u00a9": "", "\u00ae": "", "\u2122": "",
}  # fmt: skip

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_NO_WORD_BEFORE, _NO_WORD_BEHIND = r"(?<![\w.,/-])", r"(?![\w/-]|[.,]\d)"


def read_out(text: str, *, day_first: bool) -> str:
    """``text`` with English words for what espeak reads wrong. ``day_first``: 4/5/2024 is the fourth of May."""
    text = apply(_DAY_FIRST if day_first else _MONTH_FIRST, text)
    text = apply(_ENGLISH, text)
    for symbol, words in _SYMBOLS.items():
        text = text.replace(symbol, words)
    return text


def _plural(unit: str, count: str) -> str:
    if count in ("1", "one"):
        return unit
    first, rest = unit.split(" per ")[0], unit.partition(" per ")[2]
    plural = _PLURALS.get(first, first if first.endswith(("hertz", "s")) else first + "s")
    return f"{plural} per {rest}" if rest else plural


def _say_money(match: re.Match[str]) -> str:
    unit, cent = _MONEY[match["sign"] or match["sign_behind"]]
    amount, magnitude = match["amount"], (match["magnitude"] or "").strip()
    if magnitude:
        return f"{amount} {_MAGNITUDES.get(magnitude.lower(), magnitude)} {_plural(unit, '')}"
    whole, _, small = amount.partition(".")
    if len(small) != 2 or not cent:
        return f"{amount} {_plural(unit, amount)}"
    said = f"{whole} {_plural(unit, whole)}"
    if small == "00":
        return said
    cents = f"{int(small)} {_plural(cent, str(int(small)))}"
    return cents if whole == "0" else f"{said} and {cents}"


def _say_time(match: re.Match[str]) -> str:
    hour, minute = int(match["hour"]), match["minute"]
    half = " " + " ".join(match["half"].replace(".", "").upper()) if match["half"] else ""
    if minute is None:
        return f"{hour}{half}"
    if minute == "00":
        return f"{hour}{half}" if half else f"{hour} o'clock"
    spoken = f"oh {minute[1]}" if minute.startswith("0") else minute
    return f"{hour} {spoken}{half}"


def _say_date(year: str, month: str, day: str) -> str:
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return f"{year} {month} {day}"
    return f"{_MONTHS[int(month) - 1]} {_ordinal(int(day))}, {_say_year(year) if len(year) == 4 else year}"


def _ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def _say_year(year: str) -> str:
    """1984 -> 19 84, 1905 -> 19 oh 5, 1800 -> 18 hundred; 2000 to 2009 are read right as they stand."""
    century, rest = year[:2], year[2:]
    if year.startswith("200") or (century in ("10", "20") and rest == "00"):
        return year
    if rest == "00":
        return f"{century} hundred"
    return f"{century} oh {rest[1]}" if rest.startswith("0") else f"{century} {rest}"


def _say_decade(match: re.Match[str]) -> str:
    tens = _DECADES.get(int(match["tens"]))
    if tens is None:
        return match.group()
    return f"{match['century'] or ''} {tens}".strip()


def _say_digits(match: re.Match[str]) -> str:
    """Digit by digit, a breath between the groups: telephone numbers."""
    groups = re.findall(r"\d+", match.group())
    said = ", ".join(" ".join(group) for group in groups)
    return f"plus {said}" if match.group().startswith("+") else said


def _say_unit(match: re.Match[str]) -> str:
    return f"{match['count']} {_plural(_UNITS[match['unit']], match['count'])}"


def _say_degrees(match: re.Match[str]) -> str:
    scale = {"C": " Celsius", "F": " Fahrenheit"}.get(match["scale"] or "", "")
    return f"{match['count']} degree{'' if match['count'] in ('1', '-1') else 's'}{scale}"


def _say_abbreviation(match: re.Match[str]) -> str:
    """The word; where its stop was the sentence's too ("and so on, etc." at the end), the stop stays."""
    word, rest = _WORDS[match.group()], match.string[match.end() :]
    ends = match.group() in _MAY_END and (not rest.strip() or re.match(r"\s+[A-Z]", rest))
    return f"{word}." if ends else word


def _say_initials(match: re.Match[str]) -> str:
    letters = " ".join(match.group().replace(".", ""))
    return letters if match["on"] is not None else f"{letters}."


_DATE = _NO_WORD_BEFORE + r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})" + _NO_WORD_BEHIND
_MONTH_FIRST = compiled((_DATE, lambda m: _say_date(m[3], m[1], m[2])))
_DAY_FIRST = compiled((_DATE, lambda m: _say_date(m[3], m[2], m[1])))

_SIGNS = "".join(map(re.escape, _MONEY))
_SHORT_MONTHS = "|".join(_MONTH_SHORT)
_SENTENCE_GOES_ON = r"(?=\s+[a-z0-9(\"']|[,;:!?)])"

_ENGLISH = compiled(
    # dates and times
    (_NO_WORD_BEFORE + r"(\d{4})-(\d{2})-(\d{2})(?:T\S*)?" + _NO_WORD_BEHIND, lambda m: _say_date(m[1], m[2], m[3])),
    (rf"\b((?i:{_SHORT_MONTHS}))\.?(?=\s+\d)", lambda m: _MONTH_SHORT[m[1].lower()] if m[1][0].isupper() else m[0]),
    (rf"(?<=\d )((?i:{_SHORT_MONTHS}))\b\.?", lambda m: _MONTH_SHORT[m[1].lower()] if m[1][0].isupper() else m[0]),
    # The stop of "p.m." is the sentence's own where the sentence ends there.
    (
        _NO_WORD_BEFORE + r"(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?::[0-5]\d)?"
        r"(?:\s?(?P<half>(?i:[ap]\.m(?:\." + _SENTENCE_GOES_ON + r")?|[ap]m))(?!\w))?(?![\w:])",
        _say_time,
    ),
    (
        _NO_WORD_BEFORE + r"(?P<hour>1[0-2]|0?[1-9])(?P<minute>(?!))?\s?(?P<half>(?i:[ap]\.m(?:\."
        + _SENTENCE_GOES_ON + r")?|[ap]m))(?!\w)",
        _say_time,
    ),
    # money before plain numbers
    (
        rf"(?:(?P<sign>[{_SIGNS}])\s?(?P<amount>{_NUMBER})(?:(?P<magnitude>\s?(?:[kKmMbB]|[mb]n|tn)\b"
        rf"|\s(?:hundred|thousand|million|billion|trillion)\b))?)(?P<sign_behind>(?!))?",
        _say_money,
    ),
    (
        rf"(?<![\w.,])(?P<amount>{_NUMBER})\s?(?P<sign_behind>[{_SIGNS}])(?P<sign>(?!))?(?P<magnitude>(?!))?(?!\w)",
        _say_money,
    ),
    # telephone numbers, addresses of machines
    (r"(?<![\w.-])\+?\d{0,3}[ -]?\(\d{3}\)[ -]?\d{3}[ -]\d{4}\b", _say_digits),
    (r"(?<![\w.+-])\+\d{1,3}(?:[ -]\d{2,4}){2,5}\b|(?<![\w.+-])(?:1-)?\d{3}-\d{3}-\d{4}\b|(?<![\w.+-])\d{3}-\d{4}\b"
     r"|(?<![\w.+-])0\d{2,4}(?: \d{3,4}){1,3}\b", _say_digits),
    (r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)", lambda m: m.group().replace(".", " dot ")),
    # numbers with something attached
    (rf"(?P<count>-?(?:{_NUMBER}))\s?\u00b0\s?(?P<scale>[CF])?\b", _say_degrees),
    (rf"(?P<count>-?(?:{_NUMBER}))\s?\u00b0", r"\g<count> degrees"),
    (rf"(?<![\w.,$])(?P<count>{_NUMBER})\s?(?P<unit>{'|'.join(sorted(map(re.escape, _UNITS), key=len)[::-1])})"
     r"(?![\w/\u00b2\u00b3'\u2019])", _say_unit),
    (r"\b(?P<century>1[1-9]|20)(?P<tens>[2-9])0'?s\b", _say_decade),
    (r"(?<!\w)['\u2019](?P<century>(?!))?(?P<tens>[2-9])0s\b", _say_decade),
    (rf"(?<![\w.,/-])({_NUMBER})\s?[-\u2013]\s?({_NUMBER})(?![\w/-]|[.,]\d)", r"\1 to \2"),
    (r"(?<![\w.,/:#$-])(1[1-9]\d\d|20[1-9]\d)(?![\w/:%-]|[.,]\d)", lambda m: _say_year(m[1])),
    (r"(?<![\w./])([1-3]/[2-4])(?![\w/]|\.\d)", lambda m: _FRACTIONS.get(m[1], m[1])),
    (r"(?<![\w./])24/7(?![\w/])", "24 7"),
    (r"(?<![\w./])(\d{1,3})/(\d{1,3})(?![\w/])", lambda m: f"{m[1]} {m[2]}" if m[1] == m[2] else f"{m[1]} over {m[2]}"),
    (r"(?<=\d)\s?[x\u00d7]\s?(?=\d)", " by "),
    (r"(?<=\d)x\b", " times"),
    (r"(?<!\w)[~\u2248]\s?(?=\d)", "about "),
    (r"#\s?(?=\d)|\bNo\.\s?(?=\d)", "number "),
    # abbreviations
    (r"\bSt\.(?=\s+[A-Z])", "Saint"),
    (r"(?<=[a-z]\s)St\.", "Street"),
    (rf"(?<![\w.])(?:{'|'.join(sorted(map(re.escape, _WORDS), key=len)[::-1])})(?!\w)", _say_abbreviation),
    (rf"(?<![\w.])(?:[A-Z]\.){{2,}}(?P<on>{_SENTENCE_GOES_ON}|(?=\s+[A-Z]))?", _say_initials),
    (r"(?<![\w.])([A-Z])\.(?=\s+[A-Z])", r"\1"),
    # between words
    (r"\s&\s", " and "),
    (r"(?<=[a-z])_(?=[a-z])", " "),
    (r"\s+--+\s+|--+|\s*\u2014\s*|\s+\u2013\s+", ", "),
)  # fmt: skip
