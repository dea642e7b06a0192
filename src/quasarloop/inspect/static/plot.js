// The spectrum: Bokeh draws what stays (flux, noise, axes, zoom); a canvas above it draws what
// moves with the redshift, so that a move costs neither a server call nor a repaint of the data.

import { drawBands, drawLabel, drawMarks } from "./line_marks.js";
import { coarse, fluxRange, nearest, noise, smooth, waveRange, FLAGGED, MASKED } from "./spectrum.js";
import { place, Template } from "./template.js";

const ARM_COLOURS = { b: "--arm-b", r: "--arm-r", z: "--arm-z" };
const TOP_PX = 46; // room for the rest-frame axis

export class SpectrumPlot {
  constructor(host, overlay, readout, reference) {
    this.host = host;
    this.overlay = overlay;
    this.readout = readout;
    this.marks = reference.marks;
    this.bands = reference.bands;
    this.templates = Object.fromEntries(
      Object.entries(reference.templates).map(([name, kinds]) => [
        name, Object.fromEntries(Object.entries(kinds).map(([kind, sent]) => [kind, new Template(sent)])),
      ]),
    );
    this.usual = reference.usual; // the subtype of each class that is drawn first
    this.mixture = null; // the template that was fitted to this spectrum: {spectype, subtype, template}
    this.z = 0;
    this.options = { smoothing: 3, separate: false, noise: true, lines: "major", template: "QSO", subtype: "QSO" };
    this.arms = [];
    this.lastDraw = 0;
  }

  /** Build the Bokeh figure, once. */
  async start() {
    const { Range1d, ColumnDataSource, Plotting } = window.Bokeh;
    this.x = new Range1d({ start: 3600, end: 9824 });
    this.y = new Range1d({ start: -1, end: 5 });
    const figure = Plotting.figure({
      x_range: this.x,
      y_range: this.y,
      sizing_mode: "stretch_both",
      tools: "pan,box_zoom,xwheel_zoom,ywheel_zoom,reset",
      active_scroll: "xwheel_zoom",
      toolbar_location: "right",
      // The page's own ground shows through: a fill of Bokeh's leaves a seam when themes change.
      background_fill_color: null,
      border_fill_color: null,
      min_border_top: TOP_PX,
      min_border_left: 58,
      x_axis_label: "observed wavelength / Å",
      y_axis_label: "flux / 10⁻¹⁷ erg s⁻¹ cm⁻² Å⁻¹",
    });
    figure.toolbar.logo = null;
    this.figure = figure;
    const names = ["raw", "noise", "b", "r", "z", "brz"];
    this.sources = {};
    this.glyphs = {};
    for (const name of names) {
      this.sources[name] = new ColumnDataSource({ data: { x: [], y: [] } });
      const width = name === "raw" || name === "noise" ? 0.7 : 1.1;
      const renderer = figure.line({ field: "x" }, { field: "y" }, {
        source: this.sources[name],
        line_width: width,
      });
      this.glyphs[name] = renderer.glyph;
    }
    this.view = await Plotting.show(figure, this.host);
    // Keys are the page's own: Bokeh's layer would be a stop of Tab without a name.
    this.view.canvas_view.events_el.tabIndex = -1;
    for (const range of [this.x, this.y]) range.change.connect(() => this.scheduleOverlay());
    // Bokeh leaves bits of the old axes behind when its ground is transparent: all is drawn anew.
    const redraw = () => {
      this.view.request_repaint();
      this.scheduleOverlay();
    };
    new ResizeObserver(() => setTimeout(redraw, 50)).observe(this.host);
    this.host.addEventListener("pointermove", (event) => this.showReadout(event));
    this.host.addEventListener("pointerleave", () => (this.readout.textContent = ""));
    this.recolour();
  }

  /** Show another spectrum; with `hold`, the view stays where it is. */
  show(arms, coadd, { hold = false } = {}) {
    this.separateArms = arms;
    this.coadd = coadd ?? arms[0];
    this.coarse = coarse(arms);
    this.mixture = null;
    this.pickArms();
    if (!hold) this.resetView();
  }

  clear() {
    this.separateArms = null;
    this.arms = [];
    for (const source of Object.values(this.sources)) source.data = { x: [], y: [] };
    this.drawOverlay();
  }

  set(changes) {
    const before = this.options;
    this.options = { ...before, ...changes };
    if (!this.separateArms) return;
    if ("separate" in changes || "smoothing" in changes || "noise" in changes) this.pickArms();
    this.scheduleOverlay();
  }

