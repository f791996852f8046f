// Translate pointer, wheel and key events on the raster and the map into actions, which the page's script defines.

const FAR = 0.01; // fraction of the canvas that a pointer moves before a click is a drag

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
 * Follow the pointers on a canvas. One pointer moves what is shown or selects, as `drags` says, Shift and the middle
 * button move; two fingers always zoom and move, and select nothing, also while one of them is still there.
 * @param {HTMLCanvasElement} canvas
 * @param {PointerActs} acts
 * @param {() => Drag} drags Returns what dragging with one pointer does.
 */
export function onPointers(canvas, acts, drags) {
  /** @type {Map<number, Point>} */
  const fingers = new Map();
  /** @type {Point} */
  let from = [0, 0];
  /** @type {Point[]} */
  let pair = [];
  /** @type {"" | "move" | "mark" | "pinch"} */
  let doing = "";

  const far = (/** @type {Point} */ at) => Math.max(Math.abs(at[0] - from[0]), Math.abs(at[1] - from[1])) > FAR;

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, place(event));
    if (fingers.size === 1) {
      from = place(event);
      doing = "";
    } else if (fingers.size === 2) {
      if (doing === "mark") acts.marked(false);
      doing = "pinch";
      pair = [...fingers.values()];
    }
    acts.begin();
  });

  canvas.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (!fingers.has(event.pointerId)) return acts.hover(at);
    fingers.set(event.pointerId, at);
    if (doing === "pinch") return fingers.size === 2 ? acts.pinch(pair, [...fingers.values()]) : undefined;
    if (!doing && far(at)) {
      if (drags() === "move" || event.shiftKey || event.buttons === 4) doing = "move";
      else if (drags() === "select") doing = "mark";
    }
    if (doing === "move") return acts.drag(from, at);
    return doing === "mark" ? acts.mark(from, at) : undefined;
  });

  const lift = (/** @type {PointerEvent} */ event) => {
    if (!fingers.delete(event.pointerId) || fingers.size) return;
    const isMeant = event.type === "pointerup";
    if (doing === "mark") acts.marked(isMeant);
    else if (!doing && isMeant && !far(place(event))) acts.click(from);
    doing = "";
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
}

/**
 * Zoom with the wheel while Ctrl, ⌘ or Shift is held (a pinch on a touchpad is reported as Ctrl and wheel). Without
 * these the wheel scrolls the page, which would otherwise be trapped above a large canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {WheelActs} acts
 */
export function onWheel(canvas, acts) {
  canvas.addEventListener("wheel", (event) => {
    const isZoom = event.ctrlKey || event.metaKey || event.shiftKey;
    const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) && !event.shiftKey;
    if (!isZoom && !(isSideways && acts.aside)) return acts.plain();
    event.preventDefault();
    if (!isZoom) return acts.aside?.(event.deltaX / 800);
    const turned = event.deltaY || event.deltaX; // with Shift some browsers report a horizontal wheel
    // limited: one step is about 100 on a mouse wheel and a few on a touchpad
    return acts.zoom(Math.exp(Math.min(Math.max(turned, -60), 60) / 150), place(event), event.shiftKey);
  }, { passive: false });
}

/**
 * Return the view of the raster after a drag: what was below the pointer stays there.
 * @param {View} view
 * @param {Point} at
 * @param {Point} now
 * @returns {View}
 */
export function dragged(view, at, now) {
  /** @returns {Pair} */
  const by = (/** @type {Axis} */ axis, /** @type {0 | 1} */ k) => {
    const [first, last] = view[axis], far = (now[k] - at[k]) * (last - first);
    return [first - far, last - far];
  };
  return { rows: by("rows", 1), frames: by("frames", 0) };
}

/**
 * Return the view of the raster after moving two fingers: the point below each finger stays there.
 * @param {View} view
 * @param {Point[]} before
 * @param {Point[]} now
 * @returns {View}
 */
export function pinched(view, [c, d], [a, b]) {
  const along = (/** @type {Axis} */ axis, /** @type {0 | 1} */ k) => {
    const [first, last] = view[axis], span = last - first;
    const apart = Math.abs(c[k] - d[k]), now = Math.abs(a[k] - b[k]);
    // fingers almost on a line across this axis say nothing about its zoom
    const factor = apart > 0.08 && now > 0.08 ? apart / now : 1;
    const held = first + ((c[k] + d[k]) / 2) * span, middle = (a[k] + b[k]) / 2;
    return /** @type {Pair} */ ([held - middle * span * factor, held + (1 - middle) * span * factor]);
  };
  return { rows: along("rows", 1), frames: along("frames", 0) };
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
