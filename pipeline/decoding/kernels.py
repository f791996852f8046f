"""The inner loops of the decoding engine, compiled: thin matrix products and the solver's iteration.

``pipeline.decoding.solver`` describes the method, and has the plain numpy twin of `minimise`: tests compare
the two, and the twin is used where numba cannot compile.

Two things make it fast. BLAS packs its operands at every call, and runs the products of this solver
(tens of long rows) at half of its peak speed or less. Here the activity is packed once per subset, in panels
of `WIDTH` columns, and a micro-kernel keeps a block of results in registers. The rest of an iteration
is fused into loops over a row, without temporary arrays and without Python's lock (the GIL).

Each row of a problem is computed on its own, in an order that does not depend on the other rows: the
result has the same bits whichever rows are solved together.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from pipeline.decoding.solver import MAX_DRIFT, MAX_ITERATIONS, TURNS, Problem, SharedProblem

_FEATURES = llvm.get_host_cpu_features()
_WIDE = _FEATURES.get("avx512f", False)
#: float32 values in a vector register.
LANES = 16 if _WIDE else 8 if _FEATURES.get("avx2", False) else 4
#: Columns of a panel: three registers of the streamed matrix.
WIDTH = 3 * LANES
#: Most rows of a block of results: 4 x 3 registers hold sums where the CPU has 16, 8 x 3 where it has 32.
BLOCK = 4 if LANES == 8 else 8

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",  # no check for division by zero, which would keep loops from being vectorised
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},  # not nnan and ninf: a row that overflows is known by its NaN
    "no_cfunc_wrapper": True,
}
#: For functions that only compiled code calls: wrappers for Python would take half of the time to compile. Inlined,
#: because a process that compiles them would otherwise call other copies than one that loads them from the cache, and
#: the last bits of their sums would differ.
INNER: dict[str, Any] = {**OPTIONS, "no_cpython_wrapper": True, "forceinline": True}
#: The same for the large parts of `minimise`: inlined before they are compiled, which saves compiling them alone.
PART: dict[str, Any] = {**OPTIONS, "inline": "always"}


@intrinsic
def _block(_context: Any, rows: Any, a: Any, lda: Any, b: Any, depth: Any, c: Any, ldc: Any) -> Any:
    """Write A[:rows, :depth] @ B[:depth, :WIDTH] to C[:rows, :WIDTH], float32, for 1 to `BLOCK` rows.

    a, b and c are memory addresses, lda and ldc strides in values. It is built from LLVM instructions, so that the sums
    stay in registers: one loop for each number of rows. A row has the same bits in all of them.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        done = builder.append_basic_block("done")
        choice = builder.switch(args[0], done)
        for number in range(1, BLOCK + 1):
            case = builder.append_basic_block(f"rows_{number}")
            choice.add_case(ir.Constant(ir.IntType(64), number), case)
            builder.position_at_end(case)
            _write_block(builder, number, *args[1:])
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 7), generate


def _write_block(builder: Any, rows: int, a: Any, lda: Any, b: Any, depth: Any, c: Any, ldc: Any) -> None:
    """Add the instructions of `_block` for one number of rows."""
    real, word = ir.FloatType(), ir.IntType(64)
    vector = ir.VectorType(real, LANES)
    # shuffling by these copies lane 0 to all lanes
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    blank = ir.Constant(vector, ir.Undefined)
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32")

    def place(base: Any, index: Any, kind: Any) -> Any:
        offset = builder.mul(index, ir.Constant(word, 4))
        return builder.inttoptr(builder.add(base, offset), kind.as_pointer())

    def row(base: Any, stride: Any, i: int) -> Any:
        return builder.add(base, builder.mul(stride, ir.Constant(word, 4 * i)))

    a_rows = [row(a, lda, i) for i in range(rows)]
    before, loop = builder.block, builder.append_basic_block("depth")
    after = builder.append_basic_block("store")
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(word)
    sums = [[builder.phi(vector) for _ in range(3)] for _ in range(rows)]
    at = builder.add(b, builder.mul(step, ir.Constant(word, 4 * WIDTH)))
    streamed = []
    for j in range(3):
        streamed.append(builder.load(place(at, ir.Constant(word, j * LANES), vector)))
        # rows are aligned to their values only; LLVM would assume the alignment of a whole vector, and crash
        streamed[-1].align = 4
    for i in range(rows):
        value = builder.load(place(a_rows[i], step, real))
        value = builder.insert_element(blank, value, ir.Constant(ir.IntType(32), 0))
        value = builder.shuffle_vector(value, blank, lanes)
        for j in range(3):
            total = builder.call(fma, [value, streamed[j], sums[i][j]])
            # 0 in the first step, the sum so far in the others
            sums[i][j].add_incoming(ir.Constant(vector, [0.0] * LANES), before)
            sums[i][j].add_incoming(total, loop)
            sums[i][j] = total
    following = builder.add(step, ir.Constant(word, 1))
    step.add_incoming(ir.Constant(word, 0), before)
    step.add_incoming(following, loop)
    # tested at the end of a step: depth must be 1 or more
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
    builder.position_at_end(after)
    for i in range(rows):
        for j in range(3):
            target = place(row(c, ldc, i), ir.Constant(word, j * LANES), vector)
            builder.store(sums[i][j], target).align = 4


