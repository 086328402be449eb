"""Renders an evaluation as one HTML page that needs no other file and runs no script."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape

from service.evaluation.charts import cmc_chart, det_chart, histogram_chart
from service.evaluation.figures import (
    Identification,
    LostPhoto,
    Mistake,
    PairFigures,
    PointFigures,
    SiteEvaluation,
)
from service.evaluation.sentences import (
    acquisition_sentence,
    condition_words,
    coverage_sentence,
    default_warnings,
    pair_words,
    percent,
)

# The data URL of a photo by its name; None if there is none to show.
Picture = Callable[[str], str | None]
MOST_PICTURES = 300
CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root{color-scheme:light dark;--ink:#1c2024;--soft:#5b6470;--line:#d9dde2;--back:#fff;--panel:#f6f7f9;
--bad:#b42318;--c0:#2563c9;--c1:#c2571a;--c2:#2b8a57;--c3:#8a3fb0;--c4:#a38500;--c5:#c02d6d}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa4b0;--line:#333a42;--back:#14171a;
--panel:#1c2024;--bad:#ff8a7a;--c0:#7aa7ff;--c1:#ffa366;--c2:#6fd19b;--c3:#cf9bf0;--c4:#e0c64a;--c5:#ff8fbd}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:1080px;
margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.6rem;margin:0 0 4px}h2{margin:36px 0 8px;font-size:1.2rem}h3{margin:20px 0 4px;font-size:1rem}
p.soft,figcaption,small{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}
.scroll{overflow-x:auto}th,td{border-bottom:1px solid var(--line);padding:5px 8px;text-align:left}
th{color:var(--soft);font-weight:600}td.n,th.n{text-align:right}
ul.plain{padding-left:1.1em}.bad{color:var(--bad)}
.row{display:flex;flex-wrap:wrap;gap:16px}.card{background:var(--panel);border:1px solid var(--line);
border-radius:8px;padding:10px;flex:1 1 420px;min-width:0;max-width:526px;box-sizing:border-box}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(280px,1fr));gap:12px}
.tile{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:8px;margin:0}
.tile img{width:128px;height:128px;object-fit:contain;border-radius:4px;margin-right:4px}
.tile figcaption{overflow-wrap:anywhere;font-size:.82rem}
svg{width:100%;height:auto;font:10px system-ui,sans-serif}svg text{fill:var(--soft)}
.grid{stroke:var(--line)}.curve{fill:none;stroke-width:1.8}.area{fill-opacity:.28;stroke-width:1.2}
.limit{stroke:var(--ink);stroke-dasharray:3 3}text.limit{stroke:none;fill:var(--ink)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 14px;padding:0;margin:4px 0 0;font-size:.82rem}
.key{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:5px;vertical-align:-1px}
""" + "".join(
    f".ink{n}{{stroke:var(--c{n})}}.area.ink{n}{{fill:var(--c{n})}}.key.ink{n}{{background:var(--c{n})}}"
    for n in range(6)
)


def render(evaluation: SiteEvaluation, *, title: str, made_at: str, picture: Picture) -> str:
    """Returns the page. Names of files and subjects stand in it, and `picture` adds the photos."""
    shown = _Pictures(picture)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(_summary(evaluation, made_at))}</p>',
        "<h2>What the photos support</h2>",
        _list(coverage_sentence(one) for one in evaluation.pairs),
        _list(acquisition_sentence(one) for one in evaluation.acquisition),
        _list(default_warnings(evaluation)),
        "<h2>Thresholds</h2>",
        _thresholds(evaluation),
        "<h2>Curves</h2>",
        _curves(evaluation),
        "<h2>Identification</h2>",
        _identification(evaluation.identification),
        "<h2>The worst mistakes</h2>",
        _mistakes(evaluation.mistakes, shown),
        "<h2>Photos without a template</h2>",
        _lost(evaluation.lost, shown),
        "<h2>Seen otherwise than labelled</h2>",
        _list(f"{one.name}: labelled {one.labelled}, seen {one.seen}" for one in evaluation.otherwise_seen)
        or "<p>None.</p>",
        HOW_TO_READ,
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{CSP}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


class _Pictures:
    """Gives the pictures of the page, until there are enough of them."""

    def __init__(self, picture: Picture) -> None:
        self._picture, self._left = picture, MOST_PICTURES

    def __call__(self, name: str) -> str:
        if self._left <= 0:
            return ""
        data = self._picture(name)
        if data is None:
            return ""
        self._left -= 1
        return f'<img alt="{escape(name)}" src="{data}">'


def _summary(evaluation: SiteEvaluation, made_at: str) -> str:
    whose = "enrolled references" if evaluation.against == "gallery" else "references"
    said = (
        f"{made_at}. {evaluation.references} {whose} and {evaluation.probes} probes of"
        f" {evaluation.subjects} subjects; space {evaluation.space_id}"
    )
    said += f", bundle {evaluation.bundle}" if evaluation.bundle else ""
    if evaluation.gallery_templates is not None:
        said += f"; the service's gallery has {evaluation.gallery_templates} templates"
    return said + "."


