"""Pages in 3-D: the voxels and figures that they carry, and the viewer that is put into them."""

from __future__ import annotations

import base64
import gzip
import json
import re
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import call, fails, works
from doc_pages import shell_examples
from volumes import CASES, blobs

import volcodec
from volcodec import page
from volcodec.page import library
from volcodec.page.coding import LOWEST, MINUS, NAN, Scale, encode, scale_of
from volcodec.page.reduction import factors

needs_viewer = pytest.mark.skipif(
    util.find_spec("ipyniivue") is None, reason="this needs ipyniivue"
)


def facts_of(path: Path) -> dict[str, Any]:
    found = re.search(r'id="facts">(.*?)</script>', path.read_text("utf-8"))
    assert found is not None
    return dict(json.loads(found[1]))


def voxels_of(path: Path) -> list[tuple[bytes, np.ndarray]]:
    """The header and the codes (Z, Y, X) of each panel."""
    out = []
    texts = re.findall(r'class="voxels">(.*?)</script>', path.read_text("utf-8"))
    for text, panel in zip(texts, facts_of(path)["panels"], strict=True):
        nifti = gzip.decompress(base64.b64decode(text))
        codes = np.frombuffer(nifti, f"<u{panel['bytes']}", offset=352)
        out.append((nifti[:352], codes.reshape(panel["shape"])))
    return out


def decoded(codes: np.ndarray, scale: Scale) -> np.ndarray:
    values = 2 * (scale.low / 2 + (codes.astype("f8") - LOWEST) * (scale.unit / 2))
    values[codes == NAN] = np.nan
    values[codes == MINUS] = -np.inf
    values[codes == scale.top + 1] = np.inf
    return values


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("noise_bits",)])
def test_codes_stand_for_the_values(name: str) -> None:
    volume = CASES[name]()
    values = volume.astype("f8")
    scale = scale_of([values], volume.dtype.kind in "iu")
    codes = encode(values, scale)
    again = decoded(codes, scale)
    finite = np.isfinite(values)
    assert np.array_equal(again[~finite], values[~finite], equal_nan=True)
    with np.errstate(over="ignore"):
        assert np.all(np.abs(again[finite] / 2 - values[finite] / 2) <= 0.26 * scale.unit)
    assert not again[values == 0].any()
    assert LOWEST <= scale.window[0] < scale.window[1] <= scale.top <= np.iinfo(codes.dtype).max
    if volume.dtype.itemsize == 1 and np.ptp(values) <= 252:
        assert codes.dtype == np.uint8 and np.array_equal(again, values)


def test_equal_colours_are_equal_values() -> None:
    low, high = np.zeros((2, 2, 2)), np.full((2, 2, 2), 9.0)
    scale = scale_of([low, high])
    assert decoded(encode(high, scale), scale).max() == pytest.approx(9)
    waves = np.sin(np.linspace(0, 60, 4096).reshape(16, 16, 16)) ** 9
    assert scale_of([waves]).signed and not scale_of([waves + 1]).signed
    assert sum(scale_of([waves]).window) == LOWEST + scale_of([waves]).top


def test_blocks_fit_the_budget() -> None:
    assert factors((100, 100, 100), 1 << 20) == (1, 1, 1)
    assert factors((4, 4096, 4096), 1 << 20) == (1, 8, 8)
    assert factors((2048, 3), 1 << 20) == (1, 2, 1)
    assert np.prod([-(-n // f) for n, f in zip((999, 777, 555), factors((999, 777, 555), 10**6),
                                               strict=True)]) <= 10**6  # fmt: skip


@needs_viewer
def test_page_of_a_reduced_volume(tmp_path: Path) -> None:
    volume = blobs((21, 18, 20), "page").astype("f4")
    copy = volume.astype("f8") + 1e-3
    copy[0, 0, 0] += 0.5
    volume[5:9, 4:8, 4:8] = copy[5:9, 4:8, 4:8] = np.nan
    copy[20, 0, 0] = np.inf
    volume[20, 0, 0] = np.inf
    np.save(tmp_path / "a.npy", volume)
    np.save(tmp_path / "b.npy", copy)
    out = tmp_path / "b.html"
    page.write(tmp_path / "b.npy", out, against=tmp_path / "a.npy", budget=3 * 800)
    facts = facts_of(out)
    assert facts["by"] == [3, 2, 2]
    titles = [panel["title"] for panel in facts["panels"]]
    assert titles == ["a.npy", "b.npy", "|error|"]
    (_, first), (_, second), (_, errors) = voxels_of(out)
    assert first.shape == second.shape == errors.shape == (7, 9, 10)
    assert (first == NAN).sum() == (second == NAN).sum() > 0
    error = facts["panels"][2]
    assert error["low"] == 0 and errors.max() == errors[0, 0, 0] == error["top"]
    assert error["unit"] * (error["top"] - LOWEST) == pytest.approx(0.501)
    a, b = ({k: v for k, v in panel.items() if k != "title"} for panel in facts["panels"][:2])
    assert a == b
    text = out.read_text("utf-8")
    assert "Reduced to 7 x 9 x 10" in text and "3 x 2 x 2 of the volume (means;" in text
    assert "max error, measured</dt><dd>0.501<" in text and "NaN" in text


