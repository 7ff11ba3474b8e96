// Copyright (c) The molecule_ai.workspace maintainers
// GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// The heat map: one row for each workspace, one column for each plugin. The browser skips what is not in sight (content-visibility).
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
  bodies.append(...rows.map(rowElement));
  map.append(header(), bodies);
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
    const step = {ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling"}[event.key];
    if (!group || !step) return;
    let next = group[step];
    while (next && next.hidden) next = next[step];
    if (next) {
      event.preventDefault();
      rows[Number(next.dataset.row)].button.focus();
    }
  });
}

/** Put the rows into this order; those that are not in it stay hidden. */
function arrange(byName) {
  const names = new Intl.Collator("en", {numeric: true}).compare;
  const sorted = [...rows].sort((one, other) => (
    byName ? 0 : WORST_FIRST.indexOf(one.state) - WORST_FIRST.indexOf(other.state) || other.problems - one.problems
  ) || names(one.host, other.host));
  bodies.append(...sorted.map((row) => row.group));
}

function filter(wanted) {
  let shown = 0;
  for (const row of rows) {
    const keep = wanted(row);
    if (row.group.hidden === keep) row.group.hidden = !keep;
    if (keep) shown += 1;
  }
  return shown;
}