def _list(sentences: Iterable[str], kind: str = "") -> str:
    items = "".join(f'<li class="{kind}">{escape(sentence)}</li>' for sentence in sentences)
    return f'<ul class="plain">{items}</ul>' if items else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; columns that begin with `>` are right-aligned."""
    kinds = [' class="n"' if column.startswith(">") else "" for column in columns]
    head = "".join(
        f"<th{kind}>{escape(column.removeprefix('>'))}</th>"
        for column, kind in zip(columns, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{escape(str(cell))}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


COLUMNS = (
    *("camera", "references/probes", ">FMR", ">threshold", ">false matches", ">FMR at most"),
    *(">FNMR", "method", ">threshold now", ">FMR now", ">FNMR now"),
)


def _thresholds(evaluation: SiteEvaluation) -> str:
    rows = [row for one in evaluation.pairs for row in point_rows(one)]
    return _table(COLUMNS, rows) if rows else "<p>No threshold is supported.</p>"


def point_rows(one: PairFigures) -> Iterable[tuple[object, ...]]:
    """Rows of a table with `COLUMNS`: what a threshold does, beside the one in force."""
    known = {point.fmr: point for point in one.in_force}
    mine = {point.fmr: point for point in one.suggested}
    for fmr in sorted({*known, *mine}, reverse=True):
        yield (
            one.camera or "all",
            one.pair,
            f"{fmr:g}",
            *_suggested(one, mine.get(fmr)),
            *_in_force(known.get(fmr)),
        )


def _suggested(one: PairFigures, point: PointFigures | None) -> tuple[object, ...]:
    if point is None:
        return ("not supported", "", "", "", "")
    seen = f"{point.false_matches} of {one.coverage.comparisons}"
    return f"{point.threshold:.4f}", seen, f"{point.fmr_upper:.2g}", percent(point.fnmr), point.method


def _in_force(point: PointFigures | None) -> tuple[object, ...]:
    if point is None:
        return ("-", "", "")
    return f"{point.threshold:.4f}", f"{point.fmr_upper:.2g}", percent(point.fnmr)


def _curves(evaluation: SiteEvaluation) -> str:
    det = det_chart([(pair_words(one), one.det) for one in evaluation.pairs])
    cmc = cmc_chart([(_search_words(one), one.cmc) for one in evaluation.identification])
    cards = [f'<div class="card"><h3>DET</h3>{det}</div>', f'<div class="card"><h3>CMC</h3>{cmc}</div>']
    for one in evaluation.pairs:
        limits = [(f"FMR {point.fmr:g}", point.threshold) for point in one.suggested]
        chart = histogram_chart(one.histogram, limits)
        cards.append(f'<div class="card"><h3>Scores: {escape(pair_words(one))}</h3>{chart}</div>')
    return f'<div class="row">{"".join(cards)}</div>'


def _search_words(one: Identification) -> str:
    words = f"{condition_words(one.condition)} probes"
    return words if one.camera is None else f"{words}, camera {one.camera}"


def _identification(found: Sequence[Identification]) -> str:
    rows = []
    for one in found:
        first = (_search_words(one), one.searches, f"{one.enrolled} ({one.references})", percent(one.rank1))
        if not one.at:
            rows.append((*first, "-", "", "", "", ""))
        rows += [
            (
                *first,
                f"{at.fmr:g}",
                "suggested" if at.source == "suggested" else "in force",
                percent(at.fpir),
                percent(at.fpir_at_gallery),
                percent(at.fnir),
            )
            for at in one.at
        ]
    columns = ("probes", ">searches", ">subjects (references)", ">rank-1", ">FMR", "thresholds")
    return _table((*columns, ">FPIR here", ">FPIR at the gallery's size", ">FNIR"), rows)


def _mistakes(found: Sequence[Mistake], shown: _Pictures) -> str:
    tiles = []
    for one in found:
        said = "different people" if one.kind == "false_match" else "the same person"
        limit = "" if one.threshold is None else f", threshold in force {one.threshold:.4f}"
        verdict = " <b class=bad>decided wrongly</b>" if one.wrong else ""
        tiles.append(
            f'<figure class="tile">{shown(one.probe)}{shown(one.reference)}<figcaption>{said}, score'
            f" {one.score:.4f}{limit}{verdict}<br>{escape(one.probe)}<br>{escape(one.reference)}</figcaption>"
            "</figure>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _lost(found: Sequence[LostPhoto], shown: _Pictures) -> str:
    if not found:
        return "<p>None.</p>"
    tiles = [
        f'<figure class="tile">{shown(one.name)}<figcaption>{escape(one.name)}<br>'
        f"<b>{escape(one.code)}</b>: {escape(one.detail)}</figcaption></figure>"
        for one in found
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


HOW_TO_READ = """<h2>How to read this</h2><ul class="plain">
<li>FMR: the share of comparisons of different people that a threshold accepts. “FMR at most” is its one-sided
95 % upper bound, with people as clusters.</li>
<li>FNMR: the share of comparisons of the same person that it rejects, probes without a template among them.
Intervals are 95 %, over subjects.</li>
<li>An FMR is supported if the comparisons are worth at least 3/FMR independent ones. “extrapolated”: fewer
than 30 false matches were seen at it, and the tail of the scores is modelled.</li>
<li>FPIR: a search for somebody who is not among the references finds somebody. At the gallery's size it is
scaled as if comparisons were independent. FNIR: a search for somebody who is there does not find them
first.</li>
<li>FTA: a probe gave no template. FTE: a reference gave none. Broken files count in neither.</li></ul>"""
