"""The tables of the two games: against every peer, every volume, by group, one volume alone."""

from __future__ import annotations

from volcodec.bench.report import gaps
from volcodec.bench.report.cells import Cell, Column, Row, Table, bits
from volcodec.bench.report.words import (
    BEST,
    GAME_TITLES,
    GAMES,
    LOSSY,
    OURS,
    Record,
    number,
    of_family,
    players,
    shape,
    share,
    title,
    totals,
)

_FULL = 0.98  # coverage from which on it is not worth a word


def opponents(results: Record) -> list[str]:
    """BEST and the peers that take part in the games or would if they were installed."""
    names = of_family(results, *LOSSY)
    played = players(results)
    here = [name for name in names if name in played]
    absent = [
        name
        for name in of_family(results, "error-bounded")
        if name not in played and results["codecs"][name].get("missing")
    ]
    return [BEST, *here, *absent]


def variants(results: Record) -> list[tuple[str, str, str]]:
    """(game, key in the results, "plain" or "native") of all columns of the two games."""
    volumes = (results.get("volumes") or {}).values()
    native = any(f"{game}_native" in (v.get("bd") or {}) for v in volumes for game in GAMES)
    out = [(game, game, "plain") for game in GAMES]
    return out + ([(game, f"{game}_native", "native") for game in GAMES] if native else [])


def _heading(game: str, variant: str) -> str:
    text = GAME_TITLES[game]
    text = text[0].upper() + text[1:]
    return f"{text}, peers rounded" if variant == "native" else text


def summary(results: Record) -> Table:
    """Mean, worst and won of the two games against every opponent."""
    columns = [Column("Against", numeric=False)]
    for game, _, variant in variants(results):
        over = _heading(game, variant)
        columns += [Column(name, True, over, variant) for name in ("Mean", "Worst", "Won")]
    rows = []
    ours = of_family(results, OURS)
    for codec in ours:
        for peer in opponents(results):
            missing = ((results.get("codecs") or {}).get(peer) or {}).get("missing")
            name = title(results, peer)
            head = Cell(name[0].upper() + name[1:] if peer == BEST else name, name)
            if len(ours) > 1:
                head.note = f"{title(results, codec)} against it"
            if missing:
                head.note = f"not here: {missing}"
            cells = [head]
            for _, key, _ in variants(results):
                cells += _total_cells(totals(results, key, codec, peer))
            rows.append(Row(cells, "best" if peer == BEST else "absent" if missing else ""))
    caption = "Bits that volcodec needs more (+) or fewer (\N{MINUS SIGN}) than a peer, BD-rate"
    return Table("summary", caption, columns, rows, sortable=False)


def _total_cells(found: Record | None) -> list[Cell]:
    if found is None:
        return [Cell("\N{EN DASH}", None, "none") for _ in range(3)]
    worst = bits(found["worst"], str(found["worst_volume"]))
    won = f"{found['won']} of {found['volumes']}"
    lost = len(found["lost"])
    note = f"{lost} lost" if lost else "none lost"
    return [bits(found["mean"]), worst, Cell(won, found["won"] / found["volumes"], note=note)]


def pairs(results: Record) -> list[tuple[str, str]]:
    """(value, text) of the choice of whom the table of volumes compares."""
    ours = of_family(results, OURS)
    out = []
    for codec in ours:
        for peer in opponents(results):
            if ((results.get("codecs") or {}).get(peer) or {}).get("missing"):
                continue
            against = title(results, peer)
            out.append((f"{codec}|{peer}", f"{codec}: {against}" if len(ours) > 1 else against))
    return out


