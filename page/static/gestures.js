// Translate pointer, wheel and key events on the raster and the map into actions, which the page's script defines.

/**
 * Return the position of an event as fractions of its canvas.
 * @param {MouseEvent} event
 * @returns {Point}
 */
const place = (event) => {
  const box = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};

/**
 * @typedef {object} Begun State when the last pointer was pressed.
 * @property {View} view
 * @property {Point} at
 * @property {Point[]} fingers
 */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {RasterActs} acts
 * @param {() => Drag} drags Returns what dragging with one pointer does.
 */
export function onRaster(canvas, acts, drags) {
  /** @type {Map<number, Point>} */
  const fingers = new Map();
  /** @type {Begun} */
  let begun = { view: acts.view(), at: [0, 0], fingers: [] };
  let marked = false; // the pointer has moved far enough to select rows

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [x, y] = place(event);
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) && !event.shiftKey) return acts.move("frames", event.deltaX / 800);
    const turned = event.deltaY || event.deltaX; // with Shift some browsers report a horizontal wheel
    // limited: one step is about 100 on a mouse wheel and a few on a touchpad
    const factor = Math.exp(Math.min(Math.max(turned, -60), 60) / 150);
    return event.shiftKey ? acts.zoom("rows", factor, y) : acts.zoom("frames", factor, x);
  }, { passive: false });

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, place(event));
    begun = { view: acts.view(), at: place(event), fingers: [...fingers.values()] };
    marked = false;
  });

  canvas.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (!fingers.has(event.pointerId)) return acts.hover(at);
    fingers.set(event.pointerId, at);
    if (fingers.size === 2) return acts.show(pinched(begun, [...fingers.values()]));
    if (drags() === "move" || event.shiftKey || event.buttons === 4) return acts.show(dragged(begun, at));
    if (drags() === "scroll") return undefined;
    if (!marked && Math.abs(at[1] - begun.at[1]) < 0.005) return undefined;
    marked = true;
    return acts.mark(begun.at[1], at[1]);
  });

  const lift = (/** @type {PointerEvent} */ event) => {
    if (!fingers.delete(event.pointerId) || fingers.size) return;
    if (marked) acts.choose(event.type === "pointerup");
    else if (event.type === "pointerup" && Math.hypot(...begun.at.map((value, k) => value - place(event)[k])) < 0.01) acts.click(begun.at);
    marked = false;
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
}

/**
 * @param {Begun} begun
 * @param {Point} now
 * @returns {View}
 */
function dragged({ view, at }, now) {
  /** @returns {Pair} */
  const by = (/** @type {Axis} */ axis, /** @type {0 | 1} */ k) => {
    const [first, last] = view[axis], far = (now[k] - at[k]) * (last - first);
    return [first - far, last - far];
  };
  return { rows: by("rows", 1), frames: by("frames", 0) };
}

/**
 * Return the view after moving two fingers: the point below each finger stays there.
 * @param {Begun} begun
 * @param {Point[]} fingers
 * @returns {View}
 */
function pinched(begun, [a, b]) {
  if (begun.fingers.length < 2) begun.fingers = [a, b];
  const [c, d] = begun.fingers;
  const along = (/** @type {Axis} */ axis, /** @type {0 | 1} */ k) => {
    const [first, last] = begun.view[axis], span = last - first;
    const before = Math.abs(c[k] - d[k]), now = Math.abs(a[k] - b[k]);
    // fingers almost on a line across this axis say nothing about its zoom
    const factor = before > 0.08 && now > 0.08 ? before / now : 1;
    const held = first + ((c[k] + d[k]) / 2) * span, middle = (a[k] + b[k]) / 2;
    return /** @type {Pair} */ ([held - middle * span * factor, held + (1 - middle) * span * factor]);
  };
  return { rows: along("rows", 1), frames: along("frames", 0) };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {MapActs} acts
 * @param {() => Drag} drags Returns what dragging with one pointer does.
 */
export function onMap(canvas, acts, drags) {
  /** @type {Point | null} */
  let corner = null;
  let isBox = false;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    acts.zoom(Math.exp(Math.min(Math.max(event.deltaY, -60), 60) / 150), place(event));
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    corner = place(event);
    isBox = false;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!corner || drags() === "scroll") return;
    const at = place(event);
    isBox ||= Math.hypot(at[0] - corner[0], at[1] - corner[1]) > 0.012;
    if (isBox) acts.box(corner, at);
  });
  canvas.addEventListener("pointerup", () => {
    if (corner) (isBox ? acts.choose : acts.click)(corner);
    corner = null;
  });
  canvas.addEventListener("pointercancel", () => { corner = null; });
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {MapKeys} acts
 */
export function onMapKeys(canvas, acts) {
  listen(canvas, {
    "+": () => acts.zoom(0.7), "=": () => acts.zoom(0.7), "-": () => acts.zoom(1 / 0.7), 0: acts.all, Escape: acts.none,
    ArrowLeft: () => acts.move(-0.2, 0), ArrowRight: () => acts.move(0.2, 0),
    ArrowUp: () => acts.move(0, 0.2), ArrowDown: () => acts.move(0, -0.2),
  });
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {RasterKeys} acts
 */
export function onKeys(canvas, acts) {
  listen(canvas, {
    ArrowLeft: () => acts.move("frames", -0.2), ArrowRight: () => acts.move("frames", 0.2),
    ArrowUp: () => acts.move("rows", -0.2), ArrowDown: () => acts.move("rows", 0.2),
    "Shift+ArrowUp": () => acts.extend(-1), "Shift+ArrowDown": () => acts.extend(1),
    "+": () => acts.zoom("frames", 0.7), "=": () => acts.zoom("frames", 0.7), "-": () => acts.zoom("frames", 1 / 0.7),
    "Shift++": () => acts.zoom("rows", 0.7), "*": () => acts.zoom("rows", 0.7), _: () => acts.zoom("rows", 1 / 0.7),
    0: acts.all, Escape: acts.none, Enter: acts.name,
  });
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Record<string, () => void>} keys
 */
function listen(canvas, keys) {
  canvas.addEventListener("keydown", (event) => {
    const act = (event.shiftKey && keys[`Shift+${event.key}`]) || keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
}
