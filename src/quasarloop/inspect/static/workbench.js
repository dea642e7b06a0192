// What inspecting and merging share: the plot, the trial redshift, display keys, fits, chips.

import { ApiError, byId, formatZ, get, insist, post } from "./api.js";
import { SpectrumPlot } from "./plot.js";
import { decodeArm } from "./spectrum.js";
import { DEFINITION } from "./verdict.js";

const OPTIONS_KEY = "quasarloop-display";
const STEP = 5e-4; // of (1 + z): a tenth of a merge conflict's limit, about 150 km/s
const [Z_MIN, Z_MAX] = DEFINITION.z_range;
const CYCLES = { lines: ["major", "all", "none"], template: [...DEFINITION.classes.toReversed(), "none"] };
const MAX_CACHED = 6;

export class Workbench {
  constructor({ onMove = () => {} } = {}) {
    this.onMove = onMove;
    this.z = 0;
    this.chips = [];
    this.chip = -1;
    this.cache = new Map(); // target -> promise of a spectrum
    this.holding = false;
  }

  async start() {
    const reference = await insist("/api/reference", this.report);
    this.names = reference;
    this.plot = new SpectrumPlot(byId("plot"), byId("overlay"), byId("readout"), reference);
    await this.plot.start();
    this.options(this.stored());
    byId("smoothing").addEventListener("input", (event) => this.options({ smoothing: Number(event.target.value) }));
    document.documentElement.addEventListener("themechange", () => this.plot.recolour());
    const input = byId("z");
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        input.value = formatZ(this.z);
        input.blur();
      }
    });
  }

  /** Show an object's spectrum, or why there is none. Returns whether there is one. */
  async open(target) {
    this.target = target;
    byId("missing").hidden = true;
    byId("notice").hidden = true;
    try {
      const spectrum = await this.fetch(target);
      if (this.target !== target) return false;
      this.plot.show(spectrum.arms, spectrum.coadd, { hold: this.holding && this.shown });
      this.shown = true;
      this.announce(spectrum);
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.cache.delete(target);
      if (this.target !== target) return false;
      this.plot.clear();
      byId("missing").textContent = error.message;
      byId("missing").hidden = false;
      return false;
    }
  }

  /** Get the next spectrum while this one is looked at. */
  prefetch(target) {
    if (target) this.fetch(target).catch(() => this.cache.delete(target));
  }

  fetch(target) {
    if (!this.cache.has(target)) {
      const loaded = get(`/api/objects/${target}/spectrum`).then((sent) => ({
        ...sent,
        arms: sent.arms.map(decodeArm),
        coadd: sent.coadd ? decodeArm(sent.coadd) : null,
      }));
      this.cache.set(target, loaded);
      if (this.cache.size > MAX_CACHED) this.cache.delete(this.cache.keys().next().value);
    }
    return this.cache.get(target);
  }

  /** Show in the bar what the whole page waits for. */
  report(text) {
    byId("where").textContent = text;
  }

  /** A list without objects: the message is shown where the spectrum would be, too. */
  empty(text) {
    this.report(text);
    byId("notice").textContent = text;
    byId("notice").hidden = false;
  }

  announce(spectrum) {
    const parts = [spectrum.notice, spectrum.flags && `flags: ${spectrum.flags.replaceAll("|", ", ")}`];
    const text = parts.filter(Boolean).join(" · ");
    byId("notice").textContent = text;
    byId("notice").hidden = text === "";
    const place = spectrum.ra_deg === null ? "" : `, RA ${spectrum.ra_deg.toFixed(4)}°, Dec ${spectrum.dec_deg.toFixed(4)}°`;
    byId("plot").setAttribute("aria-label", `Spectrum of TARGETID ${spectrum.target_id}${place}`);
  }

  /** Move to a redshift, without any request to the server. */
  moveTo(z) {
    this.z = Math.min(Z_MAX, Math.max(Z_MIN, z));
    const input = byId("z");
    if (document.activeElement !== input) input.value = formatZ(this.z);
    this.plot.moveTo(this.z);
    this.onMove(this.z);
  }

  /** Redshifts to try one after the other: {z, spectype if known}. */
  offer(chips) {
    this.chips = chips;
    this.chip = -1;
  }

  tryOut({ z, spectype }) {
    this.follow(spectype);
    this.moveTo(z);
  }

  /** Do the action of a key or button; false if it is not for us. */
  act(action, event) {
    const step = STEP * (1 + this.z) * (event?.shiftKey ? 10 : 1);
    const actions = {
      "nudge-up": () => this.moveTo(this.z + step),
      "nudge-down": () => this.moveTo(this.z - step),
      "nudge-up-fine": () => this.moveTo(this.z + step / 10),
      "nudge-down-fine": () => this.moveTo(this.z - step / 10),
      z: () => byId("z").select(),
      chip: () => this.nextChip(),
      fit: () => this.fit(false),
      "fit-wide": () => this.fit(true),
      "smooth-more": () => this.options({ smoothing: Math.min(20, this.plot.options.smoothing + 1) }),
      "smooth-less": () => this.options({ smoothing: Math.max(0, this.plot.options.smoothing - 1) }),
      arms: () => this.options({ separate: !this.plot.options.separate }),
      noise: () => this.options({ noise: !this.plot.options.noise }),
      lines: () => this.cycle("lines"),
      template: () => this.cycle("template"),
      hold: () => this.hold(!this.holding),
      view: () => this.plot.resetView(),
      "zoom-in": () => this.plot.zoom(0.7),
      "zoom-out": () => this.plot.zoom(1 / 0.7),
      taller: () => this.plot.zoom(0.8, "y"),
      lower: () => this.plot.zoom(1 / 0.8, "y"),
      "pan-left": () => this.plot.pan(-0.25),
      "pan-right": () => this.plot.pan(0.25),
      theme: () => window.toggleTheme(),
      help: () => byId("help").showModal(),
    };
    if (!(action in actions)) return false;
    actions[action]();
    return true;
  }

  /** Draw the template of a class, unless templates are off. */
  follow(spectype) {
    if (spectype in this.plot.templates && this.plot.options.template !== "none") this.options({ template: spectype });
  }

  cycle(name) {
    const values = CYCLES[name];
    this.options({ [name]: values[(values.indexOf(this.plot.options[name]) + 1) % values.length] });
  }

  hold(on) {
    this.holding = on;
    byId("hold").setAttribute("aria-pressed", String(on));
  }

  nextChip() {
    if (!this.chips.length) return this.hint("no redshift is proposed (m shows what is known)");
    this.chip = (this.chip + 1) % this.chips.length;
    return this.tryOut(this.chips[this.chip]);
  }

  async fit(wide) {
    const target = this.target;
    const { template } = this.plot.options;
    const spectype = template === "none" ? "QSO" : template;
    this.hint(`fitting a ${spectype} template …`);
    try {
      const found = await post(`/api/objects/${target}/fit`, { z: this.z, spectype, wide });
      if (this.target !== target) return;
      this.moveTo(found.z);
      const edge = found.at_edge ? ", at the edge of the search" : "";
      this.hint(`${spectype} template, correlation ${found.correlation.toFixed(2)}${edge}`);
    } catch (error) {
      this.hint(error.message);
    }
  }

  hint(text) {
    byId("z-hint").textContent = text;
  }

  /** Change how the spectrum is shown, and remember it for this browser. */
  options(changes) {
    this.plot.set(changes);
    const now = this.plot.options;
    byId("smoothing").value = now.smoothing;
    byId("smoothing-text").textContent = now.smoothing ? `${now.smoothing} pixels` : "none";
    byId("arms").textContent = now.separate ? "arms separate" : "arms together";
    byId("noise").setAttribute("aria-pressed", String(now.noise));
    byId("lines").textContent = `lines: ${now.lines}`;
    byId("template").textContent = `template: ${now.template}`;
    try {
      localStorage.setItem(OPTIONS_KEY, JSON.stringify(now));
    } catch { /* forgotten with this page, then */ }
  }

  stored() {
    try {
      return JSON.parse(localStorage.getItem(OPTIONS_KEY)) ?? {};
    } catch {
      return {};
    }
  }
}
