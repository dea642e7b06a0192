// The admin's page: people, invitations, settings, assignments.

import { byId, el, get, post, put, remove, tableRow } from "./api.js";

const report = (text) => (byId("message").textContent = text);

async function attempt(what) {
  try {
    await what();
  } catch (error) {
    report(error.message);
  }
}

const ROLES = [...byId("invite").elements.role.options];
const inWords = (role) => role.replaceAll(",", " and ");

async function refresh() {
  const [{ people, settings }, { invites }] = await Promise.all([get("/api/people"), get("/api/invites")]);
  byId("people").replaceChildren(...people.map(row));
  byId("invites").replaceChildren(...invites.map(inviteRow));
  for (const [name, value] of Object.entries(settings)) byId("settings").elements[name].value = value;
}

function button(text, label, what) {
  const found = el("button", { type: "button", "aria-label": label }, text);
  found.addEventListener("click", () => attempt(what));
  return found;
}

function showLink(link, text) {
  byId("link").hidden = false;
  byId("link").textContent = link;
  report(`${text} It works once, within seven days, and is not shown again.`);
}

async function change(person, what, done) {
  const { moved } = await put(`/api/people/${person.id}`, what);
  await refresh();
  report(`${person.name} ${done}; ${moved} objects given to others`);
}

function row(person) {
  const { name, active } = person;
  const role = el("select", { "aria-label": `role of ${name}` }, ...ROLES.map(({ value, text }) => el("option", { value, selected: value === person.role }, text)));
  role.addEventListener("change", () => attempt(async () => {
    try {
      await change(person, { role: role.value }, `is ${inWords(role.value)} now`);
    } catch (error) {
      role.value = person.role;
      throw error;
    }
  }));
  const words = active ? ["shut out", "may no longer log in"] : ["let in", "may log in"];
  const toggle = button(words[0], `${words[0]} ${name}`, () => change(person, { active: !active }, words[1]));
  const renew = button("new password", `new password for ${name}`, async () => {
    const { link } = await post(`/api/people/${person.id}/reset`);
    showLink(link, `With this link ${name} chooses a new password.`);
    await refresh();
  });
  const door = person.joined ? el("span", {}, toggle, " ", renew) : "has no password";
  const line = tableRow([role, person.todo, person.skipped, person.done, person.practice ? `${person.practice.right} of ${person.practice.given} right` : "–", door]);
  line.prepend(el("th", { scope: "row" }, name));
  return line;
}

function inviteRow({ id, name, role, expires, new_password }) {
  const end = button("revoke", `revoke the link of ${name}`, async () => {
    await remove(`/api/invites/${id}`);
    await refresh();
    report(`The link of ${name} works no longer.`);
  });
  return tableRow([name, new_password ? "a new password" : `joining as ${inWords(role)}`, expires.slice(0, 16).replace("T", " "), end]);
}

byId("invite").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target.elements;
  attempt(async () => {
    const { name, link } = await post("/api/invites", { name: form.name.value, role: form.role.value });
    showLink(link, `Send this link to ${name}.`);
    await refresh();
  });
});
byId("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target.elements;
  attempt(async () => {
    await put("/api/settings", {
      title: form.title.value, blind: form.blind.value, per_object: form.per_object.value,
    });
    await refresh();
    report("Saved.");
  });
});
byId("balance").addEventListener("click", () => attempt(async () => {
  const { added, dropped, short } = await post("/api/balance");
  await refresh();
  report(`${added} assignments made, ${dropped} taken back` + (short ? `; ${short} objects need more inspectors` : ""));
}));
await refresh();
document.body.dataset.ready = "true";
