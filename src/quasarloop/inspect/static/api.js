// Requests to our own server: JSON, with the CSRF token on every change.

let token = document.querySelector("meta[name=csrf]").content;
const person = document.querySelector("meta[name=person]")?.content;
const TIMEOUT_MS = 20000;
const RETRY_MS = [500, 1000, 2000, 4000, 8000, 15000];

/** A request the server refused (status > 0) or that never got an answer (status 0). */
export class ApiError extends Error {
  constructor(status, body) {
    super(body?.detail && typeof body.detail === "string" ? body.detail : `status ${status}`);
    this.status = status;
    this.body = body;
  }
}

async function send(method, path, content, renewed = false) {
  const options = { method, headers: {}, signal: AbortSignal.timeout(TIMEOUT_MS) };
  if (method !== "GET") {
    options.headers["X-CSRF-Token"] = token;
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(content ?? {});
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw new ApiError(0, { detail: "the server does not answer" });
  }
  const body = await response.json().catch(() => null);
  if (response.status === 403 && !renewed && method !== "GET") {
    // After a new login in another window this page's token is stale: fetch the new one, once.
    await renewToken();
    return send(method, path, content, true);
  }
  if (!response.ok) throw new ApiError(response.status, body);
  return body;
}

async function renewToken() {
  const me = await send("GET", "/api/me");
  if (me.name !== person) {
    throw new ApiError(401, { detail: `${me.name} is logged in here now; log in again` });
  }
  token = me.csrf;
}

export const get = (path) => send("GET", path);
export const put = (path, content) => send("PUT", path, content);
export const remove = (path) => send("DELETE", path);
export const post = (path, content) => send("POST", path, content);

/** Whether a failure may be over soon: no answer, no session, too busy. */
export const mayPass = ({ status }) => status === 0 || status === 401 || status >= 429;

/** How long to wait before trying again, in ms. */
export const patience = (attempt) => RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)];

/** The message for a failure that may pass. */
export const excuse = (error) =>
  `${error.status === 401 ? "log in again in another window" : error.message}; trying again`;

/** Get what a page cannot do without: `report` why it does not come, and try again until it does. */
export async function insist(path, report) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await get(path);
    } catch (error) {
      if (!(error instanceof ApiError && mayPass(error))) throw error;
      report(excuse(error));
      await new Promise((done) => setTimeout(done, patience(attempt)));
    }
  }
}

/** Make an element: `el("td", { class: "x" }, "text", child)`. Text is never read as HTML. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A table row: texts, numbers and elements, one cell each. */
export const tableRow = (cells, attributes = {}) =>
  el("tr", attributes, ...cells.map((cell) => el("td", {}, cell instanceof Node ? cell : String(cell))));

/** Tabs of states within a form: `choose(state)` is called for a click. */
export function listenTabs(form, choose) {
  form.addEventListener("click", (event) => {
    const button = event.target.closest("[data-state]");
    if (button) choose(button.dataset.state);
  });
}

export function pressTab(form, state) {
  for (const button of form.querySelectorAll("[data-state]")) {
    button.setAttribute("aria-pressed", String(button.dataset.state === state));
  }
}

export const byId = (id) => document.getElementById(id);
export const formatZ = (z) => (z === null || z === undefined ? "" : String(Number(z.toFixed(5))));

/** An identifier nobody had before: sent again with a save, it lets the server know the save. */
export const newId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
