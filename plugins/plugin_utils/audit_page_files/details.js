// Copyright (c) The molecule_ai.workspace maintainers
// GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// What unfolds below a workspace: why, which files, and the diffs.
const SAFE_HOST = /^[A-Za-z0-9_.-]+$/;

function fact(name, value) {
  return value ? [element("div", "", [element("dt", "", name), element("dd", "", value)])] : [];
}

function fileTable(plugin, entries, total) {
  const head = element("tr", "", ["difference", "path", "expected", "found"].map((title) => element("th", "", title, {scope: "col"})));
  const body = entries.map(([kind, path, expected, observed]) => element("tr", "", [
    element("td", "", text(kind).replace("_", " ")),
    element("td", "path", text(path) || "(all of it)"),
    element("td", "", text(expected)),
    element("td", "", text(observed)),
  ]));
  const table = element("table", "files", [element("thead", "", [head]), element("tbody", "", body)], {"aria-label": `Differences of ${plugin}`});
  const more = total - entries.length;
  return more > 0 ? [table, element("p", "amount", `and ${counted(more, "more difference")}`)] : [table];
}

function diffBlock([, title, content]) {
  const lines = text(content).split("\n").map((line) => {
    let kind = "";
    if (line.startsWith("+++") || line.startsWith("---") || line.startsWith("@@")) kind = "place";
    else if (line.startsWith("+")) kind = "added";
    else if (line.startsWith("-")) kind = "removed";
    return element("span", kind, line);
  });
  const block = element("details", "diff", [element("summary", "", `Diff of ${text(title)}`)]);
  // The lines are made when somebody wants to see them: there may be thousands.
  block.addEventListener("toggle", () => {
    if (block.open && block.childElementCount === 1) block.append(element("pre", "", lines, {tabindex: "0", "aria-label": `Diff of ${text(title)}`}));
  });
  return block;
}

function pluginDetail(row, [column, total, wanted, entries]) {
  const name = data.plugins[column];
  const state = data.pluginStates[Number(row.cells[column])];
  const versionAt = [...row.cells.slice(0, column)].filter((cell) => cell !== ".").length;
  const found = text(row.versions[versionAt]);
  const versions = [found && `found ${found}`, text(wanted) && `wanted ${text(wanted)}`].filter(Boolean).join(", ");
  const heading = element("h3", "", [mark(state), document.createTextNode(name), element("small", "", [word(state), versions].filter(Boolean).join(" · "))]);
  return element("section", "plugin-detail", [
    heading, ...fileTable(name, entries, total), ...row.diffs.filter((diff) => diff[0] === column).map(diffBlock),
  ], {"data-column": column, "aria-label": name});
}

/** All that is known of a workspace, as one cell across the table. */
function detailOf(row) {
  const job = row.run && row.run[5] ? `${row.run[5].id || ""} ${row.run[5].template || ""}`.trim() : "";
  const facts = element("dl", "facts", [
    ...fact("State", word(row.state)), ...fact("Id", row.id), ...fact("Tier", row.tier), ...fact("Runtime", row.runtime),
    ...fact("Looked at", moment(row.checked)), ...fact("Job", job), ...fact("Controller", row.run && row.run[2]),
  ]);
  const parts = [facts];
  if (row.reason) parts.push(element("p", "reason", row.reason));
  for (const note of row.notes) parts.push(element("p", "reason", `Note: ${text(note)}`));
  parts.push(...row.details.map((detail) => pluginDetail(row, detail)));
  const known = new Set(row.details.map((detail) => detail[0]));
  parts.push(...row.diffs.filter((diff) => !known.has(diff[0])).map(diffBlock));
  if (row.state === "in_sync") parts.push(element("p", "", "Every plugin is as it should be."));
  if (row.state === "drift" && SAFE_HOST.test(row.host)) {
    parts.push(element("p", "command", `ansible-playbook molecule_ai.workspace.sync --limit ${row.host}`));
  }
  return element("div", "", [element("div", "detail", parts, {role: "cell", "aria-colspan": data.plugins.length + 2})], {role: "row"});
}
