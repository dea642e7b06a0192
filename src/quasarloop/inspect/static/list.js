// My objects: filters, progress, and where to go on.

import { byId, el, formatZ, insist, listenTabs, pressTab, tableRow } from "./api.js";

const filters = byId("filters");
const given = new URLSearchParams(location.search);
let state = given.get("state") ?? "todo";
for (const select of filters.querySelectorAll("select")) select.value = given.get(select.name) ?? "";

function query() {
  const chosen = new URLSearchParams({ state });
  for (const select of filters.querySelectorAll("select")) if (select.value) chosen.set(select.name, select.value);
  return chosen;
}

async function refresh() {
  const chosen = query();
  history.replaceState(null, "", `?${chosen}`);
  pressTab(filters, state);
  const { objects, progress } = await insist(`/api/list?${chosen}`, (why) => byId("progress").replaceChildren(why));
  if (String(query()) !== String(chosen)) return; // other filters were chosen meanwhile
  byId("start").href = `/inspect?${chosen}`;
  byId("start").hidden = objects.length === 0;
  byId("none").hidden = objects.length > 0;
  byId("rows").replaceChildren(...objects.map((object) => row(object, chosen)));
  const pace = progress.seconds_per_object;
  const bar = el("progress", { max: Math.max(1, progress.total), value: progress.done, "aria-label": "done" });
  const text = `${progress.done} of ${progress.total} done, ${progress.skipped} skipped, ${progress.todo} to do` +
    (pace === null ? "" : `, ${pace} s each`);
  byId("progress").replaceChildren(bar, text);
}

function row(object, chosen) {
  const { verdict } = object;
  const to = new URLSearchParams([...chosen, ["target", object.target_id]]);
  const states = { todo: object.version ? "begun" : "to do", skipped: "skipped", done: "done", dropped: "given on" };
  const cells = [
    object.number,
    el("a", { href: `/inspect?${to}` }, object.target_id),
    object.question ? "question" : states[object.state],
    verdict.spectype + (verdict.is_bal ? " BAL" : ""),
    formatZ(verdict.z),
    verdict.quality ?? "",
    verdict.issues,
    verdict.comment,
    object.seconds ? Math.round(object.seconds) : "",
  ];
  return tableRow(cells, { class: `state-${object.state}` });
}

listenTabs(filters, (chosen) => {
  state = chosen;
  refresh();
});
filters.addEventListener("change", refresh);
filters.addEventListener("submit", (event) => event.preventDefault());
await refresh();
document.body.dataset.ready = "true";
