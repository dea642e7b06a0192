// Saving labels so that none is lost: sent at each change, kept in the browser until the server
// has it, sent again after every failure, never over a newer version without a question.

import { ApiError, excuse, mayPass, newId, patience, put } from "./api.js";

// The same save, answered with an internal error as often: no later try can succeed.
const MAX_FAULTS = 5;

/**
 * One queue for all objects of one person.
 *
 * `hooks.saved(target, answer)`: the server has it. `hooks.clash(target, theirs, mine)`: somebody
 * saved in between; resolve to "mine" or "theirs". `hooks.refused(target, message)`: the server
 * will not have it. `hooks.status(status)`: {state, waiting, message}.
 */
export class Saver {
  constructor(person, hooks) {
    this.key = `quasarloop-unsaved-${person}`;
    this.hooks = hooks;
    this.versions = new Map(); // target -> newest version known here
    this.jobs = new Map(); // target -> { sending, next, attempt }
    this.refused = new Map(); // target -> why the server will never have it
    addEventListener("online", () => this.retryNow());
    addEventListener("beforeunload", (event) => {
      if (this.waiting() > 0) event.preventDefault();
    });
  }

  /** Note what version the server has of an object, as just loaded. */
  know(target, version) {
    if (!this.jobs.has(target)) this.versions.set(target, version);
  }

  /** Whether a version just loaded is older than what the server has answered since. */
  isOld(target, version) {
    return !this.jobs.has(target) && version < (this.versions.get(target) ?? 0);
  }

  /** Store a change. */
  change(target, verdict, { note = "", seconds = 0, z_err = null } = {}) {
    const save = { verdict, note, seconds, z_err, save_id: newId() };
    const job = this.jobs.get(target) ?? { sending: null, next: null, attempt: 0 };
    this.jobs.set(target, job);
    job.next = save;
    this.pump(target);
    this.remember();
  }

  /** What this browser holds of an object that the server may not have yet. */
  unsaved(target) {
    const job = this.jobs.get(target);
    return job ? (job.next ?? job.sending).verdict : null;
  }

  waiting() {
    return this.jobs.size;
  }

  /** Send again what an earlier page of this person could not. */
  restore() {
    for (const [target, { sending, next }] of Object.entries(this.stored())) {
      if (this.jobs.has(target)) continue;
      this.versions.set(target, sending.base_version);
      this.jobs.set(target, { sending, next, attempt: 0 });
      this.post(target);
    }
    this.report();
  }

  retryNow() {
    for (const [target, job] of this.jobs) {
      if (job.timer) {
        clearTimeout(job.timer);
        job.timer = null;
        this.post(target);
      }
    }
  }

  pump(target) {
    const job = this.jobs.get(target);
    if (job.sending || !job.next) return;
    job.sending = { ...job.next, base_version: this.versions.get(target) ?? 0 };
    job.next = null;
    job.attempt = 0;
    this.remember();
    this.post(target);
  }

  async post(target) {
    const job = this.jobs.get(target);
    this.report();
    try {
      const answer = await put(`/api/objects/${target}/label`, job.sending);
      this.versions.set(target, answer.version);
      this.refused.delete(target);
      job.sending = null;
      this.finish(target, job);
      this.hooks.saved(target, answer);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      await this.failed(target, job, error);
    }
    this.report();
  }

  async failed(target, job, error) {
    if (error.status === 409) {
      const mine = (job.next ?? job.sending).verdict;
      const choice = await this.hooks.clash(target, error.body.verdict, mine);
      this.versions.set(target, error.body.version);
      const again = job.next ?? { ...job.sending, save_id: newId() };
      job.sending = null;
      job.next = choice === "mine" ? again : null;
      this.finish(target, job);
      if (choice !== "mine") this.hooks.saved(target, { ...error.body, taken: true });
    } else if (mayPass(error) && !(error.status === 500 && job.attempt >= MAX_FAULTS)) {
      job.message = excuse(error);
      job.timer = setTimeout(() => {
        job.timer = null;
        this.post(target);
      }, patience(job.attempt));
      job.attempt += 1;
    } else {
      job.sending = null;
      job.next = null;
      this.refused.set(target, error.message);
      this.finish(target, job);
      this.hooks.refused(target, error.message);
    }
  }

  finish(target, job) {
    job.message = null;
    if (job.next) {
      this.pump(target);
    } else {
      this.jobs.delete(target);
    }
    this.remember();
  }

  report() {
    const failing = [...this.jobs.values()].find((job) => job.message);
    const message = failing?.message ?? [...this.refused.values()][0];
    const state = message ? "unsaved" : this.waiting() === 0 ? "saved" : "saving";
    const waiting = this.waiting() + this.refused.size;
    this.hooks.status({ state, waiting, message: message ?? "" });
  }

  stored() {
    try {
      return JSON.parse(localStorage.getItem(this.key) ?? "{}");
    } catch {
      return {};
    }
  }

  remember() {
    // What is being sent goes first, under its own id: the server knows it if it arrived.
    const jobs = [...this.jobs].filter(([, job]) => job.sending);
    const content = Object.fromEntries(
      jobs.map(([target, { sending, next }]) => [target, { sending, next }]),
    );
    try {
      if (this.jobs.size) localStorage.setItem(this.key, JSON.stringify(content));
      else localStorage.removeItem(this.key);
    } catch { /* private window or full: the badge still shows the truth */ }
  }
}
