"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  const byId = (id) => document.getElementById(id);

  // ---- figures: drawn when they come into sight, painted with the colours of the page

  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const drawn = new Set();
  const touched = matchMedia("(pointer: coarse)").matches;

  function library() {
    if (!window.Plotly) {
      const script = document.createElement("script");
      script.textContent = byId("plotly-source").textContent;
      document.head.append(script);
    }
    return window.Plotly;
  }

  function painted(place) {
    const figure = JSON.parse(byId(place.dataset.figure).textContent);
    const ink = colour("ink");
    const surface = colour("surface");
    const grid = colour("grid");
    for (const trace of figure.data) {
      const own = colour(`s${trace.meta.series}`);
      if (trace.line) trace.line.color = own;
      trace.marker.color = own;
      if (trace.marker.pattern) trace.marker.pattern.bgcolor = surface;
      trace.hoverlabel = { bgcolor: surface, bordercolor: own, font: { color: ink, size: 12 }, align: "left" };
      if (trace.type === "bar") trace.outsidetextfont = { color: ink, size: 11 };
    }
    const layout = figure.layout;
    const family = getComputedStyle(document.body).fontFamily;
    layout.font = { family, size: 12, color: ink };
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.uirevision = String(place.closest(".figures").querySelector(".everything:checked") !== null);
    for (const axis of [layout.xaxis, layout.yaxis, layout.yaxis2]) {
      if (!axis) continue;
      axis.fixedrange = axis.fixedrange || touched;
      Object.assign(axis, { gridcolor: grid, linecolor: colour("strong-rule"), zeroline: false });
      axis.tickfont = { size: 11 };
    }
    const box = place.closest(".figures");
    if (box.querySelector(".everything:checked")) {
      for (const axis of [layout.xaxis, layout.yaxis]) {
        axis.autorange = axis === layout.yaxis && axis.type === "log" ? "reversed" : true;
      }
    }
    const hidden = all('.key[aria-pressed="false"]', box).map((key) => Number(key.dataset.key));
    for (const trace of figure.data) trace.visible = !hidden.includes(trace.meta.key);
    layout.dragmode = touched ? false : "zoom";
    for (const note of layout.annotations || []) note.font.color = colour("muted");
    return figure;
  }

  function draw(place) {
    const figure = painted(place);
    library().react(place, figure.data, figure.layout, {
      responsive: true, displaylogo: false, displayModeBar: false, showSendToCloud: false,
    });
    drawn.add(place);
  }

  const sight = new IntersectionObserver((seen) => {
    for (const entry of seen) {
      if (!entry.isIntersecting) continue;
      sight.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "250px" });
  for (const place of all(".plot")) sight.observe(place);

  for (const box of all(".figures")) {
    const again = () => all(".plot", box).filter((place) => drawn.has(place)).forEach(draw);
    for (const key of all(".key", box)) {
      key.addEventListener("click", () => {
        key.setAttribute("aria-pressed", String(key.getAttribute("aria-pressed") !== "true"));
        again();
      });
    }
    for (const everything of all(".everything", box)) everything.addEventListener("change", again);
  }

  // ---- light and dark

  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const button = byId("theme");
  function repaint() {
    button.textContent = dark() ? "Light page" : "Dark page";
    for (const place of drawn) draw(place);
  }
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("volcodec-theme", root.dataset.theme); } catch (error) { /* not kept */ }
    repaint();
  });
  system.addEventListener("change", repaint);
  repaint();

  // ---- tables: sorting; what is not there comes last in both directions

  function sort(head) {
    const control = head.querySelector(".sort");
    const table = head.closest("table");
    const index = Number(control.dataset.column);
    const numeric = control.dataset.numeric === "yes";
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const other of all("th[aria-sort]", table)) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const body = table.tBodies[0];
    const value = (row) => row.cells[index].dataset.value;
    const order = (a, b) => {
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      const way = numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
      return falling ? -way : way;
    };
    body.append(...Array.from(body.rows).sort((a, b) => order(value(a), value(b))));
  }
  for (const head of all("th[aria-sort]")) {
    head.querySelector(".sort").addEventListener("click", () => sort(head));
  }

  // ---- whom the table of volumes compares with

  for (const part of all(".scripted")) part.hidden = false;
  const pair = byId("pair");
  if (pair) {
    pair.addEventListener("change", () => {
      for (const cell of all("[data-pair]")) cell.hidden = cell.dataset.pair !== pair.value;
    });
  }

  // ---- sections of volumes

  const volumes = all("details.volume");
  const setAll = (open) => () => volumes.forEach((volume) => { volume.open = open; });
  byId("open-all").addEventListener("click", setAll(true));
  byId("close-all").addEventListener("click", setAll(false));
  function reveal(hash) {
    const target = hash.length > 1 && byId(decodeURIComponent(hash.slice(1)));
    if (target && target.matches("details.volume")) {
      target.open = true;
      target.scrollIntoView();
    }
  }
  for (const link of all('a[href^="#volume-"]')) {
    link.addEventListener("click", () => reveal(link.getAttribute("href")));
  }
  reveal(location.hash);
})();
