"""The report of a study in headless Chromium: plots, sorting, a phone's width, dark and light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_cases
from browsing import media, until

from volcodec.bench import report
from volcodec.bench.report import pictures

for library in ("plotly", "jinja2", "selenium"):
    pytest.importorskip(library, reason=f"this needs {library}")


@pytest.fixture
def shown(browser: Any, tmp_path: Path) -> Any:
    """The report in the browser, light, 1280 wide."""
    results = report_cases.results()
    volume = np.random.default_rng(3).random((9, 30, 40)).astype(np.float32)
    found = pictures.slices(volume, volume * 0.99, volume * 0.98, "brain", tmp_path, 1.0)
    side = {"codec": "sperr", "bpv": 0.4, "psnr": 40.0, "max": 0.01}
    results["volumes"]["brain"]["slices"] = {**found, "ours": side, "peer": side}
    media(browser, 1280, "light")
    browser.get(report.write(tmp_path, results).as_uri())
    yield browser
    log = browser.get_log("browser")
    assert not [line for line in log if line["level"] in ("SEVERE", "WARNING")]


def _open(browser: Any) -> None:
    browser.find_element("css selector", "#volume-1 > summary").click()
    browser.execute_script("document.querySelector('#volume-1').scrollIntoView()")
    until(browser, "document.querySelectorAll('#volume-1-error .trace').length > 0")


def test_plots_are_made_when_a_volume_is_opened(shown: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    assert shown.execute_script("return !window.Plotly && !document.querySelector('.trace')")
    _open(shown)
    traces = until(shown, "document.querySelectorAll('#volume-1-psnr .trace').length")
    assert traces == 5  # two lines, the points beside them, and those that lost nothing
    assert not shown.execute_script("return document.querySelector('#volume-2-psnr .trace')")
    loaded = "Array.from(document.images).filter((i) => i.naturalWidth > 0).length"
    assert until(shown, loaded) == 5

    point = shown.find_element("css selector", "#volume-1-psnr .trace .point:nth-child(2)")
    ActionChains(shown).move_to_element(point).perform()
    label = until(shown, "document.querySelector('#volume-1-psnr .hovertext')?.textContent")
    assert "bits per voxel" in label and "PSNR" in label

    shown.find_element("css selector", "#volume-1 .key[data-key='1']").click()
    until(shown, "document.querySelectorAll('#volume-1-psnr .trace').length === 3")
    shown.find_element("css selector", "#volume-1 .everything").click()
    until(shown, "document.querySelectorAll('#volume-1-psnr .trace').length === 3")


def _column(browser: Any, index: int) -> list[str]:
    script = (
        "return Array.from(document.querySelector('#volumes').tBodies[0].rows,"
        f" (row) => row.cells[{index}].dataset.value ?? '')"
    )
    return list(browser.execute_script(script))


def test_heads_sort_as_numbers_with_gaps_last(shown: Any) -> None:
    head = shown.find_element("css selector", "#volumes .sort[data-column='3']")
    assert _column(shown, 3) == ["-30.0", "-8.0", ""]
    head.click()
    assert _column(shown, 3) == ["-30.0", "-8.0", ""]
    head.send_keys(" ")  # the keyboard does it too
    assert _column(shown, 3) == ["-8.0", "-30.0", ""]
    state = "return arguments[0].closest('th').getAttribute('aria-sort')"
    assert shown.execute_script(state, head) == "descending"
    psnr = shown.find_element("css selector", "#volumes .sort[data-column='2']")
    psnr.click()
    assert _column(shown, 2) == ["-20.0", "-3.0", "4.5"]
    assert shown.execute_script(state, head) == "none"


def test_other_peers_and_rounded_ones_can_be_chosen(shown: Any) -> None:
    visible = (
        "Array.from(document.querySelectorAll('#volumes thead .group'))"
        ".filter((head) => head.offsetParent).map((head) => head.textContent)"
    )
    assert until(shown, visible) == ["Bits against the best peer"]
    shown.find_element("css selector", "#pair option:nth-child(2)").click()
    assert until(shown, visible) == ["Bits against SPERR <0.8>"]
    plain = "document.querySelector('#summary [data-variant=plain]').offsetParent !== null"
    assert until(shown, plain)
    shown.find_element("css selector", "#rounded").click()
    assert until(shown, f"!({plain})")
    assert until(
        shown, "document.querySelector('#summary [data-variant=native]').offsetParent !== null"
    )


def test_a_link_of_the_table_opens_its_volume(shown: Any) -> None:
    shown.find_element("css selector", "#volumes a[href='#volume-2']").click()
    until(shown, "document.querySelector('#volume-2').open")
    until(shown, "document.querySelectorAll('#volume-2-psnr .trace').length")


def test_phone_scrolls_inside_its_tables_only(shown: Any) -> None:
    media(shown, 375, "light")
    _open(shown)
    shown.execute_script(
        "for (const part of document.querySelectorAll('details')) part.open = true"
    )
    until(shown, "document.querySelectorAll('#volume-1-psnr .trace').length")
    assert until(shown, "document.documentElement.scrollWidth") <= 375
    shown.execute_script("window.scrollTo(200, 0)")
    assert shown.execute_script("return window.scrollX") == 0
    assert until(shown, "document.querySelector('#volumes').offsetWidth") > 375


def test_dark_follows_the_system_and_the_button(shown: Any) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    line = "getComputedStyle(document.querySelector('#volume-1-psnr .js-line')).stroke"
    _open(shown)
    light, light_line = until(shown, colour), until(shown, line)
    media(shown, 1280, "dark")
    dark = until(shown, colour)
    assert dark != light
    until(shown, f"{line} !== '{light_line}'")
    shown.find_element("css selector", "#theme").click()
    assert until(shown, colour) == light
    until(shown, f"{line} === '{light_line}'")
    shown.refresh()
    assert until(shown, colour) == light  # the choice is kept
    shown.execute_script("localStorage.clear()")
