"""The report of a study: what it says and shows, and that it needs no network."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_cases
from report_cases import PERCENTS, REASON, Record, curve

from volcodec.bench import report
from volcodec.bench.report import gaps, pictures, words
from volcodec.errors import InputError

for library in ("plotly", "jinja2"):
    pytest.importorskip(library, reason=f"the report needs {library}")


@pytest.fixture
def results() -> Record:
    return report_cases.results()


class Page(HTMLParser):
    """What a page loads, the text a reader sees, and its parts by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text = ""
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.pictures: list[str] = []
        self.styles = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("script", "style"):
            self._inside = tag
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
                self.loads.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name == "style":
                self.styles += f"{value};"
            if tag == "img" and name == "src":
                self.pictures.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.styles += data
        elif not self._inside:
            self.text += data


def _page(folder: Path, results: Record) -> Page:
    return Page(report.write(folder, results).read_text(encoding="utf-8"))


def test_page_names_every_volume_and_loads_nothing(tmp_path: Path, results: Record) -> None:
    page = _page(tmp_path, results)
    assert all(name in page.text for name in results["volumes"])
    assert not [load for load in page.loads if not load.startswith(("#", "data:"))]
    assert "url(" not in page.styles and "@import" not in page.styles
    assert len(page.ids) == len(set(page.ids))
    assert "b" not in page.tags  # a volume is called so
    assert page.tags.count("h1") == 1 and page.tags.count("table") == page.tags.count("caption")
    assert "docs/benchmarking.md" in page.text


def test_finding_names_what_is_lost(results: Record) -> None:
    finding = words.finding(results).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "6.2 % fewer bits at equal PSNR and 19.0 % fewer at equal maximum error" in finding
    assert "means over 3 and 2 volumes" in finding
    assert finding.endswith("it loses on 1 of 3: cube (at equal PSNR).")
    results["volumes"]["brain"]["bd"]["error"]["volcodec"]["best"]["percent"] = 80.0
    results["summary"] = {}
    finding = words.finding(results).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "36.0 % more at equal maximum error" in finding
    assert finding.endswith(
        "it loses on 2 of 3: cube (at equal PSNR), brain (at equal maximum error)."
    )


def test_what_is_not_there_is_said(tmp_path: Path, results: Record) -> None:
    results["volumes"]["brain"]["failed"] = {"sperr": "process died with status -11"}
    del results["volumes"]["brain"]["points"]["sperr"]
    results["unread"] = {"data/broken.h5": "no dataset of numbers"}
    text = _page(tmp_path, results).text
    assert REASON in text
    assert "jpeg2k: takes integers only" in text
    assert f"refused on {', '.join(PERCENTS)}: takes integers only" in text
    assert "failed on brain: process died with status -11" in text
    assert "because it could not be read: data/broken.h5." in text
    said = gaps.not_measured(results)
    assert "data/broken.h5 could not be read: no dataset of numbers" in said
    assert "SSIM: measured at no point." in said
    assert f"No slices were drawn of any of the {len(PERCENTS)} volumes." in said
    assert any("could not be compared at equal maximum error" in line for line in said)
    assert all(line in text for line in said)
    del results["volumes"]["cube"]["points"]["sperr"]
    assert "SPERR <0.8> has no points on cube, and no reason is recorded." in (
        gaps.not_measured(results)
    )


def test_figures_are_json_that_no_name_can_end(tmp_path: Path, results: Record) -> None:
    results["codecs"]["sperr"]["title"] = "</script><!--"
    text = report.write(tmp_path, results).read_text(encoding="utf-8")
    found = re.findall(r'<script type="application/json" id="[^"]+">(.*?)</script>', text)
    assert len(found) == 2 * len(PERCENTS) + 1
    for figure in map(json.loads, found):
        assert figure["data"] and all("meta" in trace for trace in figure["data"])
    codecs = {trace["name"] for trace in json.loads(found[0])["data"]}
    assert codecs == {"volcodec 0.1.0 (density-1)", "&lt;/script&gt;&lt;!--"}


def test_own_error_is_the_one_promised(tmp_path: Path, results: Record) -> None:
    for points in results["volumes"]["brain"]["points"].values():
        for point in points:
            if point["target"] == "max_error":
                point["max"] = point["asked"] / 2
    text = report.write(tmp_path, results).read_text(encoding="utf-8")
    found = re.search(r'id="volume-1-error-data">(.*?)</script>', text)
    assert found
    lines = {t["meta"]["key"]: t for t in json.loads(found[1])["data"] if "line" in t}
    assert lines[0]["y"] == pytest.approx([1e-2, 1e-3])
    assert lines[1]["y"] == pytest.approx([5e-3, 5e-4])


def _emptied(value: Any) -> Any:
    """The same keys with null for every value that is not a record of records."""
    if isinstance(value, dict):
        return {key: _emptied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_emptied(inner) for inner in value]
    return None


