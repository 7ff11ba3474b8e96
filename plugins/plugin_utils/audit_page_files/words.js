// Copyright (c) The molecule_ai.workspace maintainers
// GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// The data, its words, and how elements are made: always from text, never from markup.
const data = JSON.parse(document.getElementById("data").textContent);

// What a state is called, and the sign that tells it from the others without any colour.
const STATES = {
  in_sync: ["in sync", "✓"],
  drift: ["drifted", "≠"],
  unknown: ["not looked at", "?"],
  none: ["not there", "∅"],
  external: ["external", "↗"],
  modified: ["modified", "≠"],
  missing: ["missing", "−"],
  extra: ["to be removed", "×"],
  unmanaged: ["in nobody's list", "+"],
  placement: ["placement changed", "~"],
  restart_pending: ["waits for a restart", "↻"],
};
const WORST_FIRST = ["drift", "unknown", "none", "external", "in_sync"];

const text = (number) => (number < 0 ? null : data.strings[number]);
const word = (state) => STATES[state][0];
const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** Make an element: its class, its text or children, its attributes. */
function element(tag, className, content, attributes) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (Array.isArray(content)) made.append(...content);
  else if (content !== undefined && content !== null) made.textContent = content;
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  return made;
}

function mark(state) {
  return element("span", `mark s-${state}`, STATES[state][1], {"aria-hidden": "true"});
}

/** A time as people read it, in UTC, because reports travel. */
function moment(iso) {
  const date = new Date(iso || "");
  if (Number.isNaN(date.getTime())) return "";
  return date.toLocaleString("en-GB", {timeZone: "UTC", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit"}) + " UTC";
}

function duration(from, to) {
  const seconds = Math.round((new Date(to) - new Date(from)) / 1000);
  if (!Number.isFinite(seconds) || seconds < 0) return "";
  if (seconds < 60) return `${Math.max(1, seconds)} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

const rows = data.rows.map((row, index) => ({
  index, host: row[0], id: row[1], tier: text(row[2]), runtime: text(row[3]), state: data.workspaceStates[row[4]], reason: text(row[5]),
  checked: row[6], run: data.runs[row[7]], cells: row[8], versions: row[9], details: row[10], diffs: row[11], notes: row[12],
  problems: row[10].reduce((sum, detail) => sum + detail[1], 0),
}));

/** Everything of a workspace that a search looks at, in lower case. */
function haystack(row) {
  const plugins = [...row.cells].map((cell, column) => (cell === "." ? "" : data.plugins[column]));
  const paths = row.details.flatMap((detail) => detail[3].map((entry) => text(entry[1])));
  return [row.host, row.id, row.tier, row.runtime, row.reason, word(row.state), ...plugins, ...paths].filter(Boolean).join("\n").toLowerCase();
}