  /** The template to draw: what was fitted here if it is of the kind shown, else that kind's mean. */
  drawn() {
    const { template, subtype } = this.options;
    if (template === "none") return null;
    const fitted = this.mixture?.spectype === template && this.mixture.subtype === subtype;
    const kinds = this.templates[template] ?? {};
    return fitted ? this.mixture.template : (kinds[subtype] ?? kinds[this.usual[template]] ?? null);
  }

  /** Move to a redshift: only the overlay is drawn anew. Returns the milliseconds it took. */
  moveTo(z) {
    this.z = z;
    return this.drawOverlay();
  }

  resetView() {
    const [low, high] = waveRange(this.separateArms);
    const [bottom, top] = fluxRange(this.separateArms);
    this.x.setv({ start: low, end: high, reset_start: low, reset_end: high });
    this.y.setv({ start: bottom, end: top, reset_start: bottom, reset_end: top });
    this.scheduleOverlay();
  }

  /** Zoom around the middle (factor < 1 comes closer) or pan by a share of what is seen. */
  zoom(factor, axis = "x") {
    const range = this[axis];
    const fixed = axis === "x" ? (range.start + range.end) / 2 : Math.min(0, range.start);
    range.setv({ start: fixed + factor * (range.start - fixed), end: fixed + factor * (range.end - fixed) });
  }

  pan(share) {
    const step = share * (this.x.end - this.x.start);
    this.x.setv({ start: this.x.start + step, end: this.x.end + step });
  }

  pickArms() {
    const { separate, smoothing } = this.options;
    this.arms = separate ? this.separateArms : [this.coadd];
    const fill = Object.fromEntries(Object.keys(this.sources).map((name) => [name, { x: [], y: [] }]));
    this.smoothed = new Map(); // arm -> flux as it is shown
    for (const arm of this.arms) {
      const name = separate && arm.name in ARM_COLOURS ? arm.name : "brz";
      const clean = smooth(arm.flux, arm.ivar, 0);
      this.smoothed.set(arm, smoothing > 0 ? smooth(arm.flux, arm.ivar, smoothing) : clean);
      append(fill[name], arm.wave, this.smoothed.get(arm));
      if (smoothing > 0) append(fill.raw, arm.wave, clean);
      if (this.options.noise) append(fill.noise, arm.wave, noise(arm.ivar));
    }
    for (const [name, data] of Object.entries(fill)) this.sources[name].data = data;
  }

