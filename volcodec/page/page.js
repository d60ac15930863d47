"use strict";
// One NiiVue for each panel; what one shows of camera and place, all show.
(() => {
  const byId = (id) => document.getElementById(id);
  const facts = JSON.parse(byId("facts").textContent);
  const NAN = 0, MINUS = 1, LOWEST = 2; // codes of NaN, -Inf and the least value
  const HEADER = 352; // bytes before the voxels
  const SLICES = [2, 1, 0], TURN = 4; // NiiVue's slice types across x, y, z, and 3-D
  const AXES = "xyz";
  const SIGNED = "blue to red";
  const MAPS = ["inferno", "viridis", "plasma", "gray", "bone", "hot"];
  const START = { azimuth: 120, elevation: 18, zoom: 0.95, pan: [0, 0, 0, 1], at: [0.5, 0.5, 0.5] };
  // zero lies in the middle, where nothing is drawn
  const SIGNED_MAP = {
    R: [150, 60, 20, 0, 110, 225, 255], G: [225, 140, 50, 0, 30, 110, 220],
    B: [255, 240, 120, 0, 20, 40, 130], A: [230, 110, 24, 0, 24, 110, 230],
    I: [0, 64, 112, 128, 144, 192, 255],
  };
  const lengths = facts.panels[0].shape.slice().reverse(); // along x, y, z
  const scale = facts.panels[0];
  const views = [];
  const state = { mode: facts.flat ? "slice" : "both", axis: 2, window: scale.window.slice(),
    map: scale.signed ? SIGNED : MAPS[0] };
  let scene = null; // what all panels show
  const waiting = new Set(); // panels to be drawn with the next frame

  function fail(text) {
    byId("missing").textContent = text;
    byId("missing").hidden = false;
    for (const id of ["controls", "colouring", "hint", "panels"]) byId(id).hidden = true;
    document.body.dataset.state = "failed";
  }

  function hasWebGL2() {
    const probe = document.createElement("canvas").getContext("webgl2");
    probe?.getExtension("WEBGL_lose_context")?.loseContext();
    return Boolean(probe);
  }

  async function unpack(element) {
    const bytes = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
    element.remove();
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(plain).arrayBuffer();
  }

  const codesOf = (fact, buffer) =>
    fact.bytes === 1 ? new Uint8Array(buffer, HEADER) : new Uint16Array(buffer, HEADER);

  // where zero is clear, the lowest code is not: what is NaN becomes a zero
  function drawable(fact, buffer) {
    if (!fact.signed || !codesOf(fact, buffer).includes(NAN)) return buffer;
    const copy = buffer.slice(0), codes = codesOf(fact, copy), zero = (LOWEST + fact.top) / 2;
    for (let i = 0; i < codes.length; i++) if (codes[i] === NAN) codes[i] = zero;
    return copy;
  }

  const text = (value) => {
    const size = Math.abs(value);
    if (size && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
    return String(Number(value.toPrecision(4)));
  };
  // by halves, for a range may be more than a number can hold
  const valueOf = (fact, code) => 2 * (fact.low / 2 + (code - LOWEST) * (fact.unit / 2));

  function element(parent, name, className = "", content = "") {
    const made = parent.appendChild(document.createElement(name));
    made.className = className;
    made.textContent = content;
    return made;
  }

  async function addPanel(Niivue, fact, buffer) {
    const figure = element(byId("panels"), "figure");
    element(figure, "h2", "", fact.title);
    const canvas = element(element(figure, "div", "stage"), "canvas");
    canvas.setAttribute("aria-label", `${fact.title}, drawn`);
    canvas.setAttribute("role", "img");
    const caption = element(figure, "figcaption"), bar = element(caption, "div", "bar");
    const low = element(bar, "span"), colours = element(bar, "canvas"), high = element(bar, "span");
    colours.width = 256;
    colours.height = 1;
    const read = element(caption, "p", "read");
    const nv = new Niivue({
      logLevel: "error", dragAndDropEnabled: false, isOrientationTextVisible: false,
      dragMode: 0, crosshairColor: [0.6, 0.6, 0.6, 1], crosshairWidth: 0.3, crosshairWidthUnit: "percent", backColor: [0, 0, 0, 1],
      clipPlaneColor: [0, 0, 0, 0], loadingText: "", viewModeHotKey: "", clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
    });
    nv.resetBriCon = () => {}; // a double click would change colours here and not beside
    nv.addColormap(SIGNED, SIGNED_MAP);
    await nv.attachToCanvas(canvas, true);
    await nv.loadFromArrayBuffer(drawable(fact, buffer), "volume.nii");
    views.push({ nv, fact, codes: codesOf(fact, buffer), low, high, colours, read, canvas });
  }

  function paint(view) {
    const { nv, fact } = view, volume = nv.volumes[0];
    const [low, high] = fact.error ? fact.window : state.window;
    volume._colormap = fact.error ? "viridis" : state.map;
    [volume.cal_min, volume.cal_max] = [low, high];
    nv.updateGLVolume();
    [view.low.textContent, view.high.textContent] = [low, high].map((c) => text(valueOf(fact, c)));
    const table = nv.colormap(volume._colormap), row = new Uint8ClampedArray(1024);
    for (let i = 0; i < 1024; i++) row[i] = i % 4 === 3 ? 255 : table[i];
    view.colours.getContext("2d").putImageData(new ImageData(row, 256, 1), 0, 0);
  }

  function arrange(view) {
    const { nv, canvas } = view, slice = { sliceType: SLICES[state.axis] }, turn = { sliceType: TURN };
    const wide = canvas.clientWidth > 1.2 * canvas.clientHeight;
    if (state.mode === "both") {
      turn.position = wide ? [0, 0, 0.5, 1] : [0, 0, 1, 0.5];
      slice.position = wide ? [0.5, 0, 0.5, 1] : [0, 0.5, 1, 0.5];
    }
    if (state.mode === "slice") slice.position = [0, 0, 1, 1];
    if (state.mode === "turn") turn.position = [0, 0, 1, 1];
    nv.setCustomLayout([turn, slice].filter((tile) => tile.position));
  }

  const sceneOf = ({ scene: s }) => ({ azimuth: s.renderAzimuth, elevation: s.renderElevation,
    zoom: s.volScaleMultiplier, pan: [...s.pan2Dxyzmm], at: [...s.crosshairPos] });

  function show(found, but = null) {
    scene = found;
    for (const { nv } of views.filter((view) => view.nv !== but)) {
      nv.scene.renderAzimuth = found.azimuth;
      nv.scene.renderElevation = found.elevation;
      nv.scene.volScaleMultiplier = found.zoom;
      nv.scene.pan2Dxyzmm = Float32Array.from(found.pan);
      nv.scene.crosshairPos = Float32Array.from(found.at);
      if (!waiting.size) requestAnimationFrame(draw);
      waiting.add(nv);
    }
    tell();
  }

  function draw() {
    const found = [...waiting];
    waiting.clear();
    for (const nv of found) nv.drawScene();
  }

  // NiiVue calls it after each drawing
  function follow(nv) {
    const found = sceneOf(nv);
    if (JSON.stringify(found) === JSON.stringify(scene)) return;
    const moved = found.at.some((part, i) => part !== scene.at[i]);
    show(found, nv);
    if (moved) requestAnimationFrame(cut);
  }

  const indexOf = (axis) =>
    Math.min(lengths[axis] - 1, Math.max(0, Math.floor(scene.at[axis] * lengths[axis])));

  function tell() {
    const [x, y, z] = [0, 1, 2].map(indexOf), real = [x * facts.by[2], y * facts.by[1], z * facts.by[0]];
    for (const { fact, codes, read } of views) {
      const code = codes[x + lengths[0] * (y + lengths[1] * z)];
      const value = code === NAN ? "NaN" : code === MINUS ? "−∞"
        : code > fact.top ? "∞" : text(valueOf(fact, code));
      const place = facts.flat ? `y ${real[1]}, x ${real[0]}` : `z ${real[2]}, y ${real[1]}, x ${real[0]}`;
      read.textContent = `${place}: ${value}`;
    }
    byId("place").value = indexOf(state.axis);
    byId("place-value").textContent = real[state.axis];
  }

  // the part before the slice is left out of 3-D
  function cut() {
    const beyond = 0.5 - (indexOf(state.axis) + 0.5) / lengths[state.axis];
    const [azimuth, elevation, side] = [[270, 0, 1], [180, 0, -1], [0, 90, -1]][state.axis];
    const plane = byId("cut").checked ? [side * beyond, azimuth, elevation] : [2, 0, 0];
    for (const { nv } of views) nv.setClipPlane(plane);
  }

  function update() {
    for (const button of document.querySelectorAll("[data-mode]"))
      button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode));
    for (const button of document.querySelectorAll("[data-axis]"))
      button.setAttribute("aria-pressed", String(Number(button.dataset.axis) === state.axis));
    byId("panels").dataset.mode = state.mode;
    byId("place").max = lengths[state.axis] - 1;
    byId("place-name").textContent = AXES[state.axis];
    views.forEach(arrange);
    tell();
  }

  function spread() {
    for (const [i, id] of ["low", "high"].entries()) {
      byId(id).value = state.window[i];
      byId(`${id}-value`).textContent = text(valueOf(scale, state.window[i]));
    }
    views.forEach(paint);
  }

  // colours begin and end as far from zero where zero is their middle
  function widen(which, code) {
    const [low, high] = state.window;
    if (scale.signed && state.map === SIGNED) {
      const middle = (LOWEST + scale.top) / 2, reach = Math.max(1, Math.abs(code - middle));
      state.window = [Math.ceil(middle - reach), Math.floor(middle + reach)];
    } else {
      state.window = which ? [Math.min(low, code - 1), code] : [code, Math.max(high, code + 1)];
    }
    spread();
  }

  function listen() {
    for (const button of document.querySelectorAll("[data-mode]"))
      button.onclick = () => { state.mode = button.dataset.mode; update(); };
    for (const button of document.querySelectorAll("[data-axis]"))
      button.onclick = () => { state.axis = Number(button.dataset.axis); update(); cut(); };
    byId("place").oninput = () => {
      const at = scene.at.slice();
      at[state.axis] = (Number(byId("place").value) + 0.5) / lengths[state.axis];
      show({ ...scene, at });
      cut();
    };
    for (const [i, id] of ["low", "high"].entries()) {
      byId(id).min = LOWEST;
      byId(id).max = scale.top;
      byId(id).oninput = () => widen(i, Number(byId(id).value));
    }
    for (const name of scale.signed ? [SIGNED, ...MAPS] : MAPS)
      byId("colours").add(new Option(name, name, name === state.map, name === state.map));
    byId("colours").onchange = () => { state.map = byId("colours").value; spread(); };
    byId("cut").onchange = cut;
    byId("reset").onclick = () => {
      state.window = scale.window.slice();
      byId("cut").checked = false;
      spread();
      show({ ...START });
      cut();
    };
    for (const id of ["modes", "axes", "cut-label"]) byId(id).hidden = facts.flat;
    byId("place").parentElement.hidden = facts.flat;
    if (facts.flat) byId("hint").textContent = "Drag to read values.";
    const sized = new ResizeObserver(() => views.forEach(arrange));
    views.forEach(({ canvas }) => sized.observe(canvas.parentElement));
    for (const id of ["controls", "colouring", "hint"]) byId(id).hidden = false;
  }

  async function start(Niivue) {
    for (const [i, element] of [...document.querySelectorAll(".voxels")].entries())
      await addPanel(Niivue, facts.panels[i], await unpack(element));
    scene = { ...START };
    listen();
    spread();
    update();
    show(scene);
    for (const { nv } of views) nv.sync = () => follow(nv);
    globalThis.volumePage = { views, scene: () => scene };
    document.body.dataset.state = "drawn";
  }

  if (!hasWebGL2()) {
    fail("This browser offers no WebGL 2, with which the volume is drawn: it may be switched off, or "
      + "the graphics driver too old. Open the page in a recent Firefox, Chrome, Edge or Safari.");
    globalThis.startPage = () => {};
    return;
  }
  globalThis.startPage = (Niivue) =>
    start(Niivue).catch((error) => fail(`The volume could not be drawn: ${error.message}`));
})();
