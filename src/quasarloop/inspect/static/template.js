// A rest-frame template drawn at any redshift: sampled on the fly, scaled to the spectrum.

import { floats } from "./spectrum.js";

const TERMS = 3; // template times a parabola in wavelength: calibration and reddening fit in it

/** A template as the server sends it, on a log-uniform rest-frame grid. */
export class Template {
  constructor(sent) {
    this.start = sent.log_start;
    this.step = sent.log_step;
    this.flux = floats(sent.flux);
  }

  /** Flux at an observed wavelength for redshift z; NaN outside. */
  at(wave, z) {
    const position = (Math.log10(wave / (1 + z)) - this.start) / this.step;
    const index = Math.floor(position);
    if (index < 0 || index >= this.flux.length - 1) return NaN;
    const part = position - index;
    return (1 - part) * this.flux[index] + part * this.flux[index + 1];
  }

  /** Coefficients of the parabola that brings the template closest to a coarse spectrum. */
  scale(spectrum, z) {
    const normal = new Float64Array(TERMS * TERMS);
    const right = new Float64Array(TERMS);
    const terms = new Float64Array(TERMS);
    for (const { wave, flux, weight } of spectrum.bins) {
      const value = this.at(wave, z);
      if (Number.isNaN(value)) continue;
      const u = place(spectrum, wave);
      terms[0] = value;
      for (let k = 1; k < TERMS; k++) terms[k] = terms[k - 1] * u;
      for (let i = 0; i < TERMS; i++) {
        right[i] += weight * terms[i] * flux;
        for (let j = 0; j < TERMS; j++) normal[i * TERMS + j] += weight * terms[i] * terms[j];
      }
    }
    return solve(normal, right);
  }
}

/** Where in the spectrum a wavelength lies, -1 to 1. */
export const place = (spectrum, wave) =>
  (2 * (wave - spectrum.low)) / (spectrum.high - spectrum.low) - 1;

function solve(matrix, right) {
  const n = right.length;
  for (let i = 0; i < n; i++) {
    const pivot = matrix[i * n + i];
    if (!(Math.abs(pivot) > 1e-30)) return null;
    for (let row = i + 1; row < n; row++) {
      const factor = matrix[row * n + i] / pivot;
      for (let k = i; k < n; k++) matrix[row * n + k] -= factor * matrix[i * n + k];
      right[row] -= factor * right[i];
    }
  }
  const out = new Float64Array(n);
  for (let i = n - 1; i >= 0; i--) {
    let value = right[i];
    for (let k = i + 1; k < n; k++) value -= matrix[i * n + k] * out[k];
    out[i] = value / matrix[i * n + i];
  }
  return out;
}
