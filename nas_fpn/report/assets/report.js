// The table of trials, the page of a trial and the drawing on hover, from the data in the page.
// Text from the record goes in as text nodes only.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const byKey = new Map(data.trials.map((trial) => [trial.key, trial]));
const several = data.runs.length > 1;
const $ = (id) => document.getElementById(id);

// -- elements -----------------------------------------------------------------------------------

const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

const SVG = "http://www.w3.org/2000/svg";
const draw = (name, attributes, ...children) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

const tableOf = (caption, heads, rows) => make("table", {},
  make("caption", {}, caption),
  make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
  make("tbody", {}, ...rows.map((row) => make("tr", {},
    ...row.map((cell) => make("td", { class: typeof cell === "number" ? "n" : "" }, shown(cell)))))));

// -- values -------------------------------------------------------------------------------------

const shown = (value) => {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  return Math.abs(value) < 10 ? value.toFixed(4) : value.toFixed(1);
};
const nameOf = (trial) =>
  trial.source.startsWith("baseline:") ? trial.source.slice("baseline:".length) : trial.neck;
const score = (trial, name) => {
  const at = data.scores.indexOf(name);
  return at < 0 ? null : trial.scores[at];
};
const cost = (trial, name, unit) => {
  const value = trial.cost[data.costs.indexOf(name)];
  return value === null || value === undefined ? null : value / unit;
};
const objective = (trial) => data.runs[trial.run].objectives[0];
const isWhole = (trial) => trial.state === "complete" || trial.state === "repeated";

// -- drawings: one gzip stream, unpacked when the first is wanted --------------------------------

