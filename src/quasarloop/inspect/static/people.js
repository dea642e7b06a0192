// The admin's page: people, invitations, settings, assignments.

import { byId, el, get, post, put } from "./api.js";

const report = (text) => (byId("message").textContent = text);

async function attempt(what) {
  try {
    await what();
  } catch (error) {
    report(error.message);
  }
}

async function refresh() {
  const { people, settings } = await get("/api/people");
  byId("people").replaceChildren(...people.map(row));
  for (const [name, value] of Object.entries(settings)) byId("settings").elements[name].value = value;
}

function row(person) {
  const toggle = el("button", { type: "button" }, person.active ? "shut out" : "let in");
  toggle.addEventListener("click", () => attempt(async () => {
    const { moved } = await put(`/api/people/${person.id}`, { active: !person.active });
    report(`${person.name} ${person.active ? "may no longer log in" : "may log in"}; ${moved} objects given to others`);
    await refresh();
  }));
  const cells = [person.role, person.todo, person.skipped, person.done];
  const door = person.joined ? toggle : "has no password";
  return el("tr", {}, el("th", { scope: "row" }, person.name), ...cells.map((cell) => el("td", {}, String(cell))), el("td", {}, door));
}

byId("invite").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target.elements;
  attempt(async () => {
    const { name, link } = await post("/api/invites", { name: form.name.value, role: form.role.value });
    byId("link").hidden = false;
    byId("link").textContent = link;
    report(`Send this link to ${name}. It works once, within seven days, and is not shown again.`);
  });
});
byId("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target.elements;
  attempt(async () => {
    await put("/api/settings", {
      title: form.title.value, blind: form.blind.value, per_object: Number(form.per_object.value),
    });
    report("Saved.");
    await refresh();
  });
});
byId("balance").addEventListener("click", () => attempt(async () => {
  const { added, dropped, short } = await post("/api/balance");
  report(`${added} assignments made, ${dropped} taken back` + (short ? `; ${short} objects need more inspectors` : ""));
  await refresh();
}));
await refresh();
document.body.dataset.ready = "true";