def test_null_fields_and_next_to_nothing_still_make_a_page(tmp_path: Path, results: Record) -> None:
    bare = {"codecs": {"volcodec": results["codecs"]["volcodec"]}}
    one = {**bare, "volumes": {"brain": {"points": {"volcodec": curve(0.3)}}}}
    empty_volume: Record = {**bare, "volumes": {"brain": {}}}
    nulls = {**_emptied(results), "codecs": results["codecs"]}
    keys = ("format", "conditions", "codecs", "volumes", "summary", "throughput")
    for case in ({}, bare, one, empty_volume, nulls, dict.fromkeys(keys)):
        page = _page(tmp_path, case)
        assert "No volume could be compared with a peer" in page.text
        assert "not recorded" in page.text
        assert all(name in page.text for name in case.get("volumes") or {})


def test_several_models_are_told_apart(tmp_path: Path, results: Record) -> None:
    text = json.dumps(results).replace('"volcodec":', '"volcodec:a":')
    several = json.loads(text)
    several["codecs"]["volcodec:b"] = {"title": "other", "family": "volcodec", "missing": None}
    for volume in several["volumes"].values():
        volume["points"]["volcodec:b"] = curve(0.5)
        volume["bd"]["psnr"]["volcodec:b"] = {"best": {"percent": 12.0, "coverage": 1.0}}
    page = _page(tmp_path, several)
    assert "Against the best peer volcodec:a needs" in page.text
    assert "other: 12.0" in page.text.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "volcodec:b: the best peer" in page.text


def test_missing_libraries_are_named(
    tmp_path: Path, results: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs jinja2 and plotly"):
        report.write(tmp_path, results)
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------- pictures


def _pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.rint(np.asarray(imread(path))[..., :3] * 255).astype(int)


def test_slices_share_one_error_scale(tmp_path: Path, results: Record) -> None:
    volume = np.zeros((8, 20, 30), np.float32)
    volume[:] = np.linspace(0, 100, 600, dtype=np.float32).reshape(20, 30)
    volume[4, 0, 0], volume[4, 0, 1] = np.nan, np.inf
    ours, peer = volume + np.float32(1), volume + np.float32(2)
    ours[4, 5, 5] = np.nan
    found = pictures.slices(volume, ours, peer, "a/b <c>", tmp_path, 100.0)
    assert (found["axis"], found["index"]) == (0, 4)
    assert found["error_scale"] == pytest.approx(0.02, rel=1e-3)
    images = {name: _pixels(tmp_path / file) for name, file in found["files"].items()}
    assert set(images) == {"original", "ours", "ours_error", "peer", "peer_error"}
    assert all(image.shape == (20, 30, 3) for image in images.values())
    strange = [int(pictures.nan_colour()[i : i + 2], 16) for i in (1, 3, 5)]
    # the first row of the slice is the lowest of the picture
    for image in images.values():
        assert image[-1, 0].tolist() == strange
        assert image[-1, 1].tolist() == strange
        assert image[0, 0].tolist() != strange
    colours = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in pictures.error_colours(3)]
    assert np.abs(images["ours_error"][2, 3] - colours[1]).max() <= 6
    assert images["peer_error"][2, 3].tolist() == colours[2]
    assert images["ours"][-6, 5].tolist() == strange
    assert images["ours_error"][-6, 5].tolist() == colours[2]

    results["volumes"]["cube"]["slices"] = {
        **found,
        "ours": {"codec": "volcodec", "bpv": 0.41, "psnr": 45.2, "max": 0.02},
        "peer": {"codec": "sperr", "bpv": 0.42, "psnr": None, "max": None},
    }
    page = _page(tmp_path, results)
    assert len(page.pictures) == 5
    assert all(uri.startswith("data:image/png;base64,") for uri in page.pictures)
    assert "0.41 bits per voxel, PSNR 45.2 dB" in page.text
    (tmp_path / found["files"]["peer"]).unlink()
    assert "picture not there" in _page(tmp_path, results).text


@pytest.mark.parametrize(
    "volume",
    [
        np.arange(6, dtype=np.uint64).reshape(1, 2, 3),
        np.zeros((3, 4, 5), np.int16),
        np.full((2, 3, 4), np.nan),
        np.array([[[-1.7e308, 1.7e308], [0, np.inf]]]),
        np.ones((1, 1, 1), np.float16),
        np.zeros((2, 3, 4), bool),
    ],
    ids=["2d", "flat", "nan", "huge", "voxel", "bool"],
)
def test_slices_of_odd_volumes(tmp_path: Path, volume: np.ndarray) -> None:
    with np.errstate(all="raise"):
        found = pictures.slices(volume, volume, None, "odd", tmp_path, 0.0)
    assert set(found["files"]) == {"original", "ours", "ours_error"}
    assert found["error_scale"] == 0
    json.dumps(found, allow_nan=False)


def test_slices_reduce_large_planes_and_keep_lone_errors(tmp_path: Path) -> None:
    volume = np.add.outer(np.arange(2.0), np.add.outer(np.arange(900.0), np.arange(500.0)))
    copy = volume.copy()
    copy[1, 450, 250] += 1000
    found = pictures.slices(volume, copy, copy, "large", tmp_path, 1400.0)
    assert (found["axis"], found["index"]) == (0, 1)
    image = _pixels(tmp_path / found["files"]["ours_error"])
    assert image.shape == (300, 167, 3)
    assert (image.sum(2) > image.sum(2).min()).sum() == 1
    with pytest.raises(ValueError, match="one shape"):
        pictures.slices(volume, copy[:1], None, "x", tmp_path, 1.0)
