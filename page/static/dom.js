// Access to elements of the templates.

/**
 * Return the element with this id; an error if the template has none of this kind.
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
 * Return the two numbers in a header of a response, such as x-rows: "0,128".
 * @param {Response} answer
 * @param {string} name
 * @returns {Pair}
 */
export function pairIn(answer, name) {
  const [first, second] = (answer.headers.get(name) ?? "").split(",").map(Number);
  return [first, second];
}
