// Elements that the templates have.

/**
 * Return the element with an id. That there is one, and of this kind, is a promise of the page's template.
 * @template {Element} T
 * @param {string} id
 * @param {{ new (): T, name: string }} kind
 * @returns {T}
 */
export function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} with the id ${id}`);
  return found;
}

/**
 * @param {HTMLCanvasElement | OffscreenCanvas} canvas
 * @returns {CanvasRenderingContext2D}
 */
export function contextOf(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/**
 * Return what a header of an answer holds, such as x-rows: "0,128".
 * @param {Response} answer
 * @param {string} name
 * @returns {Pair}
 */
export function pairIn(answer, name) {
  const [first, second] = (answer.headers.get(name) ?? "").split(",").map(Number);
  return [first, second];
}
