"use strict";
// The page of a training run: see utils.plotting.training_page.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function draw() {
  const axis = { gridcolor: colour("rule"), linecolor: colour("quiet"), zeroline: false };
  const plots = Object.entries(PAGE.curves).map(([name, curves]) => {
    const place = document.createElement("div");
    const colours = ["best", "other", "quiet", "truth"];
    const plain = curves.map(([label]) => label.replace("_swapped", "")).filter((l, k, all) => all.indexOf(l) === k);
    const traces = curves.map(([label, x, y]) => ({ type: "scatter", mode: "lines+markers", name: label, x, y,
      marker: { size: 4 }, line: { width: 1.3, dash: label.endsWith("_swapped") ? "dot" : "solid",
        color: colour(colours[plain.indexOf(label.replace("_swapped", "")) % 4]) } }));
    const logarithmic = curves.every(([, , y]) => y.every((v) => v > 0)) && name.includes("rate");
    return [place, traces, {
      paper_bgcolor: colour("paper"), plot_bgcolor: colour("paper"), font: { color: colour("ink") },
      title: { text: name, font: { size: 14 } }, margin: { l: 55, r: 10, t: 35, b: 40 },
      showlegend: curves.length > 1, legend: { orientation: "h", y: -0.32, yanchor: "top", font: { size: 10 } },
      xaxis: { ...axis, title: { text: "epoch", standoff: 3 } }, yaxis: { ...axis, type: logarithmic ? "log" : "linear", exponentformat: "power" },
    }];
  });
  document.getElementById("curves").replaceChildren(...plots.map(([place]) => place));
  for (const [place, traces, plan] of plots) Plotly.newPlot(place, traces, plan, { responsive: true, displayModeBar: false });
}

document.getElementById("previews").append(...PAGE.previews.map(([name, data]) => {
  const details = document.createElement("details"), summary = document.createElement("summary"), image = document.createElement("img");
  summary.textContent = name;
  image.alt = name;
  image.src = "data:image/png;base64," + data;
  details.append(summary, image);
  return details;
}));
const last = document.querySelector("#previews details:last-child");
if (last) last.open = true;
document.getElementById("config").textContent = PAGE.config;
document.getElementById("theme").onclick = () => { document.documentElement.classList.toggle("dark"); draw(); };
document.documentElement.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches);
draw();