let unpacked = null;
const drawings = () => {
  unpacked ??= (async () => {
    const bytes = Uint8Array.from(atob(data.drawings), (sign) => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  })();
  return unpacked;
};
const drawingOf = async (trial) => {
  if (typeof DecompressionStream === "undefined") return null;
  return (await drawings())[trial.text];
};

// As an element of its own root: its style does not reach the page.
const inRoot = (svg, alt) => {
  const host = make("div", { class: "neck", role: "img", "aria-label": alt });
  const parsed = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  parsed.setAttribute("aria-hidden", "true");  // the host is the image
  host.attachShadow({ mode: "open" }).append(document.importNode(parsed, true));
  return host;
};

// -- the table of trials ------------------------------------------------------------------------

const main = new Set(data.runs.flatMap((run) => run.objectives.map((name) => name.replace("-", ""))));
const plain = data.scores.filter((name) => !name.includes("/") && name !== "params_m" && name !== "gmacs");
const scores = [...plain.filter((name) => main.has(name)), ...plain.filter((name) => !main.has(name))];
const headOf = (name) => name.replace("ap_", "ap ");
const ofScore = (name) => ({ head: headOf(name), measured: true, value: (t) => score(t, name) });
const columns = [
  { head: "trial", value: (t) => t.trial },
  ...(several ? [{ head: "run", value: (t) => data.runs[t.run].name }] : []),
  { head: "neck", value: nameOf },
  ...scores.filter((name) => main.has(name)).map(ofScore),
  { head: "state", value: (t) => t.state },
  { head: "steps", value: (t) => t.steps },
  { head: "source", value: (t) => t.source },
  ...scores.filter((name) => !main.has(name)).map(ofScore),
  { head: "params, M", value: (t) => cost(t, "params", 1e6) },
  { head: "GMACs", value: (t) => cost(t, "macs", 1e9) },
  { head: "seconds", value: (t) => t.seconds },
].filter((column) => data.trials.some((t) => column.value(t) !== null && column.value(t) !== undefined));

let sorted = { column: columns.find((column) => column.measured) ?? columns[0],
  up: false };
let inView = data.trials;

const programs = data.texts.map((text) => text.replace(/#.*/g, ""));  // what it does, not its remarks
const haystack = new Map(data.trials.map((t) =>
  [t, [t.key, nameOf(t), t.source, t.reason ?? "", programs[t.text]].join("\n").toLowerCase()]));

const chosen = () => {
  const wanted = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const state = $("state").value, run = $("run").value;
  return data.trials.filter((t) =>
    (!state || t.state === state) && (!run || String(t.run) === run) &&
    wanted.every((word) => haystack.get(t).includes(word)));
};

// Missing values last, either way; by a score, whole trainings before others.
const order = (one, other) => {
  const { column, up } = sorted;
  if (column.measured && isWhole(one) !== isWhole(other)) {
    return isWhole(one) ? -1 : 1;
  }
  const [a, b] = [column.value(one), column.value(other)];
  const gone = (value) => value === null || value === undefined;
  if (gone(a) || gone(b)) return gone(a) - gone(b) || one.trial - other.trial;
  const less = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
  return (up ? less : -less) || one.run - other.run || one.trial - other.trial;
};

const rowOf = (trial) => {
  const row = make("tr", trial.source.startsWith("baseline:") ? { class: "control" } : {});
  for (const column of columns) {
    const value = column.value(trial);
    const cell = make("td", typeof value === "number" ? { class: "n" } : {});
    if (column.head === "trial") {
      cell.append(make("a", { href: `#${trial.key}`, "data-trial": trial.key }, shown(value)));
    } else {
      cell.append(shown(value));
    }
    row.append(cell);
  }
  return row;
};
const rows = new Map(data.trials.map((trial) => [trial, rowOf(trial)]));

const fillTable = () => {
  inView = chosen().sort(order);
  $("table").tBodies[0].replaceChildren(...inView.map((trial) => rows.get(trial)));
  $("count").textContent = `${inView.length} of ${data.trials.length} trials`;
  for (const cell of $("table").tHead.rows[0].cells) {
    const own = cell.textContent === sorted.column.head;
    if (own) cell.setAttribute("aria-sort", sorted.up ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  }
};

const beginTable = () => {
  const heads = columns.map((column) => {
    const button = make("button", { type: "button" }, column.head);
    button.addEventListener("click", () => {
      const first = typeof data.trials.map(column.value).find((v) => v !== null) === "string" ||
        column.head === "trial";
      sorted = { column, up: sorted.column === column ? !sorted.up : first };
      fillTable();
    });
    const number = data.trials.some((trial) => typeof column.value(trial) === "number");
    return make("th", number ? { scope: "col", class: "n" } : { scope: "col" }, button);
  });
  $("table").tHead.replaceChildren(make("tr", {}, ...heads));
  const states = [...new Set(data.trials.map((trial) => trial.state))].sort();
  $("state").append(...["", ...states].map((state) => make("option", { value: state }, state || "any")));
  $("run").append(make("option", { value: "" }, "any"),
    ...data.runs.map((run, at) => make("option", { value: String(at) }, run.name)));
  for (const id of ["filter", "state", "run"]) $(id).addEventListener("input", fillTable);
  fillTable();
};

// -- the page of a trial ------------------------------------------------------------------------

const curve = (trial, name) => {
  const at = 1 + data.curves.indexOf(name);
  const places = trial.reports.filter((report) => report[at] !== null).map((r) => [r[0], r[at]]);
  if (at === 0 || places.length < 2) return null;
  const [width, height, left, top, bottom] = [400, 200, 52, 20, 36];
  const last = places[places.length - 1][0];
  const high = Math.max(...places.map((place) => place[1])) || 1;
  const x = (steps) => left + (steps / last) * (width - left - 14);
  const y = (value) => height - bottom - (value / high) * (height - top - bottom);
  const text = (at_x, at_y, anchor, said) =>
    draw("text", { x: at_x, y: at_y, "text-anchor": anchor }, said);
  return draw("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${name} against steps; the table below has the numbers` },
    draw("path", { class: "grid", d: `M${left} ${y(0)}H${width - 14}M${left} ${y(high)}H${width - 14}` }),
    text(left - 6, y(0) + 4, "end", "0"), text(left - 6, y(high) + 4, "end", shown(high)),
    text(x(last), height - bottom + 15, "end", `${last} steps`), text(6, 12, "start", name),
    draw("path", { class: "found thick",
      d: places.map((place, k) => `${k ? "L" : "M"}${x(place[0])} ${y(place[1])}`).join("") }),
    ...places.map((place) => draw("circle", { class: "found best", cx: x(place[0]), cy: y(place[1]), r: 3 })));
};

const fillTrial = async (trial) => {
  const run = data.runs[trial.run];
  $("trial-title").textContent =
    `${several ? `${run.name}, ` : ""}trial ${trial.trial}: ${nameOf(trial)}`;
  const facts = [["source", trial.source], ["neck", trial.neck], ["state", trial.state],
    ["steps", trial.steps], ["seconds", trial.seconds],
    ...(trial.of === null ? [] : [["the same neck as trial", trial.of]]),
    ...(trial.reason === null ? [] : [["reason", trial.reason]])];
  const picture = make("div", { id: "picture" }, "drawing …");
  const drawn = curve(trial, objective(trial));
  const choices = trial.choices.map((at) => {
    const [name, ...option] = data.choices[at].split(" = ");
    return [name, option.join(" = ")];
  });
  const numbers = (names, values) =>
    names.map((name, at) => [name, values[at]]).filter((row) => row[1] !== null);
  $("trial-body").replaceChildren(
    make("dl", {}, ...facts.flatMap(([name, value]) =>
      [make("dt", {}, name), make("dd", {}, shown(value))])),
    picture,
    make("details", { open: "" }, make("summary", {}, "Program"),
      make("pre", { tabindex: "0" }, data.texts[trial.text])),
    ...(drawn === null ? [] : [drawn]),
    make("div", { class: "plots" },
      ...(trial.reports.length
        ? [make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Reports" },
          tableOf("Reports", ["steps", ...data.curves], trial.reports))] : []),
      tableOf("Scores on val", ["score", "value"], numbers(data.scores, trial.scores)),
      tableOf("Cost of the neck", ["cost", "value"], numbers(data.costs, trial.cost)),
      ...(choices.length ? [tableOf(run.named ? "Choices" : "Choices, by number",
        ["choice", "option"], choices)] : [])));
  const at = inView.indexOf(trial);
  for (const [id, other] of [["before", inView[at - 1]], ["after", inView[at + 1]]]) {
    const there = at >= 0 && other !== undefined;
    $(id).hidden = !there;
    if (there) $(id).href = `#${other.key}`;
  }
  const svg = await drawingOf(trial);
  picture.replaceChildren(svg ? inRoot(svg, `Drawing of ${nameOf(trial)}; the program says the same`)
    : "No drawing: its words were not at hand, or this browser cannot unpack drawings.");
};

const follow = () => {
  const trial = byKey.get(location.hash.slice(1));
  hideHover();
  if (trial === undefined) {
    if ($("trial").open) $("trial").close();
    return;
  }
  fillTrial(trial);
  if (!$("trial").open) $("trial").showModal();
  $("trial").scrollTop = 0;
  $("trial-title").focus();
};

// -- the drawing on hover -----------------------------------------------------------------------

let hovered = null;
const hideHover = () => {
  hovered = null;
  $("hover").hidden = true;
};
const showHover = async (mark) => {
  const trial = byKey.get(mark.getAttribute("data-trial"));
  if (trial === undefined || trial === hovered) return;
  hovered = trial;
  const said = [`trial ${trial.trial}`, nameOf(trial), trial.state,
    `${objective(trial)} ${shown(score(trial, objective(trial)))}`].join(" · ");
  const svg = await drawingOf(trial);
  if (hovered !== trial) return;
  const box = $("hover"), place = mark.getBoundingClientRect();
  box.replaceChildren(make("p", {}, said));
  if (svg) box.append(make("img", { alt: "", src: `data:image/svg+xml,${encodeURIComponent(svg)}` }));
  box.hidden = false;
  const room = document.documentElement.clientWidth - box.offsetWidth - 8;
  box.style.left = `${Math.max(8, Math.min(place.right + 12, room))}px`;
  const above = place.bottom + 12 + box.offsetHeight > innerHeight;
  box.style.top = `${Math.max(8, above ? place.top - box.offsetHeight - 12 : place.bottom + 12)}px`;
};
const markOf = (target) => target.closest?.("[data-trial]") ?? target.querySelector?.(":scope > [data-trial]");

// -- what a plot shows, as a table --------------------------------------------------------------

const curvesTable = (details) => {
  const run = Number(details.dataset.run);
  const name = data.runs[run].objectives[0], at = 1 + data.curves.indexOf(name);
  const rows = data.trials.filter((t) => t.run === run && t.reports.length)
    .flatMap((t) => t.reports.map((report) => [t.trial, nameOf(t), report[0], report[at] ?? null]));
  return tableOf(`${name} at each report`, ["trial", "neck", "steps", name], rows);
};

beginTable();
for (const details of document.querySelectorAll("details[data-table]")) {
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(curvesTable(details));
  });
}
for (const event of ["pointerover", "focusin"]) {
  document.addEventListener(event, (happened) => {
    const mark = $("trial").open ? null : markOf(happened.target);
    if (mark) showHover(mark);
    else hideHover();
  });
}
document.addEventListener("click", (happened) => {  // a mark without a link of its own
  const mark = happened.target.closest?.("svg [data-trial]");
  if (mark && !mark.closest("a")) location.hash = mark.getAttribute("data-trial");
});
document.addEventListener("keydown", (happened) => {
  if (happened.key === "Escape") hideHover();
});
$("close").addEventListener("click", () => $("trial").close());
$("trial").addEventListener("close", () => {
  if (byKey.has(location.hash.slice(1))) history.replaceState(null, "", "#trials");
});
addEventListener("hashchange", follow);
follow();
