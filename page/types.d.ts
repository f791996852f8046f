// Types of what the page's scripts pass to each other and get from the server. Only tsc reads them: `npm run check`.
import type UPlot from "uplot";

declare global {
  type Pair = [number, number];
  type Color = [number, number, number];
  type Point = [number, number];
  type Limits = [left: number, right: number, back: number, front: number];
  type Axis = "rows" | "frames";
  type Drag = "select" | "move" | "scroll";

  /** Rows and frames in view: first and last of each. */
  interface View {
    rows: Pair;
    frames: Pair;
  }

  /** A selection of cells, by exactly one of: rows, a box on the map in micrometres, acronym of a region or area, FOV. */
  interface Chosen {
    rows?: Pair;
    box?: Limits;
    region?: string;
    fov?: number;
  }

  interface Region {
    acronym: string;
    name: string;
    area: string;
    allen: string;
    distinct: string;
    of_area: string;
  }

  /** /sessions/EID/cells.json: arrays with a value for each cell, in Rastermap order. */
  interface Cells {
    fov: number[];
    roi: number[];
    region: number[];
    ml: (number | null)[];
    ap: (number | null)[];
    dv: (number | null)[];
    probability: (number | null)[];
    days: number[];
    regions: Region[];
    fovs: Record<string, { color: string; depth: number | null }>;
  }

  /** An entry of /outlines.json: a region of the atlas, or the brain, whose side is "". In micrometres from bregma. */
  interface Outline {
    acronym: string;
    name: string;
    side: "left" | "right" | "";
    polygons: Point[][];
    /** Of its name: farthest from its border, which is `room` away. */
    place: Point;
    room: number;
  }

  /** Functions between micrometres and px of a canvas, and px of a micrometre. */
  interface Place {
    x(ml: number): number;
    y(ap: number): number;
    ml(x: number): number;
    ap(y: number): number;
    scale: number;
  }

  interface Group {
    name: string;
    color: string;
    title: string;
    n: number;
  }

  /** The colour of each cell, with groups for a legend, or the ends of the colour scale and its unit. */
  interface Coloring {
    of: string[];
    groups: Group[] | null;
    low: number;
    high: number;
    unit: string;
  }

  interface PageColors {
    paper: Color;
    ink: Color;
    faint: Color;
    accent: Color;
    line: Color;
  }

  /** /sessions/EID/timeline.json. clock: start of each frame, s; wheel: rad/s; positions of events and blocks: frames. */
  interface TimelineData {
    clock: number[];
    wheel: number[] | null;
    events: { name: string; color: string; frames: number[] }[];
    blocks: { name: string; color: string; from: number; to: number }[];
  }

  /** /sessions/EID/cells/FOV/ROI/trace.json; times in s. */
  interface TraceData {
    times: number[];
    values: (number | null)[];
    events: { name: string; color: string; times: number[] }[];
  }

  /** Data in tracking.html. A pattern is a combination of sessions (indices) and the number of cells found in just these. */
  interface TrackingData {
    patterns: { sessions: number[]; n: number }[];
    dates: string[];
    eids: string[];
    subject: string;
    run: string;
  }

  /** /tracking/cells.json: the first cells found in all chosen sessions, with their ROI in each session, by date. */
  interface TrackedCells {
    n: number;
    cells: { uid: string; rois: [eid: string, fov: number, roi: number][] }[];
  }

  /** A part of the raster as received, one byte per value, and as drawn. */
  interface Picture {
    bytes: Uint8Array;
    shape: Pair;
    rows: Pair;
    frames: Pair;
    canvas?: OffscreenCanvas;
  }

  /** Actions of pointers on a canvas; points are fractions of it, those of drag, mark and pinch of before and now. */
  interface PointerActs {
    begin(): void;
    drag(from: Point, to: Point): void;
    pinch(before: Point[], now: Point[]): void;
    mark(from: Point, to: Point): void;
    marked(isMeant: boolean): void;
    hover(at: Point): void;
    click(at: Point): void;
  }

  /** Actions of the wheel; plain: without a key, when the page scrolls; aside: a wheel turned sideways. */
  interface WheelActs {
    plain(): void;
    zoom(factor: number, at: Point, isShift: boolean): void;
    aside?(share: number): void;
  }

  interface RasterKeys {
    zoom(axis: Axis, factor: number): void;
    move(axis: Axis, share: number): void;
    extend(direction: number): void;
    all(): void;
    none(): void;
    name(): void;
  }

  interface MapKeys {
    zoom(factor: number): void;
    move(right: number, up: number): void;
    all(): void;
    none(): void;
  }

  interface Window {
    uPlot: typeof UPlot;
    /** For tests and benchmarks of the page. */
    meso: object;
  }
}