def volumes(results: Record, anchors: dict[str, str]) -> Table:
    """All volumes: what they are, both games against a choice of peers, who refused or failed."""
    columns = [Column("Volume", numeric=False), Column("Group", numeric=False)]
    chosen = pairs(results)
    for pair, against in chosen:
        for game, _, variant in variants(results):
            head = f"Bits against {against}"
            head += ", rounded" if variant == "native" else ""
            columns.append(Column(_heading(game, "plain"), True, head, variant, pair))
    columns += [Column("Size"), Column("Type", numeric=False), Column("Zeros")]
    columns.append(Column("Refused or failed", numeric=False))
    rows = []
    for name, volume in (results.get("volumes") or {}).items():
        cells = [
            Cell(name, name, href=f"#{anchors[name]}"),
            Cell(str(volume.get("group") or "\N{EN DASH}"), volume.get("group")),
        ]
        for pair, _ in chosen:
            codec, _, peer = pair.rpartition("|")
            for _, key, _ in variants(results):
                cells.append(_bd_cell(volume, key, codec, peer))
        cells += [
            Cell(shape(volume.get("shape")), volume.get("raw_bytes")),
            Cell(str(volume.get("dtype") or "\N{EN DASH}"), volume.get("dtype")),
            Cell(share(volume.get("zeros")), volume.get("zeros")),
            _left_out(volume),
        ]
        rows.append(Row(cells))
    return Table("volumes", "Bits more (+) or fewer (\N{MINUS SIGN}), BD-rate", columns, rows)


def _bd_cell(volume: Record, game: str, codec: str, peer: str) -> Cell:
    found = (((volume.get("bd") or {}).get(game) or {}).get(codec) or {}).get(peer) or {}
    for kind in ("refused", "failed"):
        for name in (codec, peer):
            if name in (volume.get(kind) or {}):
                return bits(None, f"{name} {kind}")
    coverage = found.get("coverage")
    note = ""
    if found.get("percent") is not None and coverage is not None and coverage < _FULL:
        note = f"{share(coverage)} of range"
    elif found and found.get("percent") is None:
        note = "too little overlap"
    return bits(found.get("percent"), note)


def _left_out(volume: Record) -> Cell:
    parts = []
    for kind in ("failed", "refused"):
        for line in gaps.by_reason(volume.get(kind) or {}):
            parts.append(f"{kind}: {line}")
    return Cell("; ".join(parts) or "none", len(parts), "prose" if parts else "quiet")


def groups(results: Record) -> Table | None:
    """Mean and worst against the best peer, by group of volumes; None with a single group."""
    of = {n: str(v.get("group") or "no group") for n, v in (results.get("volumes") or {}).items()}
    ours = of_family(results, OURS)
    if not ours or not of:
        return None
    columns = [Column("Group", numeric=False), Column("Volumes")]
    for game, _, variant in variants(results):
        over = _heading(game, variant)
        columns += [Column(text, True, over, variant) for text in ("Mean", "Worst", "Won")]
    rows = []
    for codec in ours:
        for group in sorted(set(of.values())):
            inside = {n: v for n, v in (results["volumes"]).items() if of[n] == group}
            head = Cell(group, group, note=title(results, codec) if len(ours) > 1 else "")
            cells = [head, Cell(str(len(inside)), len(inside))]
            for _, key, _ in variants(results):
                part: Record = {"volumes": inside, "codecs": results["codecs"]}
                cells += _total_cells(totals(part, key, codec, BEST))
            rows.append(Row(cells))
    return Table("groups", "Groups of volumes, against the best peer", columns, rows)


def against_each(name: str, key: str, results: Record) -> Table | None:
    """All BD-rates of one volume with the ranges they were taken over."""
    bd = results["volumes"][name].get("bd") or {}
    rows = []
    ours = of_family(results, OURS)
    for codec in ours:
        for peer in opponents(results):
            cells = [Cell(title(results, peer), note=codec if len(ours) > 1 else "")]
            for _, game, _ in variants(results):
                found = ((bd.get(game) or {}).get(codec) or {}).get(peer) or {}
                cells.append(_ranged(found, game))
            if any(cell.value is not None for cell in cells):
                rows.append(Row(cells))
    columns = [Column("Against", numeric=False)]
    columns += [
        Column(_heading(g, variant), True, "", variant) for g, _, variant in variants(results)
    ]
    caption = "Bits more (+) or fewer (\N{MINUS SIGN}), and the range they were compared over"
    return Table(key, caption, columns, rows, sortable=False) if rows else None


def _ranged(found: Record, game: str) -> Cell:
    low, high = found.get("low"), found.get("high")
    if found.get("percent") is None or low is None or high is None:
        return bits(found.get("percent"))
    if game.startswith("psnr"):
        return bits(found["percent"], f"{number(low)} to {number(high)} dB")
    return bits(found["percent"], f"errors {number(10**-low)} to {number(10**-high)}")
