"use strict";
// Draws the pictures; says what a trial is that the pointer is on; marks a trial everywhere when it is clicked.
const root = document.documentElement;
const errors = [];
window.addEventListener("error", (event) => failed(event.message));
window.addEventListener("unhandledrejection", (event) => failed(event.reason));

function failed(reason) {
  errors.push(String(reason));
  root.dataset.errors = String(errors.length);
  document.getElementById("errors").textContent = "A picture could not be drawn: " + errors.join("; ");
}

const { trials, figures, objective } = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip");
const config = { responsive: true, displayModeBar: false };
let marked = null;

function line(kind, text) {
  const element = document.createElement(kind);
  element.textContent = text;
  return element;
}

function show(number, event, extra) {
  const trial = trials[number];
  if (!trial) return;
  tip.replaceChildren(line("b", trial.title));
  if (extra) tip.append(line("div", extra));
  for (const [name, value] of trial.values) tip.append(line("span", `${name}  ${value}`));
  tip.style.display = "block";
  const { width, height } = tip.getBoundingClientRect();
  const x = event.clientX + 16 + width > innerWidth ? event.clientX - width - 12 : event.clientX + 16;
  const y = Math.min(event.clientY + 12, innerHeight - height - 6);
  tip.style.left = `${Math.max(4, x)}px`;
  tip.style.top = `${Math.max(4, y)}px`;
}

function hide() {
  tip.style.display = "none";
}

// What belongs to a trial in a trace, with gaps where the trace has other trials in between.
function part(trace, number) {
  const x = [], y = [];
  trace.customdata.forEach((each, index) => {
    if (each === number) {
      x.push(trace.x[index]);
      y.push(trace.y[index]);
    } else if (x.length && x[x.length - 1] !== null) {
      x.push(null);
      y.push(null);
    }
  });
  return { x, y };
}

function highlight(trace, number) {
  const found = part(trace, number);
  if (!found.x.length || trace.type === "bar" || (trace.line && trace.line.shape)) return [];
  const base = { ...found, type: "scatter", mode: trace.mode, hoverinfo: "skip", yaxis: trace.yaxis || "y", showlegend: false };
  if (trace.mode !== "markers") return [{ ...base, line: { color: "#000", width: 3 }, marker: { size: 5, color: "#000" } }];
  return [{ ...base, marker: { symbol: "circle-open", size: 17, color: "#000", line: { width: 2.5 } }, cliponaxis: false }];
}

function mark(number) {
  marked = number === marked ? null : number;
  for (const [id, figure] of Object.entries(figures)) {
    const traces = marked === null ? [] : figure.data.filter((trace) => trace.customdata);
    const more = traces.flatMap((trace) => highlight(trace, marked));
    Plotly.react(id, [...figure.data, ...more], document.getElementById(id).layout, config);
  }
  for (const element of document.querySelectorAll("[data-trial]")) {
    const same = Number(element.dataset.trial) === marked;
    element.classList.toggle("marked", same);
    if (same && element.tagName === "polyline") element.parentNode.append(element);
  }
}

async function draw(id, figure) {
  const place = document.getElementById(id);
  await Plotly.newPlot(place, figure.data, figure.layout, config);
  place.on("plotly_hover", ({ points: [point], event }) => {
    const epoch = id === "plot-curves" ? `epoch ${point.x}: ${objective} ${point.y.toPrecision(5)}` : "";
    if (point.customdata !== undefined) show(point.customdata, event, epoch);
  });
  place.on("plotly_unhover", hide);
  place.on("plotly_click", ({ points: [point] }) => {
    if (point.customdata !== undefined) mark(point.customdata);
  });
}

for (const element of document.querySelectorAll("[data-trial]")) {
  const number = Number(element.dataset.trial);
  element.addEventListener("mousemove", (event) => show(number, event));
  element.addEventListener("mouseleave", hide);
  element.addEventListener("click", () => mark(number));
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && marked !== null) mark(marked);
});
window.addEventListener("beforeprint", () => {
  for (const element of document.querySelectorAll("details")) element.open = true;
  for (const svg of document.querySelectorAll(".main-svg")) {
    svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
  }
});
window.addEventListener("afterprint", () => {
  for (const svg of document.querySelectorAll(".main-svg")) svg.removeAttribute("viewBox");
});

(async () => {
  for (const [id, figure] of Object.entries(figures)) await draw(id, figure);
  root.dataset.drawn = String(Object.keys(figures).length);
})().catch(failed);
