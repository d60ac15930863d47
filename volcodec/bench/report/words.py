"""Figures as text, and what the study found and left open, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

Record = dict[str, Any]

OURS = "volcodec"  # the family of our codecs
LOSSY = ("error-bounded", "slices")
BEST = "best"
GAMES = ("psnr", "error")
GAME_TITLES = {"psnr": "equal PSNR", "error": "equal maximum error"}
FAMILIES = {
    "volcodec": "volcodec",
    "error-bounded": "error-bounded, whole volume",
    "lossless": "lossless",
    "slices": "images, slice by slice",
}
NOT_MEASURED = "not measured"
_MINUS, _THIN = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many significant digits; what is null is a dash."""
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    if math.isinf(value):
        return "infinite" if value > 0 else f"{_MINUS}infinite"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-3 <= size < 10**digits:
        places = max(0, digits - 1 - math.floor(math.log10(size)))
        text = f"{value:.{places}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    elif 10**digits <= size < 1e15:
        text = f"{value:,.0f}".replace(",", _THIN)
    else:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", _MINUS)


def percent(value: float | None) -> str:
    """Signed percent; two digits after the point where one would show no sign."""
    if value is None:
        return "\N{EN DASH}"
    digits = 2 if 0 < abs(value) < 0.05 else 1
    return f"{value:+.{digits}f}".replace("-", _MINUS) + f"{_THIN}%"