@njit(**OPTIONS)
def product(left: np.ndarray, panels: np.ndarray, depth: int, out: np.ndarray) -> None:
    """Write left[:, :depth] @ matrix to ``out``; the matrix is packed by `pack`, all are float32.

    left (rows, >= depth), panels (P, >= depth, WIDTH), out (rows, multiple of WIDTH).
    """
    rows, lda, ldc = left.shape[0], left.strides[0] // 4, out.strides[0] // 4
    a, b, c = left.ctypes.data, panels.ctypes.data, out.ctypes.data
    # blocks of nearly the same size: one of a single row would take as long as one of several
    n_blocks = (rows + BLOCK - 1) // BLOCK
    for panel in range(out.shape[1] // WIDTH):
        at = b + 4 * panel * panels.shape[1] * WIDTH
        to = c + 4 * panel * WIDTH
        r = 0
        for left_over in range(n_blocks, 0, -1):
            size = (rows - r + left_over - 1) // left_over
            _block(size, a + 4 * r * lda, lda, at, depth, to + 4 * r * ldc, ldc)  # type: ignore[call-arg]
            r += size


@njit(**OPTIONS)
def pack(matrix: np.ndarray) -> np.ndarray:
    """Return a (depth, columns) matrix as panels of columns, (P, depth, WIDTH) float32, padded with zeros."""
    depth, columns = matrix.shape
    panels = np.empty(((columns + WIDTH - 1) // WIDTH, depth, WIDTH), np.float32)
    for p in range(panels.shape[0]):
        n = min(WIDTH, columns - p * WIDTH)
        for i in range(depth):
            for j in range(n):
                panels[p, i, j] = matrix[i, p * WIDTH + j]
            for j in range(n, WIDTH):
                panels[p, i, j] = 0
    return panels


@njit(**OPTIONS)
def pack_symmetric(lower: np.ndarray) -> np.ndarray:
    """Return what `pack` returns of the symmetric matrix (m, m) whose lower triangle is given."""
    m = lower.shape[0]
    panels = np.zeros(((m + WIDTH - 1) // WIDTH, m, WIDTH), np.float32)
    for j in range(m):
        for i in range(j, m):
            panels[j // WIDTH, i, j % WIDTH] = lower[i, j]
            panels[i // WIDTH, j, i % WIDTH] = lower[i, j]
    return panels


@njit(**OPTIONS)
def pack_pairs(modes: np.ndarray) -> np.ndarray:
    """Return what `pack` returns of the products of each two columns of modes (n, m) float32.

    They are (n, m (m + 1) / 2), the lower triangle of (m, m) line by line.
    """
    n, m = modes.shape
    panels = np.empty(((m * (m + 1) // 2 + WIDTH - 1) // WIDTH, n, WIDTH), np.float32)
    line = np.zeros(panels.shape[0] * WIDTH, np.float32)  # of one trial, padded
    for i in range(n):
        start = 0
        for t in range(m):
            for u in range(t + 1):
                line[start + u] = modes[i, t] * modes[i, u]
            start += t + 1
        for p in range(panels.shape[0]):
            for j in range(WIDTH):
                panels[p, i, j] = line[p * WIDTH + j]
    return panels


@intrinsic
def _as_float(_context: Any, value: Any) -> Any:
    """Return the float32 that has the bits of an int32."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _borrowed_arrays(_context: Any, arrays: Any) -> Any:
    """Return a named tuple whose arrays own no memory: views of their rows then count no references.

    Counting takes a fifth of an iteration. The arrays of the argument must live for as long as the result.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args[0]
        values = cgutils.unpack_tuple(builder, args[0], len(kinds))
        for place, kind in enumerate(kinds):
            if isinstance(kind, types.Array):
                array = context.make_array(kind)(context, builder, values[place])
                array.meminfo = cgutils.get_null_value(array.meminfo.type)
                values[place] = array._getvalue()
        return context.make_tuple(builder, kinds, values)

    return arrays(arrays), generate


#: Numba passes the first argument itself, which the types do not say.
_borrowed: Any = _borrowed_arrays
f4 = np.float32


@njit(**INNER)
def _sigmoid(z: np.ndarray, labels: np.ndarray, weights: np.ndarray, e: np.ndarray, d: np.ndarray) -> None:
    """Write the loss's first and second derivatives in z: e = -c y s, d = c s (1 - s), s = 1/(1 + exp(y z)).

    exp is that of Cephes (S. Moshier), a power of two times a polynomial, which the compiler turns into vector
    instructions; its relative error is 2e-7. All arrays are (n padded,) float32.
    """
    for i in range(z.size):
        # exp(88.7) is the largest float32; then x = power ln 2 + rest, with ln 2 in two parts: the first has few
        # digits, so that its product with the power is exact (Cody & Waite)
        x = min(max(labels[i] * z[i], f4(-87)), f4(87))
        power = np.floor(x * f4(1.44269504) + f4(0.5))
        x = x - power * f4(0.693359375) + power * f4(2.12194440e-4)
        p = f4(1.9875691500e-4)
        p = p * x + f4(1.3981999507e-3)
        p = p * x + f4(8.3334519073e-3)
        p = p * x + f4(4.1665795894e-2)
        p = p * x + f4(1.6666665459e-1)
        p = p * x + f4(5.0000001201e-1)
        # 2**power as the bits of a float32: its exponent is biased by 127 and begins at bit 23
        bits = (np.int32(power) + np.int32(127)) << np.int32(23)
        exp = (p * x * x + x + f4(1)) * _as_float(bits)  # type: ignore[call-arg]
        s = f4(1) / (f4(1) + exp)
        e[i] = -weights[i] * labels[i] * s
        # exp * s is 1 - s without the cancellation
        d[i] = weights[i] * s * (exp * s)


@njit(**INNER)
def _dot(a: np.ndarray, b: np.ndarray) -> np.float32:
    total = f4(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@njit(**INNER)
def _dot3(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.float32:
    total = f4(0)
    for i in range(a.size):
        total += a[i] * b[i] * c[i]
    return total


@njit(**INNER)
def _sum(a: np.ndarray) -> np.float32:
    total = f4(0)
    for i in range(a.size):
        total += a[i]
    return total


@njit(**INNER)
def _cholesky(a: np.ndarray) -> None:
    """Replace the lower triangle of a (m, m) by its Cholesky factor."""
    for j in range(a.shape[0]):
        for i in range(j, a.shape[0]):
            total = a[i, j]
            for t in range(j):
                total -= a[i, t] * a[j, t]
            a[i, j] = math.sqrt(max(total, f4(1e-30))) if i == j else total / a[j, j]


@njit(**INNER)
def _cholesky_solve(a: np.ndarray, y: np.ndarray) -> None:
    """Replace y (m,) by the solution of A x = y, where a holds the Cholesky factor of A."""
    for i in range(y.size):
        for t in range(i):
            y[i] -= a[i, t] * y[t]
        y[i] /= a[i, i]
    for i in range(y.size - 1, -1, -1):
        for t in range(i + 1, y.size):
            y[i] -= a[t, i] * y[t]
        y[i] /= a[i, i]


@njit(**INNER)
def _newton(h: np.ndarray, g: np.ndarray, size: int, out: np.ndarray) -> None:
    """Write the solution of h out = -g, (3, 3) and (3,) float64, in the first ``size`` of three unknowns."""
    a = np.zeros((3, 4))
    for i in range(size):
        for j in range(size):
            a[i, j] = h[i, j] / math.sqrt(max(h[i, i], 1e-30) * max(h[j, j], 1e-30))
        a[i, i] += 1e-9  # the last step may lie along the new direction
        a[i, 3] = -g[i] / math.sqrt(max(h[i, i], 1e-30))
    for i in range(size):
        # without pivoting: the scaled matrix is positive definite
        for r in range(i + 1, size):
            factor = a[r, i] / a[i, i]
            for j in range(i, 4):
                a[r, j] -= factor * a[i, j]
    out[:] = 0
    for i in range(size - 1, -1, -1):
        total = a[i, 3]
        for j in range(i + 1, size):
            total -= a[i, j] * out[j]
        out[i] = total / a[i, i]
    for i in range(size):
        out[i] /= math.sqrt(max(h[i, i], 1e-30))


@njit(**INNER)
def _centre(values: np.ndarray, weights: np.ndarray) -> None:
    """Subtract the mean over training trials: with a free intercept the dual's variables sum to 0."""
    count, total = f4(0), f4(0)
    for i in range(values.size):
        if weights[i] > 0:
            count += f4(1)
            total += values[i]
    for i in range(values.size):
        values[i] = values[i] - total / count if weights[i] > 0 else f4(0)


@njit(**PART)
def _image(p: Problem, rows: np.ndarray, v: np.ndarray, out: np.ndarray) -> None:
    """Write v X' to the first lines of ``out`` (rows, n padded), for v whose line a is of row ``rows[a]``.

    If the intercept is penalised, X is centred on the training trials.
    """
    product(v[: rows.size], p.over_neurons, p.k, out[: rows.size])
    if p.penalised:
        for a in range(rows.size):
            out[a] -= _dot(v[a], p.means[rows[a]])


@njit(**PART)
def _back(p: Problem, rows: np.ndarray, e: np.ndarray, out: np.ndarray) -> None:
    """Write e X to the first lines of ``out`` (rows, k padded), with lines and centred X as in `_image`."""
    product(e[: rows.size], p.over_trials, p.n, out[: rows.size])
    if p.penalised:
        for a in range(rows.size):
            total = _sum(e[a])
            for j in range(out.shape[1]):
                out[a, j] -= total * p.means[rows[a], j]


class State(NamedTuple):
    """Vectors of every row, float32; of d, r, v, zd and y line a is that of the a-th row that still moves.

    Attributes
    ----------
    x, d, q, r : (rows, k padded) primal, (rows, n padded) dual
        Unknowns (w or a), direction, last step, gradient (dual: a + e).
    v : (rows, k padded)
        Neuron weights that d stands for.
    zd, zq : (rows, n padded)
        Images of d and q under X.
    e, h : (rows, n padded)
        First and second derivative of the loss in z.
    qb : (rows,)
        Intercept's part of the last step.
    shrink, shrunk : (rows, n padded)
        Dual's preconditioner: 1 / (1 + rest h), and that times h.
    small, factor : (rows, m (m + 1) / 2 padded), (rows, m, m)
        Dual's preconditioner among the modes (lower triangle, line by line), and its Cholesky factor.
    y : (rows, m padded)
        Work space.
    """

    x: np.ndarray
    d: np.ndarray
    q: np.ndarray
    r: np.ndarray
    v: np.ndarray
    zd: np.ndarray
    zq: np.ndarray
    e: np.ndarray
    h: np.ndarray
    qb: np.ndarray
    shrink: np.ndarray
    shrunk: np.ndarray
    small: np.ndarray
    factor: np.ndarray
    y: np.ndarray


@njit(**PART)
def _state(x: np.ndarray, z: np.ndarray, features: int, modes: int) -> State:
    """Return the state of rows that begin at x, all else zeros; without modes their arrays have no rows."""
    rows, padded = z.shape
    with_modes = rows if modes else 0
    return State(
        x,
        np.zeros(x.shape, f4),
        np.zeros(x.shape, f4),
        np.zeros(x.shape, f4),
        np.zeros((rows, features), f4),
        np.zeros((rows, padded), f4),
        np.zeros((rows, padded), f4),
        np.zeros((rows, padded), f4),
        np.zeros((rows, padded), f4),
        np.zeros(rows, f4),
        np.zeros((with_modes, padded), f4),
        np.zeros((with_modes, padded), f4),
        np.zeros((with_modes, _padded(modes * (modes + 1) // 2)), f4),
        np.zeros((with_modes, modes, modes), f4),
        np.zeros((with_modes, _padded(modes)), f4),
    )


@njit(**INNER)
def _padded(columns: int) -> int:
    return (columns + WIDTH - 1) // WIDTH * WIDTH


@njit(**PART)
def _direction_primal(p: Problem, s: State, rows: np.ndarray) -> None:
    """Set r to the gradient in w, d to minus the preconditioned gradient, v to the neuron weights d stands for."""
    for a in range(rows.size):
        s.zd[a] = s.e[rows[a]]  # side by side for the product; zd itself is set afterwards
    _back(p, rows, s.zd, s.v)
    for a in range(rows.size):
        i = rows[a]
        for j in range(s.x.shape[1]):
            scale = p.inverse_sd[i, j]
            s.r[a, j] = s.x[i, j] + s.v[a, j] * scale
            s.v[a, j] = s.r[a, j] / scale if scale > 0 else f4(0)
    product(s.v[: rows.size], p.preconditioner, p.k, s.d[: rows.size])
    for a in range(rows.size):
        i = rows[a]
        for j in range(s.x.shape[1]):
            scale = p.inverse_sd[i, j]
            s.v[a, j] = -s.d[a, j] if scale > 0 else f4(0)
            s.d[a, j] = s.v[a, j] / scale if scale > 0 else f4(0)


@njit(**PART)
def _factorise_dual(p: Problem, s: State, rows: np.ndarray) -> None:
    """Set the dual's preconditioner from the current second derivatives, by the Woodbury identity."""
    modes = p.eigenvalues.size
    for a in range(rows.size):
        i = rows[a]
        for j in range(s.x.shape[1]):
            s.shrink[i, j] = f4(1) / (f4(1) + p.rest[j] * s.h[i, j])
            s.shrunk[i, j] = s.h[i, j] * s.shrink[i, j]
            s.zd[a, j] = s.shrunk[i, j]
    product(s.zd[: rows.size], p.pairs, p.n, s.small[: rows.size])
    for a in range(rows.size):
        i = rows[a]
        for t in range(modes):
            for u in range(t + 1):
                s.factor[i, t, u] = s.small[a, t * (t + 1) // 2 + u]
            s.factor[i, t, t] += f4(1) / p.eigenvalues[t]
        _cholesky(s.factor[i])


@njit(**PART)
def _direction_dual(p: Problem, s: State, rows: np.ndarray) -> None:
    """Set r to a + e, d to the preconditioned -r, v to the neuron weights d stands for."""
    modes = p.eigenvalues.size
    for a in range(rows.size):
        i = rows[a]
        for j in range(s.x.shape[1]):
            s.r[a, j] = s.x[i, j] + s.e[i, j]
            s.d[a, j] = s.r[a, j] * s.shrink[i, j]
    product(s.d[: rows.size], p.modes, p.n, s.y[: rows.size])
    for a in range(rows.size):
        _cholesky_solve(s.factor[rows[a]], s.y[a, :modes])
    product(s.y[: rows.size], p.modes_back, modes, s.zd[: rows.size])
    for a in range(rows.size):
        i = rows[a]
        for j in range(s.x.shape[1]):
            s.d[a, j] = s.shrunk[i, j] * s.zd[a, j] - s.d[a, j]
        if not p.penalised:
            _centre(s.d[a], p.weights[i])
    _weights_of(p, rows, s.d, s.v)


@njit(**PART)
def _weights_of(p: Problem, rows: np.ndarray, a: np.ndarray, v: np.ndarray) -> None:
    """Set v to the neuron weights that the dual's a stands for: S^-2 X'a; lines as in `_image`."""
    _back(p, rows, a, v)
    for line in range(rows.size):
        i = rows[line]
        for j in range(v.shape[1]):
            v[line, j] *= p.inverse_sd[i, j] * p.inverse_sd[i, j]


@njit(**PART)
def _advance(
    p: Problem,
    s: State,
    z: np.ndarray,
    b: np.ndarray,
    i: int,
    a: int,
    first: bool,
    gradient: np.ndarray,
    hessian: np.ndarray,
    step: np.ndarray,
) -> Any:
    """Take the Newton step of row i, whose direction is line a of d, in the space of d, the intercept and q.

    Returns the square of the remaining gradient, in the norm of the stopping rule (``pipeline.decoding.solver``).
    """
    ridge = f4(1) if p.penalised else f4(0)
    x, d, q, r, e, h, zd, zq = s.x[i], s.d[a], s.q[i], s.r[a], s.e[i], s.h[i], s.zd[a], s.zq[i]
    # the metric of x is the identity in the primal and K in the dual, where Kd is the image of d
    md, mq = (d, q) if p.primal else (zd, zq)
    qb, along, total = s.qb[i], _dot(h, zq), _sum(h) + ridge
    gradient[0], gradient[1] = _dot(r, md), _sum(e) + ridge * b[i]
    gradient[2] = _dot(r, mq) + qb * gradient[1]
    # Hessian of the loss between two directions u and v: <u, v> in the metric of x, plus sum_i h_i z_u,i z_v,i
    hessian[0, 0] = _dot(d, md) + _dot3(h, zd, zd)
    hessian[0, 1] = hessian[1, 0] = _dot(h, zd)
    hessian[1, 1] = total
    hessian[0, 2] = hessian[2, 0] = _dot(d, mq) + _dot3(h, zd, zq) + qb * hessian[0, 1]
    hessian[1, 2] = hessian[2, 1] = along + qb * total
    hessian[2, 2] = _dot(q, mq) + _dot3(h, zq, zq) + qb * (f4(2) * along + qb * total)
    # there is no last step in the first iteration
    _newton(hessian, gradient, 2 if first else 3, step)
    new, old = f4(step[0]), f4(step[2])
    for j in range(x.size):
        q[j] = new * d[j] + old * q[j]
        x[j] += q[j]
    s.qb[i] = f4(step[1]) + old * qb
    b[i] += s.qb[i]
    for j in range(zq.size):
        zq[j] = new * zd[j] + old * zq[j]
        z[i, j] += zq[j] + s.qb[i]
    _sigmoid(z[i], p.labels[i], p.weights[i], e, h)
    slope = step[0] * gradient[0] + step[1] * gradient[1] + step[2] * gradient[2]
    # the intercept's part of the remaining gradient, in the norm of its own curvature; then that of x ("Stop" in
    # pipeline.decoding.solver): its length, or its norm by the preconditioner
    left = gradient[1] * gradient[1] / max(hessian[1, 1], 1e-30)
    if p.strict[i]:
        left += _dot(r, r) if p.primal else abs(slope)
    elif p.bounded:
        flatter = 0.25 * _sum(p.weights[i]) / max(hessian[1, 1] - ridge, 1e-30)
        bound = -gradient[0] * max(flatter, 1.0)
        left += min(bound, _dot(r, r)) if p.primal else abs(bound)  # rounding may leave it below 0
    else:
        left += abs(slope)
    _shorten(p, s, z, b, i, slope)
    return left


@njit(**PART)
def _shorten(p: Problem, s: State, z: np.ndarray, b: np.ndarray, i: int, slope: Any) -> None:
    """Shorten the last step of row i by the secant method while the loss rises at its end."""
    ridge = f4(1) if p.penalised else f4(0)
    x, q, e, zq = s.x[i], s.q[i], s.e[i], s.zq[i]
    for _ in range(20):
        here = _dot(x, q if p.primal else zq) + _dot(e, zq) + s.qb[i] * (_sum(e) + ridge * b[i])
        # a curvature condition as Wolfe's (Nocedal & Wright, chapter 3): past the minimum only where it is flat
        if here <= 0.25 * abs(slope):
            break
        # zero of the straight line through the slopes at the start (below 0) and the end (above 0) of the step
        back = f4(-here / (here - slope))
        rest = f4(1) + back
        for j in range(x.size):
            x[j] += back * q[j]
            q[j] *= rest
        for j in range(zq.size):
            z[i, j] += back * (zq[j] + s.qb[i])
            zq[j] *= rest
        b[i] += back * s.qb[i]
        s.qb[i] *= rest
        slope *= rest
        _sigmoid(z[i], p.labels[i], p.weights[i], e, s.h[i])


@njit(**PART)
def _gradients_dual(p: Problem, s: State, rows: np.ndarray, gradients: np.ndarray) -> None:
    """Write the squared length of the gradient in w of some rows, to their places; d and v are overwritten."""
    for a in range(rows.size):
        i = rows[a]
        for j in range(s.x.shape[1]):
            s.d[a, j] = s.x[i, j] + s.e[i, j]
        if not p.penalised:
            _centre(s.d[a], p.weights[i])
    _back(p, rows, s.d, s.v)
    for a in range(rows.size):
        i = rows[a]
        for j in range(s.v.shape[1]):
            s.v[a, j] *= p.inverse_sd[i, j]
        gradients[i] = _dot(s.v[a], s.v[a])


@njit(**INNER)
def _loss_part(h: np.ndarray, z: np.ndarray, b: Any) -> Any:
    """Return z'hz without the intercept, which shifts all trials alike."""
    return _dot3(h, z, z) - b * (f4(2) * _dot(h, z) - b * _sum(h))


@njit(**INNER)
def _drift(old: np.ndarray, new: np.ndarray, intercept: Any) -> Any:
    """Return how far the summed z is from that of the solution, in units of ``solver.MAX_DRIFT``."""
    far, low, high = f4(0), new[0], new[0]
    for j in range(new.size):
        far = max(far, abs(new[j] + intercept - old[j]))
        low, high = min(low, new[j]), max(high, new[j])
    return far / (MAX_DRIFT * max(high - low, f4(1)))


@njit(**INNER)
def _iterate(p: Problem, s: State, refresh: np.ndarray, z: np.ndarray, b: np.ndarray, error: np.ndarray) -> int:
    """Iterate until every row is within tolerance; return the number of iterations. The arguments are `_borrowed`."""
    n_rows = p.weights.shape[0]
    hessian, gradient, step = np.zeros((3, 3)), np.zeros(3), np.zeros(3)
    norm, gradients = np.zeros(n_rows), np.zeros(n_rows)
    active, near = np.ones(n_rows, np.bool_), np.zeros(n_rows, np.bool_)
    for i in range(n_rows):
        _sigmoid(z[i], p.labels[i], p.weights[i], s.e[i], s.h[i])
    iteration = 0
    while iteration < refresh.size and active.any():
        # rows that have converged are not computed any more: a batch would take as long as its slowest row for each
        rows = np.flatnonzero(active)
        if p.primal:
            _direction_primal(p, s, rows)
        else:
            if refresh[iteration]:
                _factorise_dual(p, s, rows)
            _direction_dual(p, s, rows)
        _image(p, rows, s.v, s.zd)
        for a in range(rows.size):
            i = rows[a]
            left = _advance(p, s, z, b, i, a, iteration == 0, gradient, hessian, step)
            # |w|^2; in the dual w'w = a'Ka = a'(z - b)
            norm[i] = _dot(s.x[i], s.x[i]) if p.primal else _dot(s.x[i], z[i]) - b[i] * _sum(s.x[i])
            size = norm[i]
            if not (p.strict[i] and p.primal):
                size += _loss_part(s.h[i], z[i], b[i])
            error[i] = math.sqrt(left / max(size, 1e-30)) / p.tolerance
            near[i] = error[i] <= 1
        if p.primal:
            active &= ~near
        elif (near & active).any():
            rows = np.flatnonzero(near & active)
            _gradients_dual(p, s, rows, gradients)
            for a in range(rows.size):
                i = rows[a]
                error[i] = max(error[i], math.sqrt(gradients[i] / max(norm[i], 1e-30)) / p.gradient_tolerance)
                # not `error > 1`: NaN stays active, and is missed
                active[i] = not error[i] <= 1
        iteration += 1
    return iteration


@njit(**OPTIONS)
def minimise(p: Problem, refresh: np.ndarray, z: np.ndarray, b: np.ndarray, error: np.ndarray) -> int:
    """Solve all rows of a `solver.Problem`: the compiled ``solver.minimise_numpy``, with its arguments."""
    n_rows = p.weights.shape[0]
    width = p.inverse_sd.shape[1] if p.primal else z.shape[1]
    s = _state(np.zeros((n_rows, width), f4), z, p.inverse_sd.shape[1], 0 if p.primal else p.eigenvalues.size)
    iterations: int = _iterate(_borrowed(p), _borrowed(s), refresh, *_borrowed((z, b, error)))
    # z once more from the solution: without the intercept, and without the rounding errors of many steps
    rows = np.arange(n_rows)
    if p.primal:
        for i in range(n_rows):
            for j in range(s.x.shape[1]):
                s.v[i, j] = s.x[i, j] * p.inverse_sd[i, j]
    else:
        _weights_of(p, rows, s.x, s.v)
    _image(p, rows, s.v, s.zd)
    for i in range(n_rows):
        error[i] = max(error[i], _drift(z[i, : p.n], s.zd[i, : p.n], b[i]))
    z[:] = s.zd
    return iterations


@njit(**PART)
def _direction_shared(p: SharedProblem, s: State, rows: np.ndarray) -> None:
    """Set r to the gradient in w (dual: a + e), d to the preconditioned -r, zd to its image."""
    n_rows = rows.size
    if p.primal:
        for a in range(n_rows):
            s.zd[a] = s.e[rows[a]]  # side by side for the product; zd itself is set afterwards
        product(s.zd[:n_rows], p.over_trials, p.n, s.r[:n_rows])
        for a in range(n_rows):
            for j in range(s.x.shape[1]):
                s.r[a, j] += s.x[rows[a], j]
        product(s.r[:n_rows], p.preconditioner, p.k, s.d[:n_rows])
        product(s.d[:n_rows], p.over_neurons, p.k, s.zd[:n_rows])
        return
    for a in range(n_rows):
        i = rows[a]
        for j in range(s.x.shape[1]):
            s.r[a, j] = s.x[i, j] + s.e[i, j]
        _centre(s.r[a], p.weights[i])
    product(s.r[:n_rows], p.preconditioner, p.n, s.v[:n_rows])
    for a in range(n_rows):
        for j in range(s.x.shape[1]):
            s.d[a, j] = s.v[a, j] - s.r[a, j]
            s.zd[a, j] = -s.v[a, j] / p.h


@njit(**INNER)
def _sums_over_trials(e: np.ndarray, h: np.ndarray, zd: np.ndarray, zq: np.ndarray) -> Any:
    """Return the sums over trials of e, h, h zd, h zd zd, h zd zq, h zq and h zq zq, in one pass."""
    se, sh, hd, hdd, hdq, hq, hqq = f4(0), f4(0), f4(0), f4(0), f4(0), f4(0), f4(0)
    for j in range(e.size):
        d, q = h[j] * zd[j], h[j] * zq[j]
        se += e[j]
        sh += h[j]
        hd += d
        hdd += d * zd[j]
        hdq += d * zq[j]
        hq += q
        hqq += q * zq[j]
    return se, sh, hd, hdd, hdq, hq, hqq


@njit(**INNER)
def _sums_over_unknowns(r: np.ndarray, d: np.ndarray, q: np.ndarray, md: np.ndarray, mq: np.ndarray) -> Any:
    """Return the sums over unknowns of r md, r mq, r r, d md, d mq and q mq, in one pass."""
    rd, rq, rr, dd, dq, qq = f4(0), f4(0), f4(0), f4(0), f4(0), f4(0)
    for j in range(r.size):
        rd += r[j] * md[j]
        rq += r[j] * mq[j]
        rr += r[j] * r[j]
        dd += d[j] * md[j]
        dq += d[j] * mq[j]
        qq += q[j] * mq[j]
    return rd, rq, rr, dd, dq, qq


@njit(**INNER)
def _sums_after(e: np.ndarray, h: np.ndarray, z: np.ndarray, zq: np.ndarray) -> Any:
    """Return the sums over trials of e, e zq, h, h z and h z z, in one pass."""
    se, eq, sh, hz, hzz = f4(0), f4(0), f4(0), f4(0), f4(0)
    for j in range(e.size):
        of_z = h[j] * z[j]
        se += e[j]
        eq += e[j] * zq[j]
        sh += h[j]
        hz += of_z
        hzz += of_z * z[j]
    return se, eq, sh, hz, hzz


@njit(**INNER)
def _move(x: np.ndarray, q: np.ndarray, d: np.ndarray, new: Any, old: Any, by: Any) -> None:
    """Set the last step q to new d + old q, and add it, and ``by``, to x."""
    for j in range(x.size):
        q[j] = new * d[j] + old * q[j]
        x[j] += q[j] + by


@njit(**PART)
def _advance_shared(
    p: SharedProblem, s: State, z: np.ndarray, b: np.ndarray, i: int, a: int, first: bool,
    gradient: np.ndarray, hessian: np.ndarray, step: np.ndarray,
) -> Any:  # fmt: skip
    """Do what `_advance` does for a row that shares its training set, with its sums taken together.

    Returns the square of the remaining gradient, and the size of the solution.
    """
    x, d, q, r, e, h, zd, zq = s.x[i], s.d[a], s.q[i], s.r[a], s.e[i], s.h[i], s.zd[a], s.zq[i]
    md, mq = (d, q) if p.primal else (zd, zq)
    qb = s.qb[i]
    se, sh, hd, hdd, hdq, hq, hqq = _sums_over_trials(e, h, zd, zq)
    rd, rq, rr, dd, dq, qq = _sums_over_unknowns(r, d, q, md, mq)
    gradient[0], gradient[1], gradient[2] = rd, se, rq + qb * se
    hessian[0, 0] = dd + hdd
    hessian[0, 1] = hessian[1, 0] = hd
    hessian[1, 1] = sh
    hessian[0, 2] = hessian[2, 0] = dq + hdq + qb * hd
    hessian[1, 2] = hessian[2, 1] = hq + qb * sh
    hessian[2, 2] = qq + hqq + qb * (f4(2) * hq + qb * sh)
    _newton(hessian, gradient, 2 if first else 3, step)
    new, old = f4(step[0]), f4(step[2])
    s.qb[i] = f4(step[1]) + old * qb
    b[i] += s.qb[i]
    _move(x, q, d, new, old, f4(0))
    _move(z[i], zq, zd, new, old, s.qb[i])
    _sigmoid(z[i], p.labels[i], p.weights[i], e, h)
    slope = step[0] * gradient[0] + step[1] * gradient[1] + step[2] * gradient[2]
    flatter = 0.25 * _sum(p.weights[i]) / max(hessian[1, 1], 1e-30)
    bound = -gradient[0] * max(flatter, 1.0)
    left = gradient[1] * gradient[1] / max(hessian[1, 1], 1e-30) + (min(bound, rr) if p.primal else abs(bound))
    se, eq, sh, hz, hzz = _sums_after(e, h, z[i], zq)
    if _dot(x, mq) + eq + s.qb[i] * se > 0.25 * abs(slope):
        _shorten(p, s, z, b, i, slope)
        se, eq, sh, hz, hzz = _sums_after(e, h, z[i], zq)
    # |w|^2; in the dual w'w = a'Ka = a'(z - b)
    size = _dot(x, x) if p.primal else _dot(x, z[i]) - b[i] * _sum(x)
    return left, size + hzz - b[i] * (f4(2) * hz - b[i] * sh)


@njit(**INNER)
def _iterate_shared(
    p: SharedProblem, s: State, z: np.ndarray, b: np.ndarray, error: np.ndarray, active: np.ndarray
) -> int:
    """Iterate until every active row is within tolerance; return the number of iterations. All are `_borrowed`."""
    hessian, gradient, step = np.zeros((3, 3)), np.zeros(3), np.zeros(3)
    for row in np.flatnonzero(active):
        _sigmoid(z[row], p.labels[row], p.weights[row], s.e[row], s.h[row])
    iteration = 0
    while iteration < MAX_ITERATIONS and active.any():
        rows = np.flatnonzero(active)
        _direction_shared(p, s, rows)
        for a in range(rows.size):
            i = rows[a]
            left, size = _advance_shared(p, s, z, b, i, a, iteration == 0, gradient, hessian, step)
            error[i] = math.sqrt(left / max(size, 1e-30)) / p.tolerance
            # not `error > 1`: NaN stays active, and is missed
            active[i] = not error[i] <= 1
        iteration += 1
    return iteration


@njit(**OPTIONS)
def minimise_shared(p: SharedProblem, z: np.ndarray, b: np.ndarray, error: np.ndarray) -> int:
    """Solve all rows of a `solver.SharedProblem`: the compiled ``solver.minimise_shared_numpy``, with its arguments."""
    n_rows, depth = p.weights.shape[0], p.k if p.primal else p.n
    of_train, drift = np.zeros_like(p.weights), np.zeros(n_rows)
    s = _state(np.zeros((n_rows, _padded(depth)), f4), of_train, 0 if p.primal else p.weights.shape[1], 0)
    iterations, far = 0, np.ones(n_rows, np.bool_)
    for _ in range(TURNS):
        iterations += _iterate_shared(_borrowed(p), _borrowed(s), *_borrowed((of_train, b, error)), far.copy())
        # z once more from the solution; a row that is far from it goes on from there
        product(s.x, p.features, depth, z)
        for row in np.flatnonzero(far):
            drift[row] = _drift(of_train[row, : p.n], z[row, : p.n], b[row])
            far[row] = not drift[row] <= 1
            of_train[row, : p.n] = z[row, : p.n] + b[row]
        if not far.any():
            break
    for i in range(n_rows):
        error[i] = max(error[i], drift[i])
    return iterations


@njit(**OPTIONS)
def pairs_won(z: np.ndarray, rows: np.ndarray, mine: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return over how many of the other trials of its group each of mine has the higher value; ties count half.

    z (rows, n) float64; rows (groups,); mine and others (groups, most) trial numbers, padded with -1. Returns (groups,
    most of mine) float64, 0 where there is no trial.
    """
    won = np.zeros(mine.shape)
    values = np.empty(others.shape[1])
    for g in range(rows.size):
        n_others = 0
        while n_others < others.shape[1] and others[g, n_others] >= 0:
            values[n_others] = z[rows[g], others[g, n_others]]
            n_others += 1
        for i in range(mine.shape[1]):
            if mine[g, i] < 0:
                break
            own, above, level = z[rows[g], mine[g, i]], 0, 0
            for value in values[:n_others]:
                above += 1 if own > value else 0
                level += 1 if own == value else 0
            won[g, i] = above + 0.5 * level
    return won
