"""Pages in 3-D in headless Chromium: drawn, turned, leafed through, linked, without a network."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from importlib import util
from typing import Any

import numpy as np
import pytest
from browsing import media, until
from volumes import blobs

import volcodec
from volcodec import page

if util.find_spec("ipyniivue") is None:
    pytest.skip("this needs ipyniivue", allow_module_level=True)

SMALL = """
@media (min-width: 500px) { #panels { grid-template-columns: repeat(3, 200px) !important; } }
.stage { height: 80px !important; }
"""
DRAWN = "document.body.dataset.state"


@pytest.fixture(scope="module")
def url(codec: volcodec.Codec, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    volume = blobs((20, 24, 28), "page").astype("f4")
    np.save(folder / "a.npy", volume)
    (folder / "a.vc").write_bytes(codec.encode(volume, rel_error=1e-2))
    out = folder / "a.html"
    page.write(folder / "a.vc", out, against=folder / "a.npy")
    # few pixels, for they are drawn without a graphics card
    text = out.read_text("utf-8").replace(
        "</style>", ".stage { height: 120px !important; }</style>"
    )
    out.write_text(text, "utf-8")
    return out.as_uri()


@pytest.fixture(scope="module")
def loaded(browser: Any, url: str) -> Any:
    media(browser, 1000, "light")
    browser.get_log("performance")  # of the first, empty page
    browser.get(url)
    assert until(browser, DRAWN) == "drawn"
    return browser


@pytest.fixture
def shown(loaded: Any) -> Iterator[Any]:
    """The page with three panels, as it is at first."""
    media(loaded, 1000, "light")
    loaded.find_element("id", "reset").click()
    yield loaded
    assert not [
        line for line in loaded.get_log("browser") if line["level"] in ("SEVERE", "WARNING")
    ]


def pictures(browser: Any) -> list[np.ndarray]:
    """The pixels of each panel, once what is under way is drawn."""
    from PIL import Image

    browser.execute_async_script(
        "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()))"
    )
    stages = browser.find_elements("css selector", ".stage")
    return [np.asarray(Image.open(io.BytesIO(s.screenshot_as_png)).convert("L")) for s in stages]


def differ(before: list[np.ndarray], after: list[np.ndarray]) -> bool:
    return all(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def scenes(browser: Any) -> list[list[float]]:
    """Camera and place of each panel."""
    return list(browser.execute_script(
        "return volumePage.views.map(({nv: {scene: s}}) => "
        "[s.renderAzimuth, s.renderElevation, s.volScaleMultiplier, ...s.crosshairPos])"
    ))  # fmt: skip


def test_three_panels_are_drawn_without_a_network(shown: Any) -> None:
    found = pictures(shown)
    assert len(found) == 3
    for pixels in found:
        half = pixels.shape[1] // 2
        assert pixels[:, :half].std() > 3 and pixels[:, half:].std() > 3  # in 3-D and as a slice
    assert np.abs(found[0].astype(int) - found[1]).mean() < 2  # original and decoded
    events = [json.loads(line["message"])["message"] for line in shown.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"].endswith("WillBeSent")]
    assert asked and all(place.split(":")[0] in ("file", "data", "blob") for place in asked)
    assert "PSNR, measured" in shown.find_element("css selector", "dl").text


def test_slices_are_leafed_through_in_all_panels(shown: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    shown.find_element("css selector", "[data-mode=slice]").click()
    before = pictures(shown)
    shown.find_element("id", "place").send_keys("\ue014\ue014\ue014")  # arrow to the right
    after = pictures(shown)
    assert differ(before, after)
    reads = [read.text for read in shown.find_elements("css selector", ".read")]
    assert all(read.startswith("z 13, y 12, x 14: ") for read in reads)
    first = shown.find_element("css selector", ".stage canvas")
    ActionChains(shown).move_to_element(first).scroll_from_origin(_origin(first), 0, 200).perform()
    assert differ(after, pictures(shown))
    assert len({tuple(scene) for scene in scenes(shown)}) == 1
    shown.find_element("css selector", "[data-axis='0']").click()
    assert until(shown, "document.querySelector('#place').max === '27'")
    shown.find_element("css selector", "[data-axis='2']").click()
    shown.find_element("css selector", "[data-mode=both]").click()


def _origin(element: Any) -> Any:
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    return ScrollOrigin.from_element(element)


def test_turning_one_turns_all(shown: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    shown.find_element("css selector", "[data-mode=turn]").click()
    before, start = pictures(shown), scenes(shown)[0]
    second = shown.find_elements("css selector", ".stage canvas")[1]
    ActionChains(shown).drag_and_drop_by_offset(second, 60, 30).perform()
    assert differ(before, pictures(shown))
    found = scenes(shown)
    assert found[0] == found[1] == found[2] and found[0][:2] != start[:2]
    whole = pictures(shown)
    shown.find_element("id", "cut").click()
    assert differ(whole, pictures(shown))
    shown.find_element("css selector", "[data-mode=both]").click()


def test_original_and_decoded_share_their_colours(shown: Any) -> None:
    windows = "volumePage.views.map(({nv}) => [nv.volumes[0].cal_min, nv.volumes[0].cal_max])"
    before, drawn = shown.execute_script(f"return {windows}"), pictures(shown)
    assert before[0] == before[1]
    shown.find_element("id", "high").send_keys("\ue010\ue012" + "\ue00f" * 2)  # end, left, page
    after = shown.execute_script(f"return {windows}")
    assert after[0] == after[1] != before[0] and after[2] == before[2]
    assert differ(drawn[:2], pictures(shown)[:2])


def test_phone_dark_and_light(shown: Any) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = until(shown, colour)
    media(shown, 390, "dark")
    assert until(shown, colour) != light
    assert until(shown, "document.documentElement.scrollWidth") <= 390
    width = "document.querySelector('.stage canvas').width"
    assert until(shown, f"{width} < 390 && {width}") > 300
    assert all(pixels.std() > 3 for pixels in pictures(shown))


def test_without_webgl_it_says_so(browser: Any, loaded: Any, url: str) -> None:
    none = {"source": "HTMLCanvasElement.prototype.getContext = () => null"}
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", none)
    try:
        browser.get(url)
        assert until(browser, DRAWN) == "failed"
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    assert "WebGL 2" in browser.find_element("id", "missing").text
    assert "bits per voxel" in browser.find_element("css selector", "dl").text
    assert not browser.find_element("id", "controls").is_displayed()
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
