// Copyright (c) The molecule_ai.workspace maintainers
// GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// The first ten seconds: one sentence, the totals, the trend.
const totals = data.totals;
const SVG = "http://www.w3.org/2000/svg";

function verdict() {
  const all = totals.workspaces;
  const blind = totals.unknown + totals.none;
  const sources = data.failures.filter((failure) => failure[2] !== "runs").length;
  const causes = [sources && `${counted(sources, "source")} of the inventory failed`, sources < totals.failures && "runs are missing"].filter(Boolean);
  const missing = causes.length ? `${causes.join(" and ")}, so workspaces may be missing.` : "";
  if (!all) return missing || "This audit was about no workspace.";
  const lookedAt = all - blind - totals.external;
  if (!totals.drift && !blind) {
    const good = lookedAt ? `All ${counted(lookedAt, "workspace")} looked at ${lookedAt === 1 ? "is" : "are"} in sync` : "No workspace had to be looked at";
    return missing ? `${good}, but ${missing}` : `${good}.`;
  }
  const parts = [];
  if (totals.drift) parts.push(`${totals.drift.toLocaleString("en")} of ${counted(all, "workspace")} ${totals.drift === 1 ? "has" : "have"} drifted`);
  if (blind) parts.push(`${totals.drift ? blind.toLocaleString("en") : `${blind.toLocaleString("en")} of ${counted(all, "workspace")}`} could not be looked at`);
  return `${parts.join(", ")}. ${missing}`.trim();
}

/** The sources that failed, and that runs are missing, with their reasons. */
function failures() {
  const target = document.getElementById("failures");
  target.hidden = !data.failures.length;
  target.append(...data.failures.map(([inventory, source, kind, reason]) => {
    const runs = kind === "runs";
    const where = runs ? "" : [kind, source && inventory].filter(Boolean).join(", ");
    return element("li", "", [mark("unknown"), element("b", "", runs ? "runs" : source || inventory || "inventory"), element("span", "", `${where ? `(${where}) ` : ""}${reason}`)]);
  }));
}

function provenance() {
  const run = data.runs[0] || [];
  const parts = [moment(data.finished)];
  if (data.started) parts.push(`took ${duration(data.started, data.finished)}`);
  if (data.runs.length > 1) parts.push(`merged from ${data.runs.length} runs`);
  else {
    const job = run[5] ? [run[5].id && `job ${run[5].id}`, run[5].template].filter(Boolean).join(" ") : "";
    parts.push(job, run[4], run[3] && run[2] ? `${run[3]} on ${run[2]}` : run[2]);
  }
  return parts.filter(Boolean).join(" · ");
}

function bar() {
  const states = WORST_FIRST.filter((state) => totals[state]);
  const target = document.getElementById("bar");
  for (const state of states) {
    const part = element("span", `s-${state}`);
    part.style.flexGrow = totals[state];
    target.append(part);
  }
  target.setAttribute("aria-label", states.map((state) => `${totals[state]} ${word(state)}`).join(", ") || "no workspaces");
}

function tiles(onPress) {
  const target = document.getElementById("tiles");
  for (const state of WORST_FIRST) {
    const tile = element("button", totals[state] ? "tile" : "tile zero", [
      mark(state), element("b", "", totals[state].toLocaleString("en")), element("small", "", word(state)),
    ], {type: "button", "aria-pressed": "false", "data-state": state});
    tile.addEventListener("click", () => onPress(state));
    target.append(tile);
  }
}

function shape(tag, className, attributes) {
  const made = document.createElementNS(SVG, tag);
  if (className) made.setAttribute("class", className);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function label(x, y, content, anchor) {
  const made = shape("text", "", {x, y, "text-anchor": anchor});
  made.textContent = content;
  return made;
}

/** Drifted and not looked at, over the audits that the history holds. */
function trend() {
  const target = document.getElementById("trend");
  const points = data.history.map((entry) => ({at: new Date(entry[0]).getTime(), finished: entry[0], drift: entry[3], unknown: entry[4] + entry[6]}))
    .filter((point) => Number.isFinite(point.at));
  if (points.length < 2) {
    target.append(element("p", "when", "A trend appears here after the next audit that keeps the same history."));
    return;
  }
  const [width, height, left, right] = [360, 84, 4, 96];
  const first = points[0].at;
  const span = points[points.length - 1].at - first || 1;
  const top = Math.max(1, ...points.map((point) => Math.max(point.drift, point.unknown)));
  const x = (point) => left + ((point.at - first) / span) * (width - left - right);
  const y = (value) => 8 + (1 - value / top) * (height - 28);
  const svg = shape("svg", "", {viewBox: `0 0 ${width} ${height}`, role: "img"});
  svg.append(shape("line", "axis", {x1: left, x2: width - right, y1: y(0), y2: y(0)}));
  const last = points[points.length - 1];
  const ends = {drift: y(last.drift), unknown: y(last.unknown)};
  if (Math.abs(ends.drift - ends.unknown) < 13) {
    const upper = last.drift >= last.unknown ? "drift" : "unknown";
    const lower = upper === "drift" ? "unknown" : "drift";
    ends[upper] = Math.min(ends[upper], y(0) - 13);
    ends[lower] = ends[upper] + 13;
  }
  for (const kind of ["unknown", "drift"]) {
    svg.append(shape("polyline", `${kind}-line`, {points: points.map((point) => `${x(point).toFixed(1)},${y(point[kind]).toFixed(1)}`).join(" ")}));
    svg.append(shape("circle", `${kind}-line`, {cx: x(last), cy: y(last[kind]), r: 3}));
    svg.append(label(width - right + 10, ends[kind] + 4, `${last[kind].toLocaleString("en")} ${word(kind)}`, "start"));
  }
  const day = (point) => new Date(point.at).toLocaleDateString("en-GB", {day: "numeric", month: "short", timeZone: "UTC"});
  svg.append(label(left, height - 4, day(points[0]), "start"), label(width - right, height - 4, day(last), "end"));
  svg.setAttribute("aria-label", `${points.length} audits since ${moment(points[0].finished)}: drifted ${points[0].drift} then, ${last.drift} now, ` +
    `${Math.max(...points.map((point) => point.drift))} at most; not looked at ${points[0].unknown} then, ${last.unknown} now. Dashed: not looked at.`);
  target.append(svg);
}

function versions() {
  const names = Object.keys(totals.versions);
  document.getElementById("versions").hidden = !names.length;
  const head = element("tr", "", ["plugin", "versions, and on how many workspaces"].map((title) => element("th", "", title, {scope: "col"})));
  const body = names.map((name) => element("tr", "", [
    element("th", "", name, {scope: "row"}),
    element("td", "", Object.entries(totals.versions[name]).sort((one, other) => other[1] - one[1]).flatMap(([version, count], index) => [
      document.createTextNode(`${index ? ", " : ""}${version} `), element("span", "amount", `×${count.toLocaleString("en")}`),
    ])),
  ]));
  document.getElementById("versions-body").append(element("table", "", [element("thead", "", [head]), element("tbody", "", body)], {"aria-label": "Versions in use"}));
}
