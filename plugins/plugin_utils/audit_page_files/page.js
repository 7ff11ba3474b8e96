// Copyright (c) The molecule_ai.workspace maintainers
// GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// The page: what is shown, and what the controls do.
const controls = {
  search: document.getElementById("search"), plugin: document.getElementById("plugin-state"), order: document.getElementById("order"),
  shown: document.getElementById("shown"), empty: document.getElementById("empty"), clear: document.getElementById("clear"),
};
let onlyState = null;
let inOrder = ordered(false);

function apply() {
  const words = controls.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const code = controls.plugin.value;
  const kept = inOrder.filter((row) => {
    if (onlyState && row.state !== onlyState) return false;
    if (code && !row.cells.includes(code)) return false;
    if (!words.length) return true;
    row.haystack ??= haystack(row);
    return words.every((needle) => row.haystack.includes(needle));
  });
  const shown = kept.length;
  show(kept);
  controls.shown.textContent = shown === rows.length ? counted(shown, "workspace") : `${shown.toLocaleString("en")} of ${counted(rows.length, "workspace")}`;
  controls.empty.hidden = shown > 0;
  document.querySelector(".scroller").hidden = shown === 0;
  controls.clear.hidden = rows.length === 0;
  document.getElementById("empty-text").textContent = rows.length ? "No workspace is like that." : "The audit was about no workspace: look at the hosts and the limit of the run.";
}

function only(state) {
  onlyState = onlyState === state ? null : state;
  for (const tile of document.querySelectorAll(".tile")) tile.setAttribute("aria-pressed", String(tile.dataset.state === onlyState));
  apply();
}

function reset() {
  controls.search.value = "";
  controls.plugin.value = "";
  if (onlyState) only(onlyState);
  else apply();
  controls.search.focus();
}

function legend() {
  const used = data.pluginStates.filter((_state, code) => rows.some((row) => row.cells.includes(String(code))));
  document.getElementById("legend").append(...used.map((state) => element("li", "", [mark(state), document.createTextNode(word(state))])));
  controls.plugin.append(element("option", "", "any", {value: ""}), ...used.map((state) => (
    element("option", "", word(state), {value: data.pluginStates.indexOf(state)}))));
}

document.getElementById("verdict").textContent = verdict();
document.getElementById("when").textContent = provenance();
const footer = ["Made by molecule_ai.workspace."];
if (totals.restart_pending) footer.unshift(`${counted(totals.restart_pending, "workspace")} ${totals.restart_pending === 1 ? "waits" : "wait"} for a restart.`);
if (data.conflicts) footer.unshift(`${counted(data.conflicts, "record")} of workspaces that were looked at more than once ${data.conflicts === 1 ? "was" : "were"} replaced by newer ones; drift.json lists them.`);
document.getElementById("footer").textContent = footer.join(" ");
failures();
bar();
tiles(only);
trend();
versions();
draw();
legend();
apply();
controls.search.addEventListener("input", apply);
controls.plugin.addEventListener("change", apply);
controls.order.addEventListener("change", () => {
  inOrder = ordered(controls.order.value === "name");
  apply();
});
controls.clear.addEventListener("click", reset);
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    controls.search.focus();
  } else if (event.key === "Escape" && event.target === controls.search) reset();
});
