// The merger's queue.

import { byId, el, formatZ, insist, listenTabs, pressTab, tableRow } from "./api.js";

const filters = byId("filters");
let state = new URLSearchParams(location.search).get("state") ?? "conflict";

async function refresh() {
  history.replaceState(null, "", `?state=${state}`);
  const chosen = state;
  const report = (why) => byId("progress").replaceChildren(why);
  const { objects, counts } = await insist(`/api/merge?state=${encodeURIComponent(chosen)}`, report);
  if (state !== chosen) return; // another tab was chosen meanwhile
  report("");
  pressTab(filters, state);
  for (const button of filters.querySelectorAll("[data-state]")) {
    button.dataset.count = counts[button.dataset.state];
  }
  byId("start").href = `/merge/object?state=${state}`;
  byId("start").hidden = objects.length === 0;
  byId("none").hidden = objects.length > 0;
  byId("rows").replaceChildren(...objects.map(row));
}

function row(object) {
  const final = object.merged;
  const cells = [
    object.number,
    el("a", { href: `/merge/object?state=${state}&target=${object.target_id}` }, object.target_id),
    `${object.n_verdicts}${object.n_open ? `, ${object.n_open} to come` : ""}`,
    object.disagree_in.join(", "),
    object.z_range ? object.z_range.toPrecision(2) : "0",
    final ? final.spectype || "–" : "",
    final ? formatZ(final.z) : "",
    final ? String(Math.round(final.quality * 100) / 100) : "",
    object.returned_to.length ? `waits for ${object.returned_to.join(", ")}` : object.changed_since ? "changed since decided" : "",
  ];
  return tableRow(cells);
}

listenTabs(filters, (chosen) => {
  state = chosen;
  refresh();
});
await refresh();
document.body.dataset.ready = "true";
