"use strict";
// The page of utils.plotting.gallery. Everything that is shown lives in the address: the part after
// the # names the galaxy, the order and the filter, so that a view can be kept as a bookmark.
const ROWS_PER_PAGE = 100;
const ERROR = "_err";
const element = (id) => document.getElementById(id);
const state = Object.assign(
  { galaxy: "", sort: "", down: "", find: "", flags: "all", candidates: "", dark: "" },
  Object.fromEntries(new URLSearchParams(location.hash.slice(1))),
);
const chunks = new Map(); // number → galaxies, once loaded
const waiting = new Map(); // number → callbacks
let shown = []; // rows that pass the filter, in order
let page = 0;

function galleryChunk(number, galaxies) { // called by the files of data
  chunks.set(number, galaxies);
  for (const call of waiting.get(number) || []) call();
  waiting.delete(number);
}

function withGalaxy(index, call) {
  const number = Math.floor(index / PAGE.chunk);
  const ready = () => call(chunks.get(number)[index % PAGE.chunk]);
  if (chunks.has(number)) return ready();
  if (waiting.has(number)) return waiting.get(number).push(ready);
  waiting.set(number, [ready]);
  const script = document.createElement("script");
  script.src = `gallery/chunk_${String(number).padStart(3, "0")}.js`;
  script.onerror = () => { element("name").textContent = `${script.src} is missing`; };
  document.head.append(script);
}

// 16-bit numbers between two bounds, as utils.plotting.gallery packs them; the last code is NaN.
function unpack({ low, high, codes }) {
  const bytes = Uint8Array.from(atob(codes), (c) => c.charCodeAt(0));
  const step = (high - low) / 65534;
  return Array.from(new Uint16Array(bytes.buffer), (q) => (q === 65535 ? null : low + q * step));
}

const keys = PAGE.columns.map((column) => column.key);
const valueOf = (row, key) => row[keys.indexOf(key)];
const isFlag = (column) => column.kind === "flag";

function text(value) {
  if (value === null) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-4 ? value.toExponential(2) : value.toPrecision(4);
}

function passes(row) {
  const flagged = PAGE.columns.some((column, k) => isFlag(column) && row[k]);
  if ((state.flags === "none" && flagged) || (state.flags === "some" && !flagged)) return false;
  return state.find.trim().split(/\s+/).every((word) => {
    const match = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.+)$/);
    const key = match && keys.find((k) => k.toLowerCase() === match[1].toLowerCase());
    if (!key) return String(row[0]).toLowerCase().includes(word.toLowerCase());
    const value = valueOf(row, key), limit = Number(match[3]);
    if (value === null) return false;
    return { "<": value < limit, ">": value > limit, "<=": value <= limit, ">=": value >= limit,
      "=": String(value) === match[3] || Number(value) === limit }[match[2]];
  });
}

function order() {
  shown = PAGE.rows.map((row, index) => ({ row, index })).filter(({ row }) => passes(row));
  const k = keys.indexOf(state.sort);
  if (k < 0) return;
  const sign = state.down ? -1 : 1;
  shown.sort((a, b) => {
    const [x, y] = [a.row[k], b.row[k]];
    if (x === null || y === null) return (x === null) - (y === null); // unknown values come last
    return sign * (typeof x === "string" ? x.localeCompare(y) : x - y);
  });
}

function remember() {
  const kept = Object.entries(state).filter(([, value]) => value && value !== "all");
  history.replaceState(null, "", "#" + new URLSearchParams(kept));
}

function drawHeadings() {
  const row = document.querySelector("thead tr");
  row.replaceChildren(...PAGE.columns.map((column) => {
    const cell = document.createElement("th"), button = document.createElement("button");
    const chosen = state.sort === column.key;
    button.textContent = column.label + (chosen ? (state.down ? " ▼" : " ▲") : "");
    button.title = column.help;
    cell.setAttribute("aria-sort", chosen ? (state.down ? "descending" : "ascending") : "none");
    button.onclick = () => {
      state.down = chosen && !state.down ? "1" : "";
      state.sort = column.key;
      update();
    };
    cell.append(button);
    return cell;
  }));
}

function drawRows() {
  const part = shown.slice(page * ROWS_PER_PAGE, (page + 1) * ROWS_PER_PAGE);
  document.querySelector("tbody").replaceChildren(...part.map(({ row, index }) => {
    const line = document.createElement("tr");
    line.tabIndex = 0;
    line.dataset.index = index;
    line.setAttribute("aria-selected", row[0] === state.galaxy);
    PAGE.columns.forEach((column, k) => {
      const cell = document.createElement("td");
      cell.textContent = isFlag(column) ? (row[k] ? "⚑" : "") : text(row[k]);
      if (isFlag(column)) cell.className = "flag";
      if (k === 0) cell.title = row[k];
      line.append(cell);
    });
    line.onclick = () => choose(index);
    return line;
  }));
  const pages = Math.max(1, Math.ceil(shown.length / ROWS_PER_PAGE));
  element("count").textContent = `${shown.length} of ${PAGE.rows.length}`;
  element("page").textContent = `page ${page + 1} of ${pages}`;
  element("back").disabled = page === 0;
  element("on").disabled = page + 1 >= pages;
  element("pages").hidden = pages === 1;
}