@needs_viewer
def test_page_of_a_file_shows_its_coarse_level(tmp_path: Path, codec: volcodec.Codec) -> None:
    volume = blobs((24, 20, 28), "page").astype("f4")
    attrs = {"spacing": [4.0, 1.0, 0.5], "spacing_unit": "mm"}
    path = tmp_path / "a<b.vc"
    path.write_bytes(codec.encode(volume, rel_error=1e-3, attrs=attrs))
    out = tmp_path / "a.html"
    page.write(path, out, budget=2000)
    assert facts_of(out)["by"] == [2, 2, 2]
    ((header, codes),) = voxels_of(out)
    assert codes.shape == (12, 10, 14)
    steps = np.frombuffer(header, "<f4", 3, 80)  # x, y, z: the longest side, z, is 200
    assert np.allclose(steps / steps[2], [1 / 8, 1 / 4, 1]) and steps[2] * 12 == pytest.approx(200)
    panel = facts_of(out)["panels"][0]
    shown = panel["low"] + (codes.astype("f8") - LOWEST) * panel["unit"]
    assert np.abs(shown - volcodec.decode(path, level=1)).max() <= panel["unit"]
    text = out.read_text("utf-8")
    info = volcodec.inspect(path)
    assert "preview level 1 of the file" in text and "a&lt;b.vc" in text and "a<b.vc" not in text
    page.write(path, out, budget=30, force=True)
    assert "of which means were taken" in out.read_text("utf-8")
    assert np.prod(voxels_of(out)[0][1].shape) <= 30
    for figure in (f"{info.ratio:.4g}", info.model, f"{info.target} 0.001", "4 x 1 x 0.5 mm"):
        assert f"<dd>{figure}" in text


@needs_viewer
def test_page_of_one_slice(tmp_path: Path, codec: volcodec.Codec) -> None:
    (tmp_path / "a.vc").write_bytes(codec.encode(blobs((40, 30), "flat"), rel_error=1e-2))
    page.write(tmp_path / "a.vc", tmp_path / "a.html", budget=400)
    facts = facts_of(tmp_path / "a.html")
    assert facts["flat"] and facts["by"] == [1, 2, 2]
    assert facts["panels"][0]["shape"] == [1, 20, 15]


@needs_viewer
def test_view_writes_what_the_suffix_says(tmp_path: Path) -> None:
    pixels = tmp_path / "pixels.npy"
    np.save(pixels, blobs((20, 30), "flat"))
    out = tmp_path / "pixels.HTML"
    assert works("view", pixels, "-o", out).stdout == f"{out}\n"
    assert facts_of(out)["flat"] and voxels_of(out)[0][1].shape == (1, 20, 30)
    fails(call("view", pixels, "-o", out), 1, "--force")
    fails(call("view", pixels, "-o", tmp_path / "a.jpg"), 2, ".png", ".html")
    np.save(tmp_path / "other.npy", np.zeros((3, 4)))
    arguments = ["view", pixels, "-o", tmp_path / "b.html", "--against", tmp_path / "other.npy"]
    fails(call(*arguments), 1, "shapes differ")
    assert not (tmp_path / "b.html").exists()


@needs_viewer
def test_the_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)
    with h5py.File("scan.h5", "w") as file:
        file["volume"] = blobs((12, 14, 16), "view").astype("f4")
    volcodec.compress("scan.h5", "scan.vc")
    commands = shell_examples("view.md")
    assert len(commands) == 4
    for command in commands:
        works(*command)
    assert len(facts_of(Path("error.html"))["panels"]) == 3
    assert Path("error.png").read_bytes()[:4] == b"\x89PNG"


def test_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), "f4"))
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    result = call("view", tmp_path / "a.npy", "-o", tmp_path / "a.html")
    fails(result, 1, "pip install 'volcodec[page]'")


def test_the_library_is_found_in_its_widget() -> None:
    inner = (
        'var a="<!--</SCRIPT>",N=class{};log("NIIVUE VERSION ","0.5");export{b as c,N as Niivue};\n'
    )
    quoted = "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in inner)
    found = library.extract(f'let x="y",z="{quoted}";export{{q as default}}', "free")
    assert (found.niivue, found.version, found.licence) == ("N", "0.5", "free")
    assert found.code == r'var a="\x3c!--\x3c/SCRIPT>",N=class{};log("NIIVUE VERSION ","0.5");'
    for other in ("", "export{q as default}", f'z="{quoted.replace("N%20as%20", "")}', '"%FF"'):
        with pytest.raises(ValueError):
            library.extract(other, "")
