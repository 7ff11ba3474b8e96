// Copyright (c) The molecule_ai.workspace maintainers
// GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// The heat map: one row for each workspace, one column for each plugin. Rows come in chunks that the browser skips while they are not in sight
// (content-visibility); a chunk's rows are made when it comes into sight, or when the browser has nothing else to do.
const CHUNK = 50;
const ROW_REM = 2;
const map = document.getElementById("map");
const bodies = element("div", "", undefined, {role: "rowgroup"});

function header() {
  const cells = [element("div", "name corner", "workspace", {role: "columnheader"}), element("div", "tier", "tier", {role: "columnheader"})];
  for (const plugin of data.plugins) cells.push(element("div", "plugin", plugin, {role: "columnheader", title: plugin}));
  return element("div", "", [element("div", "row head", cells, {role: "row"})], {role: "rowgroup"});
}

function cell(row, code, column, version) {
  if (code === ".") return element("div", "cell s-absent", "·", {role: "cell", "aria-label": `${data.plugins[column]}: not there, and not wanted`});
  const state = data.pluginStates[Number(code)];
  const label = `${data.plugins[column]}: ${word(state)}${version ? `, version ${version}` : ""}`;
  const made = element("div", `cell s-${state}${state === "in_sync" ? "" : " problem"}`, STATES[state][1], {role: "cell", "aria-label": label, title: label});
  if (state !== "in_sync") made.dataset.column = column;
  return made;
}

function rowElement(row) {
  const button = element("button", "", [
    element("span", "turn", "▶", {"aria-hidden": "true"}), mark(row.state), element("span", "label", row.host),
  ], {type: "button", "aria-expanded": "false", "aria-label": `${row.host}, ${word(row.state)}`, title: row.host});
  const cells = [element("div", "name", [button], {role: "rowheader"}), element("div", "tier", row.tier || "", {role: "cell"})];
  if ([...row.cells].every((code) => code === ".")) {
    const why = row.reason || (row.state === "in_sync" ? "No plugin is wanted, and none is there" : "");
    cells.push(element("div", "whole", [element("span", "why", why, {title: why})], {role: "cell", "aria-colspan": data.plugins.length || 1}));
  } else {
    let seen = 0;
    [...row.cells].forEach((code, column) => cells.push(cell(row, code, column, code === "." ? null : text(row.versions[seen++]))));
  }
  const group = element("div", "group", [element("div", "row", cells, {role: "row"})]);
  // A wrapper that means nothing to a screen reader: the table's rows are its children.
  group.setAttribute("role", "presentation");
  group.dataset.row = row.index;
  row.group = group;
  row.button = button;
  return group;
}

/** Unfold or fold a workspace; with ``column``, show that plugin. */
function toggle(row, open, column) {
  if (open !== row.group.classList.contains("open")) {
    row.group.classList.toggle("open", open);
    row.button.setAttribute("aria-expanded", String(open));
    if (open) row.group.append(detailOf(row));
    else row.group.lastElementChild.remove();
  }
  if (open && column !== undefined) row.group.querySelector(`[data-column="${Number(column)}"].plugin-detail`)?.scrollIntoView({block: "nearest"});
}

function draw() {
  document.documentElement.style.setProperty("--columns", String(Math.max(1, data.plugins.length)));
  map.setAttribute("aria-rowcount", String(rows.length + 1));
  map.append(header(), bodies);
  window.addEventListener("beforeprint", fillAll);
  map.addEventListener("click", (event) => {
    const group = event.target.closest(".group");
    if (!group) return;
    const row = rows[Number(group.dataset.row)];
    const problem = event.target.closest(".problem");
    if (problem) toggle(row, true, problem.dataset.column);
    else if (event.target.closest(".name button")) toggle(row, !group.classList.contains("open"));
  });
  map.addEventListener("keydown", (event) => {
    const group = event.target.closest(".name") && event.target.closest(".group");
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    const next = group && step && visible[rows[Number(group.dataset.row)].position + step];
    if (!next) return;
    event.preventDefault();
    fill(chunks[Math.floor(next.position / CHUNK)]);
    next.button.focus();
  });
}

const whenIdle = window.requestIdleCallback || ((callback) => setTimeout(callback, 30));
let visible = [];
let chunks = [];
let filling = 0;

function fill(chunk) {
  if (chunk.filled) return;
  chunk.filled = true;
  chunk.element.append(...chunk.rows.map((row) => row.group || rowElement(row)));
}

function fillAll() {
  chunks.forEach(fill);
}

/** Fill what is left, a chunk at a time, so that the browser's own search and a screen reader find it. */
function fillInTime(turn) {
  const next = chunks.find((chunk) => !chunk.filled);
  if (turn !== filling || !next) return;
  fill(next);
  whenIdle(() => fillInTime(turn));
}

/** Show these rows, in this order. */
function show(wanted) {
  visible = wanted;
  visible.forEach((row, position) => { row.position = position; });
  chunks = [];
  for (let start = 0; start < visible.length; start += CHUNK) {
    const chunk = {rows: visible.slice(start, start + CHUNK), filled: false, element: element("div", "chunk", undefined, {role: "presentation"})};
    chunk.element.style.containIntrinsicBlockSize = `auto ${chunk.rows.length * ROW_REM}rem`;
    chunk.element.addEventListener("contentvisibilityautostatechange", (event) => { if (!event.skipped) fill(chunk); });
    chunks.push(chunk);
  }
  bodies.replaceChildren(...chunks.map((chunk) => chunk.element));
  if (chunks.length) fill(chunks[0]);
  filling += 1;
  if ("oncontentvisibilityautostatechange" in bodies) whenIdle(() => fillInTime(filling));
  else fillAll();
}

/** All rows in the order that a reader wants. */
function ordered(byName) {
  const names = new Intl.Collator("en", {numeric: true}).compare;
  return [...rows].sort((one, other) => (
    byName ? 0 : WORST_FIRST.indexOf(one.state) - WORST_FIRST.indexOf(other.state) || other.problems - one.problems
  ) || names(one.host, other.host));
}