function update() {
  order();
  page = Math.max(0, Math.floor(shown.findIndex(({ row }) => row[0] === state.galaxy) / ROWS_PER_PAGE));
  drawHeadings();
  drawRows();
  remember();
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function layout(x, y) {
  const axis = { gridcolor: colour("rule"), linecolor: colour("quiet"), zeroline: false, ticks: "outside" };
  return {
    paper_bgcolor: colour("paper"), plot_bgcolor: colour("paper"), font: { color: colour("ink") },
    margin: { l: 60, r: 10, t: 30, b: 45 }, showlegend: true,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    xaxis: { ...axis, title: { text: x } }, yaxis: { ...axis, title: { text: y } },
  };
}

const CONFIG = { responsive: true, displaylogo: false, scrollZoom: true };

function drawSpectrum(galaxy) {
  const x = unpack(PAGE.wavelength), scale = galaxy.scale || 1;
  const times = (values) => values.map((v) => (v === null ? null : v * scale));
  const best = times(unpack(galaxy.best)), sigma = times(unpack(galaxy.sigma));
  const line = { type: "scatter", mode: "lines", x, hoverinfo: "skip" };
  const edge = { ...line, line: { width: 0 }, fillcolor: colour("best") + "44" };
  const traces = [
    { ...edge, y: best.map((v, k) => v - sigma[k]), showlegend: false },
    { ...edge, y: best.map((v, k) => v + sigma[k]), fill: "tonexty", name: "±1σ of the candidates" },
  ];
  if (state.candidates) {
    const coarse = x.filter((_, k) => k % galaxy.every === 0);
    galaxy.candidates.forEach((packed, k) => traces.push({
      ...line, x: coarse, y: times(unpack(packed)), line: { width: 0.8, color: colour("quiet") },
      opacity: 0.6, name: "other candidates", showlegend: k === 0, legendgroup: "candidates",
    }));
  }
  if (galaxy.truth) {
    traces.push({ ...line, y: times(unpack(galaxy.truth)), name: "observed",
      line: { width: 1, color: colour("truth") } });
  }
  traces.push({ ...line, y: best, name: "best candidate", hoverinfo: "x+y",
    line: { width: 1.2, color: colour("best") } });
  const unit = galaxy.scale ? "flux density (10⁻¹⁷ erg s⁻¹ cm⁻² Å⁻¹)" : "flux (normalised)";
  const plan = layout("observed wavelength (Å, vacuum)", unit);
  const known = [...best, ...(galaxy.truth ? traces[traces.length - 2].y : [])].filter((v) => v !== null);
  const low = known.reduce((a, b) => Math.min(a, b)), high = known.reduce((a, b) => Math.max(a, b));
  plan.yaxis.range = [low - 0.05 * (high - low), high + 0.12 * (high - low)];
  const z = Number(element("redshift").value);
  const marks = element("redshift").value === "" ? [] : PAGE.lines
    .map(([name, rest]) => [name, rest * (1 + z)])
    .filter(([, place]) => place > x[0] && place < x[x.length - 1]);
  plan.shapes = marks.map(([, place]) => ({ type: "line", x0: place, x1: place, yref: "paper", y0: 0, y1: 1,
    line: { color: colour("other"), width: 1, dash: "dot" } }));
  // Where two lines are close, the label of the redder one stands below the other's.
  const crowded = (place) => marks.some(([, other]) => other < place && place - other < 0.018 * (x[x.length - 1] - x[0]));
  plan.annotations = marks.map(([name, place]) => ({ x: place, yref: "paper", y: crowded(place) ? 0.86 : 1, text: name,
    textangle: -90, showarrow: false, xanchor: "right", yanchor: "top", bgcolor: colour("paper") + "bb", borderpad: 0,
    font: { size: 10, color: colour("other") } }));
  Plotly.react("spectrum", traces, plan, CONFIG);
}

function drawRedshifts(galaxy) {
  element("pz").hidden = !galaxy.pdf;
  if (!galaxy.pdf) return;
  const trace = { type: "scatter", mode: "lines", x: galaxy.pdf.z, y: galaxy.pdf.density, fill: "tozeroy",
    line: { color: colour("best"), shape: "hvh", width: 1 }, showlegend: false };
  const plan = layout("redshift", "p(z | image)");
  plan.margin.t = 10;
  if (galaxy.redshift !== null) {
    plan.shapes = [{ type: "line", x0: galaxy.redshift, x1: galaxy.redshift, yref: "paper", y0: 0, y1: 1,
      line: { color: colour("other"), width: 1, dash: "dot" } }];
  }
  Plotly.react("pz", [trace], plan, { ...CONFIG, displayModeBar: false });
}

function drawValues(galaxy) {
  const names = Object.keys(galaxy.values).filter((name) => !name.endsWith(ERROR));
  element("values").replaceChildren(...names.map((name) => {
    const pair = document.createElement("div"), term = document.createElement("dt"), value = document.createElement("dd");
    const error = galaxy.values[name + ERROR], unit = PAGE.units[name];
    term.textContent = name;
    value.textContent = text(galaxy.values[name]) + (typeof error === "number" ? ` ± ${text(error)}` : "") +
      (unit && galaxy.values[name] !== null ? ` ${unit}` : "");
    pair.append(term, value);
    return pair;
  }));
}

function choose(index) {
  const name = state.galaxy = PAGE.rows[index][0];
  remember();
  const row = document.querySelector(`tr[data-index="${index}"]`);
  document.querySelectorAll("tr[aria-selected=true]").forEach((r) => r.setAttribute("aria-selected", false));
  if (row) { row.setAttribute("aria-selected", true); row.scrollIntoView({ block: "nearest" }); }
  withGalaxy(index, (galaxy) => {
    if (name !== state.galaxy) return; // another was chosen while this one was read
    element("name").textContent = name;
    document.querySelector("#cutout img").src = "data:image/png;base64," + galaxy.image;
    const caption = document.querySelector("#cutout figcaption");
    caption.textContent = PAGE.bar ? `${PAGE.bar.arcsec}″` : "";
    caption.style.width = PAGE.bar ? `${100 * PAGE.bar.fraction}%` : 0;
    element("redshift").value = galaxy.redshift === null ? "" : galaxy.redshift.toFixed(4);
    element("links").replaceChildren(...galaxy.links.map(([label, path]) => {
      const link = document.createElement("a");
      link.textContent = label;
      link.href = path;
      link.style.marginRight = "1em";
      return link;
    }));
    drawRedshifts(galaxy);
    drawSpectrum(galaxy);
    drawValues(galaxy);
    document.body.dataset.shown = name; // for tests
  });
}

const chosenIndex = () => PAGE.rows.findIndex((row) => row[0] === state.galaxy);
const redraw = () => withGalaxy(chosenIndex(), drawSpectrum);

function step(by) {
  const place = shown.findIndex(({ row }) => row[0] === state.galaxy) + by;
  if (place < 0 || place >= shown.length) return;
  if (Math.floor(place / ROWS_PER_PAGE) !== page) { page = Math.floor(place / ROWS_PER_PAGE); drawRows(); }
  choose(shown[place].index);
}

function setTheme() {
  document.documentElement.classList.toggle("dark", state.dark === "1");
}

element("filter").value = state.find;
element("flags").value = state.flags;
element("candidates").checked = Boolean(state.candidates);
element("tools").onsubmit = (event) => event.preventDefault();
element("filter").oninput = (event) => { state.find = event.target.value; update(); };
element("flags").onchange = (event) => { state.flags = event.target.value; update(); };
element("candidates").onchange = (event) => { state.candidates = event.target.checked ? "1" : ""; remember(); redraw(); };
element("redshift").oninput = redraw;
element("back").onclick = () => { page -= 1; drawRows(); };
element("on").onclick = () => { page += 1; drawRows(); };
element("theme").onclick = () => {
  state.dark = state.dark === "1" ? "0" : "1";
  setTheme(); remember(); choose(chosenIndex());
};
document.addEventListener("keydown", (event) => {
  if (["INPUT", "SELECT"].includes(document.activeElement.tagName)) {
    if (event.key === "Escape") document.activeElement.blur();
    return;
  }
  const actions = { ArrowDown: () => step(1), ArrowUp: () => step(-1), "/": () => element("filter").focus(),
    c: () => element("candidates").click(), Enter: () => {
      const index = document.activeElement.dataset.index;
      if (index) choose(Number(index));
    } };
  if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
  if (event.key !== "Enter") event.preventDefault();
  actions[event.key]();
});

if (state.dark === "") state.dark = matchMedia("(prefers-color-scheme: dark)").matches ? "1" : "0";
setTheme();
update();
document.addEventListener("DOMContentLoaded", () => {
  if (chosenIndex() < 0 && shown.length) state.galaxy = shown[0].row[0];
  if (chosenIndex() >= 0) { update(); choose(chosenIndex()); }
});