def share(value: float | None) -> str:
    """A share of 1 as percent, never rounded up to all or down to nothing."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{100 * value:.1f}"
    if (text == "100.0" and value < 1) or (text == "0.0" and value > 0):
        text = "> 99.9" if value > 0.5 else "< 0.1"
    return text.removesuffix(".0") + f"{_THIN}%"


def whole(value: float | None) -> str:
    """A count with thin spaces at the thousands."""
    return "\N{EN DASH}" if value is None else f"{value:,.0f}".replace(",", _THIN)


def shape(sizes: Sequence[int] | None) -> str:
    """91 x 109 x 91 as it is spoken."""
    return " \N{MULTIPLICATION SIGN} ".join(map(str, sizes or ())) or NOT_MEASURED


def seconds(value: float | None) -> str:
    """A time, in milliseconds where it is short."""
    if value is None or value >= 0.1:
        return number(value) + ("" if value is None else " s")
    return f"{number(1000 * value)} ms"


def listed(items: Iterable[str]) -> str:
    """One, two and three."""
    parts = list(items)
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def counted(count: int, thing: str) -> str:
    """3 volumes, 1 volume."""
    return f"{whole(count)} {thing}{'' if count == 1 else 's'}"


def decibels(point: Record) -> float | None:
    """The PSNR of a point: infinite where nothing was lost, None where it was not measured."""
    value: float | None = point.get("psnr")
    if value is None and (point.get("max") == 0 or point.get("target") == "lossless"):
        return math.inf
    return value


def title(results: Record, codec: str) -> str:
    """What a codec is called in the report."""
    if codec == BEST:
        return "the best peer"
    record = (results.get("codecs") or {}).get(codec) or {}
    return str(record.get("title") or codec)


def of_family(results: Record, *families: str) -> list[str]:
    """Names of the codecs of these families, one family after the other."""
    codecs = (results.get("codecs") or {}).items()
    return [n for family in families for n, codec in codecs if codec.get("family") == family]


def bit_rates(results: Record, game: str, codec: str, peer: str) -> dict[str, float]:
    """Volume -> percent of bits that `codec` needs more (+) or fewer (-) than `peer`."""
    out = {}
    for name, volume in (results.get("volumes") or {}).items():
        found = (((volume.get("bd") or {}).get(game) or {}).get(codec) or {}).get(peer) or {}
        if found.get("percent") is not None:
            out[name] = float(found["percent"])
    return out


def totals(results: Record, game: str, codec: str, peer: str) -> Record | None:
    """Mean, worst, worst_volume, won, lost and volumes; null where nothing could be compared."""
    found = bit_rates(results, game, codec, peer)
    if not found:
        return None
    worst = max(found, key=lambda name: found[name])
    told = (((results.get("summary") or {}).get(game) or {}).get(codec) or {}).get(peer) or {}
    made = {
        "mean": sum(found.values()) / len(found),
        "worst": found[worst],
        "worst_volume": worst,
        "won": sum(value < 0 for value in found.values()),
        "volumes": len(found),
    }
    chosen = {key: value if told.get(key) is None else told[key] for key, value in made.items()}
    return {**chosen, "lost": [name for name, value in found.items() if value > 0]}


def _bits(mean: float, said: str = " bits") -> str:
    if mean == 0:
        return f"as many{said}"
    return f"{abs(mean):.1f}{_THIN}% {'fewer' if mean < 0 else 'more'}{said}"


def _both(games: dict[str, Record]) -> str:
    """The means of the games, the word bits once."""
    parts: list[str] = []
    for game, found in games.items():
        parts.append(f"{_bits(found['mean'], '' if parts else ' bits')} at {GAME_TITLES[game]}")
    return listed(parts)


def _over(counts: Sequence[int]) -> str:
    if len(set(counts)) == 1:
        return f"mean over {counted(counts[0], 'volume')}"
    return f"means over {' and '.join(map(str, counts))} volumes"


def finding(results: Record) -> str:
    """The outcome of the study in one sentence; the volumes that are lost are in it by name."""
    ours = of_family(results, OURS)
    name = ours[0] if ours else OURS
    games = {game: totals(results, game, name, BEST) for game in GAMES}
    played = {game: found for game, found in games.items() if found}
    if not played:
        return "No volume could be compared with a peer: the sections below say why."
    text = f"Against the best peer {name} needs {_both(played)}, "
    text += _over([found["volumes"] for found in played.values()])
    lost: dict[str, list[str]] = {}
    for game, found in played.items():
        for volume in found["lost"]:
            lost.setdefault(volume, []).append(GAME_TITLES[game])
    compared = {v for game in played for v in bit_rates(results, game, name, BEST)}
    if not lost:
        return f"{text}; it loses on none of {len(compared)}."
    names = ", ".join(f"{volume} (at {listed(where)})" for volume, where in lost.items())
    return f"{text}; it loses on {len(lost)} of {len(compared)}: {names}."


def caveats(results: Record) -> list[str]:
    """What belongs beside the finding: rounded peers, other models, own failures, absent peers."""
    out = []
    ours = of_family(results, OURS)
    if ours:
        out += _rounded(results, ours[0])
        for other in ours[1:]:
            means = {g: totals(results, g, other, BEST) for g in GAMES}
            said = _both({game: found for game, found in means.items() if found})
            out.append(f"{title(results, other)}: {said or 'not compared'}.")
        volumes = results.get("volumes") or {}
        for codec in ours:
            for kind in ("failed", "refused"):
                names = [v for v, record in volumes.items() if codec in (record.get(kind) or {})]
                if names:
                    out.append(f"{codec} {kind} {listed(names)}.")
    absent = [
        codec
        for codec in of_family(results, *LOSSY, "lossless")
        if results["codecs"][codec].get("missing")
    ]
    if absent:
        out.append(
            f"Not compared, because not installed: {'; '.join(title(results, c) for c in absent)}."
        )
    unread = results.get("unread") or {}
    if unread:
        out.append(f"Not among them, because it could not be read: {listed(map(str, unread))}.")
    if (results.get("conditions") or {}).get("quick"):
        out.append("A quick run: few points a curve, so these figures are coarse.")
    return out


def players(results: Record) -> set[str]:
    """The peers (and BEST) that some game was played against."""
    return {
        peer
        for volume in (results.get("volumes") or {}).values()
        for game in (volume.get("bd") or {}).values()
        for row in (game or {}).values()
        for peer in row
    }


def outside(results: Record) -> list[str]:
    """The installed peers that take no part in the games, each with its family."""
    played = players(results)
    out = []
    for name in of_family(results, *LOSSY, "lossless"):
        record = results["codecs"][name]
        if name not in played and not record.get("missing"):
            out.append(f"{title(results, name)} ({FAMILIES[record['family']]})")
    return out


def _rounded(results: Record, codec: str) -> list[str]:
    plain = {game: totals(results, game, codec, BEST) for game in GAMES}
    native = {game: totals(results, f"{game}_native", codec, BEST) for game in GAMES}
    said = []
    for game, found in native.items():
        before = plain[game]
        if found and (before is None or found["mean"] != before["mean"]):
            lost = f"loses on {len(found['lost']) or 'none'} of {found['volumes']}"
            said.append(f"{percent(found['mean'])} at {GAME_TITLES[game]} ({lost})")
    if not said:
        return []
    return [f"With the peers rounded to the integers of a volume: {listed(said)}."]