  /** Take colours from the page's style: light or dark. */
  recolour() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    this.colours = Object.fromEntries(
      ["text", "faint", "panel", "line", "noise", "raw", "flux", "emission", "absorption", "sky", "model", "bad", "arm-b", "arm-r", "arm-z"].map(
        (name) => [name, colour(`--${name}`)],
      ),
    );
    const c = this.colours;
    this.figure.setv({ outline_line_color: c.line });
    for (const axis of [...this.figure.below, ...this.figure.left]) {
      axis.setv({
        axis_label_text_color: c.text, major_label_text_color: c.text, axis_line_color: c.line,
        major_tick_line_color: c.line, minor_tick_line_color: c.line,
        axis_label_text_font_style: "normal", axis_label_text_font_size: "13px",
        major_label_text_font_size: "12px",
      });
    }
    for (const grid of this.figure.center) {
      if ("grid_line_color" in grid) grid.setv({ grid_line_color: c.line, grid_line_alpha: 0.35 });
    }
    this.glyphs.noise.setv({ line_color: c.noise });
    this.glyphs.raw.setv({ line_color: c.raw });
    this.glyphs.brz.setv({ line_color: c.flux });
    for (const [arm, name] of Object.entries(ARM_COLOURS)) {
      this.glyphs[arm].setv({ line_color: colour(name) });
    }
    this.scheduleOverlay();
  }

  scheduleOverlay() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.drawOverlay();
    });
  }

  frame() {
    const { left, top, width, height } = this.view.frame.bbox;
    return { left, top, width, height };
  }

  drawOverlay() {
    const started = performance.now();
    const frame = this.frame();
    const ratio = devicePixelRatio || 1;
    const { clientWidth: w, clientHeight: h } = this.host;
    if (this.overlay.width !== Math.round(w * ratio) || this.overlay.height !== Math.round(h * ratio)) {
      this.overlay.width = Math.round(w * ratio);
      this.overlay.height = Math.round(h * ratio);
    }
    const pen = this.overlay.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, w, h);
    if (frame.width > 10 && this.arms.length) {
      pen.font = "12px system-ui, sans-serif";
      this.drawRestAxis(pen, frame);
      pen.save();
      pen.beginPath();
      pen.rect(frame.left, frame.top, frame.width, frame.height);
      pen.clip();
      if (this.options.lines !== "none") drawBands(pen, this, frame);
      this.drawBadPixels(pen, frame);
      const labels = this.options.lines === "none" ? [] : drawMarks(pen, this, frame);
      this.drawTemplate(pen, frame);
      for (const label of labels) drawLabel(pen, label, this.colours.panel);
      pen.restore();
    }
    this.lastDraw = performance.now() - started;
    return this.lastDraw;
  }

  toX(wave, frame) {
    return frame.left + ((wave - this.x.start) / (this.x.end - this.x.start)) * frame.width;
  }

  toY(flux, frame) {
    return frame.top + ((this.y.end - flux) / (this.y.end - this.y.start)) * frame.height;
  }

  drawRestAxis(pen, frame) {
    const from = this.x.start / (1 + this.z);
    const to = this.x.end / (1 + this.z);
    const step = niceStep((to - from) / 8);
    pen.strokeStyle = this.colours.line;
    pen.fillStyle = this.colours.text;
    pen.textAlign = "center";
    pen.textBaseline = "bottom";
    pen.beginPath();
    for (let rest = Math.ceil(from / step) * step; rest <= to; rest += step) {
      const x = this.toX(rest * (1 + this.z), frame);
      pen.moveTo(x, frame.top - 5);
      pen.lineTo(x, frame.top);
      pen.fillText(String(Math.round(rest * 100) / 100), x, frame.top - 6);
    }
    pen.stroke();
    pen.fillText(`rest wavelength / Å at z = ${this.z.toFixed(4)}`, frame.left + frame.width / 2, frame.top - 22);
  }

  drawBadPixels(pen, frame) {
    for (const arm of this.arms) {
      for (const [bit, colour, height] of [[FLAGGED, this.colours.faint, 4], [MASKED, this.colours.bad, 8]]) {
        pen.fillStyle = colour;
        let run = -1;
        for (let i = 0; i <= arm.state.length; i++) {
          const bad = i < arm.state.length && arm.state[i] & bit;
          if (bad && run < 0) run = i;
          if (!bad && run >= 0) {
            const left = this.toX(arm.wave[run], frame);
            const right = this.toX(arm.wave[i - 1], frame);
            if (right > frame.left && left < frame.left + frame.width) {
              pen.fillRect(left - 0.5, frame.top + frame.height - height, Math.max(1.5, right - left + 1), height);
            }
            run = -1;
          }
        }
      }
    }
  }

  drawTemplate(pen, frame) {
    const template = this.drawn();
    const factors = template?.scale(this.coarse, this.z);
    if (!factors) return;
    pen.strokeStyle = this.colours.model;
    pen.lineWidth = 1.8;
    pen.beginPath();
    let drawing = false;
    const perPixel = (this.x.end - this.x.start) / frame.width;
    for (let px = 0; px <= frame.width; px++) {
      const wave = this.x.start + px * perPixel;
      const inside = wave >= this.coarse.low && wave <= this.coarse.high;
      const value = inside ? template.at(wave, this.z) : NaN;
      const u = place(this.coarse, wave);
      const y = this.toY(value * (factors[0] + u * (factors[1] + u * factors[2])), frame);
      if (Number.isFinite(y)) {
        if (drawing) pen.lineTo(frame.left + px, y);
        else pen.moveTo(frame.left + px, y);
      }
      drawing = Number.isFinite(y);
    }
    pen.stroke();
  }

  /** The wavelength under the pointer, Å; null outside. */
  waveAt(event) {
    const frame = this.frame();
    const box = this.host.getBoundingClientRect();
    const px = event.clientX - box.left - frame.left;
    const py = event.clientY - box.top - frame.top;
    if (px < 0 || px > frame.width || py < 0 || py > frame.height || !this.arms.length) return null;
    return this.x.start + (px / frame.width) * (this.x.end - this.x.start);
  }

  showReadout(event) {
    const wave = this.waveAt(event);
    this.pointed = wave;
    if (wave === null) {
      this.readout.textContent = "";
      return;
    }
    const arm = this.arms.find((a) => wave >= a.wave[0] && wave <= a.wave[a.wave.length - 1]);
    const i = arm ? nearest(arm.wave, wave) : -1;
    const flux = arm ? (arm.ivar[i] > 0 ? arm.flux[i].toPrecision(3) : "no data") : "–";
    this.readout.textContent =
      `${wave.toFixed(1)} Å · rest ${(wave / (1 + this.z)).toFixed(1)} Å · flux ${flux}`;
  }
}

/** Join arms into one line, with a gap (NaN) between them. */
function append(data, x, y) {
  if (data.x.length) {
    data.x.push(NaN);
    data.y.push(NaN);
  }
  for (let i = 0; i < x.length; i++) {
    data.x.push(x[i]);
    data.y.push(y[i]);
  }
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
}
