// What the scripts of the page pass to each other and get from the server: read by tsc alone, see `npm run check`.
import type UPlot from "uplot";

declare global {
  type Pair = [number, number];
  type Color = [number, number, number];
  type Point = [number, number];
  type Limits = [left: number, right: number, back: number, front: number];
  type Axis = "rows" | "frames";
  type Drag = "select" | "move" | "scroll";

  /** Rows and frames that are in view, from and to. */
  interface View {
    rows: Pair;
    frames: Pair;
  }

  /** One of the three, or null for no selection: rows, micrometres on the map, acronym of a region or an area. */
  interface Chosen {
    rows?: Pair;
    box?: Limits;
    region?: string;
  }

  interface Region {
    acronym: string;
    name: string;
    area: string;
    allen: string;
    distinct: string;
    of_area: string;
  }

  /** /sessions/EID/cells.json: arrays of all cells in the order of Rastermap. */
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
  }

  interface Group {
    name: string;
    color: string;
    title: string;
    n: number;
  }

  /** The colour of each cell; either groups for a legend, or the ends of a scale and its unit. */
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

  /** /sessions/EID/timeline.json: start of each frame, s; wheel in rad/s; places in frames. */
  interface TimelineData {
    clock: number[];
    wheel: number[] | null;
    events: { name: string; color: string; frames: number[] }[];
    blocks: { name: string; color: string; from: number; to: number }[];
  }

  /** /sessions/EID/cells/FOV/ROI/trace.json: seconds. */
  interface TraceData {
    times: number[];
    values: (number | null)[];
    events: { name: string; color: string; times: number[] }[];
  }

  /** What tracking.html holds: for each pattern the numbers of its sessions and how many cells have it. */
  interface TrackingData {
    patterns: { sessions: number[]; n: number }[];
    dates: string[];
    eids: string[];
    subject: string;
    run: string;
  }

  /** A part of the raster as it came, a byte a value, and drawn. */
  interface Picture {
    bytes: Uint8Array;
    shape: Pair;
    rows: Pair;
    frames: Pair;
    canvas?: OffscreenCanvas;
  }

  /** What gestures on the raster do; places are shares of the canvas. */
  interface RasterActs {
    view(): View;
    show(view: View): void;
    zoom(axis: Axis, factor: number, at: number): void;
    move(axis: Axis, share: number): void;
    mark(from: number, to: number): void;
    choose(isMeant: boolean): void;
    hover(at: Point): void;
    click(at: Point): void;
  }

  interface RasterKeys {
    zoom(axis: Axis, factor: number): void;
    move(axis: Axis, share: number): void;
    extend(direction: number): void;
    all(): void;
    none(): void;
    name(): void;
  }

  interface MapActs {
    box(from: Point, to: Point): void;
    choose(corner: Point): void;
    click(at: Point): void;
    zoom(factor: number, at: Point): void;
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
