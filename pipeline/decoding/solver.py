"""Many L2 logistic regressions on one matrix of activity, solved together.

A *row* is one regression: trial weights c (C times class weight, 0 for trials outside its training set),
labels y of +-1, and scales 1/s of the neurons on its training trials. It minimises, over w and b,

    1/2 |w|^2 + sum_i c_i log(1 + exp(-y_i z_i)),      z = X S^-1 w + b.

Trials outside the training set have c = 0 and drop out, so all folds and label vectors of a subset of
neurons use the same n trials and share X; only vectors (c, y, s) differ between rows. Each product with X
is computed for all rows at once.

*Iteration*: the preconditioned gradient gives the direction d of a row. The images of d and of the last step q
under X give the exact Hessian in the space spanned by d, q and the intercept, and a Newton step is taken in that
space. This is a nonlinear conjugate gradient method without line search, with two products with X per step. The
loss is convex along a step: where its slope has become positive, the step is shortened by the secant method.

*Primal*, few neurons per trial: x = w. Preconditioner: the inverse of I + dbar X'X, where dbar = C/4 is the
largest value of the loss's second derivative h = c s (1 - s).

*Dual*, many neurons: the solution is in the span of the trials, w = S^-1 X'a, and k matters only in the
products. x = a, with the gradient X S^-1 applied to r = a + e, where e is the loss's derivative in z.
Preconditioner: the inverse of 1 + K h, where K = XX' is approximated by its leading modes and a diagonal. It uses
the current h of each trial, so that the trials that still matter have the right weight.

The sum of a is 0 where the intercept is free, as at the solution, so that X need not be centred for each row.

*Stop*: when the remaining gradient, in the norm of the Hessian, is below ``tolerance`` times the size of the
solution. The preconditioner is only an upper bound of the Hessian, so this norm is scaled by how much flatter the loss
has become. Where that may not suffice (dual; large C) the plain length of the gradient decides: the penalty makes the
loss strongly convex, so the distance of w from the optimum is at most the length of the gradient. To stop at small
steps would be too early where the problem is nearly singular.

The method is a textbook one (Nocedal & Wright, Numerical Optimization, chapters 5 and 7). Solving all rows of a subset
in one batch, and both preconditioners, were chosen by measurements for this project.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Largest remaining gradient, in the norm of the preconditioner, relative to the size of the solution.
TOLERANCE = 1e-5
#: Dual: largest remaining length of the gradient in w, relative to the length of w.
GRADIENT_TOLERANCE = 1e-4
#: Iterations at which the dual's preconditioner is recomputed: h changes most in the first steps.
REFRESH = (0, 1, 2, 4, 6, 9, 13, 18, 25, 35, 50, 70, 100, 140)
#: Largest rounding error of z, which is a sum of many steps, relative to its spread or to 1, the scale of the loss. A
#: row whose z is farther from the z of its solution was stopped by the gradient at another point, and has failed.
MAX_DRIFT = 1e-4
MAX_ITERATIONS = 200
#: Rows of one training set: times that z is computed from the solution, from which a row that has drifted goes on.
TURNS = 3


class Problem(NamedTuple):
    """What is minimised; all arrays float32, padded with zeros to panels of columns (``kernels.pack``).

    Attributes
    ----------
    over_trials : (P, n, width)
        Activity packed for products over trials.
    over_neurons : (Q, K, width)
        Activity packed for products over neurons, of which the first ``k`` are taken.
    n, k : int
        Trials, neurons.
    weights, labels : (rows, n padded)
    inverse_sd : (rows, k padded)
        0 for neurons that are constant on the training trials.
    means : (rows, k padded)
        Of the neurons on the training trials; used where the intercept is penalised.
    penalised : bool
        Whether the intercept is.
    primal : bool
    bounded : bool
        Whether the preconditioner bounds the Hessian, so that its norm decides when to stop: in the primal.
    strict : (rows,) bool
        Primal: stop by the plain length of the gradient.
    tolerance, gradient_tolerance : float
        ``TOLERANCE`` and ``GRADIENT_TOLERANCE``.
    preconditioner : (P, k, width)
        Primal: inverse of the Hessian's bound.
    modes, modes_back, pairs : packed (n, m), (m, n), (n, m (m + 1) / 2)
        Dual: leading modes of the trials, their transpose, and the products of each two modes.
    eigenvalues : (m,)
        Of the modes, less the mean of the others.
    rest : (n padded,)
        Diagonal of the Gram matrix without the modes.
    """

    over_trials: np.ndarray
    over_neurons: np.ndarray
    n: int
    k: int
    weights: np.ndarray
    labels: np.ndarray
    inverse_sd: np.ndarray
    means: np.ndarray
    penalised: bool
    primal: bool
    bounded: bool
    strict: np.ndarray
    tolerance: float
    gradient_tolerance: float
    preconditioner: np.ndarray
    modes: np.ndarray
    modes_back: np.ndarray
    pairs: np.ndarray
    eigenvalues: np.ndarray
    rest: np.ndarray


class SharedProblem(NamedTuple):
    """What is minimised where all rows share their training trials; all arrays float32, padded as in ``Problem``.

    Attributes
    ----------
    n, k : int
        Training trials, which are the first of all trials, and neurons.
    primal : bool
    weights, labels : (rows, n padded)
        Of the training trials.
    features : (P, k or n, width)
        Packed, by which the unknowns are multiplied, of all trials: the standardised activity Z (k, all trials) in the
        primal, the Gram matrix K (n, all trials) in the dual.
    over_trials, over_neurons : (P, n, width), (Q, k, width)
        Primal: Z of the training trials, packed for products over trials and over neurons.
    preconditioner : (P, k or n, width)
        Packed -(I + hZZ')^-1 in the primal, I - (I + hK)^-1 in the dual, both of the training trials.
    h : float
        Largest second derivative of the loss that the preconditioner stands for.
    tolerance : float
        ``TOLERANCE``.
    strict : (rows,) bool
        False, as is ``penalised``: see ``Problem``.
    bounded : bool
        True.
    """

    n: int
    k: int
    primal: bool
    weights: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    over_trials: np.ndarray
    over_neurons: np.ndarray
    preconditioner: np.ndarray
    h: float
    tolerance: float
    strict: np.ndarray
    penalised: bool = False
    bounded: bool = True


def refresh_at(iterations: int = MAX_ITERATIONS) -> np.ndarray:
    """Return (iterations,) bool, True where the dual's preconditioner is recomputed."""
    at = np.zeros(iterations, dtype=bool)
    at[[i for i in REFRESH if i < iterations]] = True
    return at


def minimise_numpy(p: Problem, refresh: np.ndarray, z: np.ndarray, b: np.ndarray, error: np.ndarray) -> int:
    """Solve all rows of a problem in plain numpy: the twin of ``kernels.minimise``.

    Parameters
    ----------
    p : Problem
    refresh : (iterations,) bool
        Where the dual's preconditioner is recomputed; its length bounds the number of iterations.
    z : (rows, n padded) float32
        Zeros; receives the decision values of all trials without the intercept.
    b : (rows,) float32
        Zeros; receives the intercepts.
    error : (rows,) float64
        Receives the remaining error of each row, in tolerances: above 1 if the row did not converge.

    Returns
    -------
    int
        Iterations until the last row had converged.
    """
    return Rows(p, z, b, error).solve(refresh)


def minimise_shared_numpy(p: SharedProblem, z: np.ndarray, b: np.ndarray, error: np.ndarray) -> int:
    """Solve all rows of one training set in plain numpy: the twin of ``kernels.minimise_shared``.

    Parameters
    ----------
    p : SharedProblem
    z : (rows, all trials padded) float32
        Zeros; receives the decision values of all trials without the intercept.
    b, error
        As for ``minimise_numpy``.

    Returns
    -------
    int
        Iterations until the last row had converged.
    """
    return SharedRows(p, z, b, error).solve()


class Rows:
    """All rows of a problem while they are solved; vectors have the names of ``kernels.State``."""

    def __init__(self, p: Problem, z: np.ndarray, b: np.ndarray, error: np.ndarray) -> None:
        self.p, self.z, self.b, self.error = p, z, b, error
        features = p.inverse_sd.shape[1]
        self.X = _unpacked(p.over_trials, p.n, features)
        # the packed activity holds the largest subset; this problem is of its first k neurons
        self.X[:, p.k :] = 0
        self.inverse = np.zeros((features, features), np.float32)
        if p.primal:
            self.inverse[: p.k] = _unpacked(p.preconditioner, p.k, features)
        self.modes = _unpacked(p.modes, p.n, p.eigenvalues.size)
        self.sd = np.divide(1, p.inverse_sd, where=p.inverse_sd > 0, out=np.zeros_like(p.inverse_sd))
        self.ridge = float(p.penalised)
        self.x = np.zeros((len(b), features if p.primal else z.shape[1]), np.float32)
        self.q, self.zq, self.qb = np.zeros_like(self.x), np.zeros_like(z), np.zeros_like(b)
        self.active = np.ones(len(b), dtype=bool)

    def solve(self, refresh: np.ndarray) -> int:
        """Iterate until every row is within tolerance, or ``refresh`` ends; return the number of iterations."""
        p = self.p
        self.derive()
        for iteration, recompute in enumerate(refresh):
            if recompute and not p.primal:
                self.factorise()
            d, v, r = self.direction()
            left = self.advance(d, self.image(v), r, first=iteration == 0)
            norm, loss_part = self.norm(), self.loss_part()
            size = norm + np.where(p.strict & p.primal, 0, loss_part)
            error = np.sqrt(left / np.maximum(size, 1e-30)) / p.tolerance
            if not p.primal and (error <= 1).any():
                gradient = self.back(self.centred(self.x + self.e)) * p.inverse_sd
                length = np.sqrt(_dot(gradient, gradient) / np.maximum(norm, 1e-30)) / p.gradient_tolerance
                error = np.where(error <= 1, np.maximum(error, length), error)
            self.error[self.active] = error[self.active]
            self.active &= ~(error <= 1)
            if not self.active.any():
                break
        # z once more from the solution: without the intercept, and without the rounding errors of many steps
        weights = self.x * p.inverse_sd if p.primal else self.back(self.x) * p.inverse_sd**2
        old, self.z[:] = self.z.copy(), self.image(weights)
        z = self.z[:, : p.n]
        far = np.abs(z + self.b[:, None] - old[:, : p.n]).max(axis=1)
        self.error[:] = np.maximum(self.error, far / (MAX_DRIFT * np.maximum(np.ptp(z, axis=1), 1)))
        return iteration + 1

    def norm(self) -> np.ndarray:
        """Return |w|^2; in the dual w'w = a'Ka = a'(z - b)."""
        if self.p.primal:
            return _dot(self.x, self.x)
        dual: np.ndarray = _dot(self.x, self.z) - self.b * self.x.sum(axis=1)
        return dual

    def loss_part(self) -> np.ndarray:
        """Return z'hz without the intercept, which shifts all trials alike: no trials are separated by it."""
        z = self.z - self.b[:, None]
        return _dot(self.h * z, z)

    def image(self, v: np.ndarray) -> np.ndarray:
        """Return v X' (rows, n padded) of neuron weights v (rows, k padded), float32.

        Where the intercept is penalised, X is centred on each row's training trials.
        """
        out = np.zeros_like(self.z)
        out[:, : self.p.n] = v @ self.X.T
        centred: np.ndarray = out - (v * self.p.means).sum(axis=1, keepdims=True) * np.float32(self.ridge)
        return centred

    def back(self, e: np.ndarray) -> np.ndarray:
        """Return e X (rows, k padded) of trial values e (rows, n padded), with X centred as in `image`."""
        shift = e.sum(axis=1, keepdims=True) * self.p.means * np.float32(self.ridge)
        centred: np.ndarray = e[:, : self.p.n] @ self.X - shift
        return centred

    def derive(self) -> None:
        """Set e and h, the loss's first and second derivatives in z, (rows, n padded)."""
        # exp(88.7) is the largest float32
        s = 1 / (1 + np.exp(np.clip(self.p.labels * self.z, -87, 87)))
        self.e, self.h = -self.p.weights * self.p.labels * s, self.p.weights * s * (1 - s)

    def centred(self, a: np.ndarray) -> np.ndarray:
        """Return a (rows, n padded) less its mean over training trials if the intercept is free: its sum is then 0."""
        if self.p.penalised:
            return a
        train = self.p.weights > 0
        mean = (a * train).sum(axis=1, keepdims=True) / train.sum(axis=1, keepdims=True)
        return np.where(train, a - mean, 0).astype(np.float32)

    def factorise(self) -> None:
        """Set the dual's preconditioner from the current second derivatives, by the Woodbury identity."""
        self.shrink = 1 / (1 + self.p.rest * self.h)
        self.shrunk = self.h * self.shrink
        small = np.einsum("ri,is,it->rst", self.shrunk[:, : self.p.n], self.modes, self.modes, optimize=True)
        self.small = np.linalg.inv(small + np.diag(1 / self.p.eigenvalues))

    def direction(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the direction in x, the neuron weights that it stands for, and the gradient (dual: r = a + e)."""
        if self.p.primal:
            r = self.x + self.back(self.e) * self.p.inverse_sd
            v = -((r * self.sd) @ self.inverse) * (self.sd > 0)
            return v * self.sd, v, r
        r = self.x + self.e
        d = r * self.shrink
        inner = np.einsum("rst,rt->rs", self.small, d[:, : self.p.n] @ self.modes)
        d[:, : self.p.n] -= self.shrunk[:, : self.p.n] * (inner @ self.modes.T)
        d = self.centred(-d)
        return d, self.back(d) * self.p.inverse_sd**2, r

    def advance(self, d: np.ndarray, zd: np.ndarray, r: np.ndarray, *, first: bool) -> np.ndarray:
        """Take each row's Newton step in the space of d, the intercept and q.

        Returns the square of the remaining gradient, in the norm of the stopping rule, (rows,) float64.
        """
        p, e, h = self.p, self.e, self.h
        md, mq = (d, self.q) if p.primal else (zd, self.zq)
        images = [zd, np.ones_like(zd), self.zq + self.qb[:, None]]
        shift = [np.zeros(len(d)), np.ones(len(d)), self.qb]
        slope_b = e.sum(axis=1, dtype=np.float64) + self.ridge * self.b
        # the metric of x is the identity in the primal, K in the dual: products with K come from images, not from K
        gradient = np.array([_dot(r, md), slope_b, _dot(r, mq) + self.qb * slope_b]).T
        hessian = np.array([
            [_dot(h * images[i], images[j]) + self.ridge * shift[i] * shift[j] for i in range(3)] for j in range(3)
        ]).transpose(2, 0, 1)  # fmt: skip
        hessian[:, 0, 0] += _dot(d, md)
        hessian[:, 2, 2] += _dot(self.q, mq)
        hessian[:, 0, 2] += _dot(d, mq)
        hessian[:, 2, 0] += _dot(d, mq)
        step = _newton(hessian, gradient, 2 if first else 3) * self.active[:, None]
        new, intercept, old = step.astype(np.float32).T
        stay = np.where(self.active, old, 1)[:, None]
        self.q, self.zq = new[:, None] * d + stay * self.q, new[:, None] * zd + stay * self.zq
        self.qb = intercept + stay[:, 0] * self.qb
        self.move(self.active.astype(np.float32))
        slope = (step * gradient).sum(axis=1)
        # the intercept's part of the remaining gradient, in the norm of its own curvature
        left: np.ndarray = slope_b**2 / np.maximum(hessian[:, 1, 1], 1e-30)
        if not p.bounded:
            left += np.abs(slope)
        else:
            flatter = 0.25 * p.weights.sum(axis=1) / np.maximum(hessian[:, 1, 1] - self.ridge, 1e-30)
            bound, plain = -gradient[:, 0] * np.maximum(flatter, 1), _dot(r, r)
            left += np.where(p.strict, plain, np.minimum(bound, plain)) if p.primal else np.abs(bound)
        self.shorten(slope)
        return left

    def move(self, by: np.ndarray) -> None:
        """Move each row along its last step by ``by`` (rows,) times its length."""
        self.x += by[:, None] * self.q
        self.b += by * self.qb
        self.z += by[:, None] * (self.zq + self.qb[:, None])
        self.derive()

    def shorten(self, slope: np.ndarray) -> None:
        """Shorten the last step by the secant method in the rows whose loss rises at its end."""
        for _ in range(20):
            slope_b = self.e.sum(axis=1) + self.ridge * self.b
            here = _dot(self.x, self.q if self.p.primal else self.zq) + _dot(self.e, self.zq) + self.qb * slope_b
            # a curvature condition as Wolfe's (Nocedal & Wright, chapter 3): past the minimum only where it is flat
            turned = self.active & (here > 0.25 * np.abs(slope))
            if not turned.any():
                return
            # zero of the straight line through the slopes at the start (below 0) and the end (above 0) of the step
            back = np.where(turned, -here / np.where(turned, here - slope, 1), 0).astype(np.float32)
            self.move(back)
            self.q, self.zq, self.qb = self.q * (1 + back[:, None]), self.zq * (1 + back[:, None]), self.qb * (1 + back)
            slope = slope * (1 + back)


class SharedRows(Rows):
    """All rows of one training set; z is of its trials, ``all_z`` of all."""

    p: SharedProblem  # type: ignore[assignment]

    def __init__(self, p: SharedProblem, z: np.ndarray, b: np.ndarray, error: np.ndarray) -> None:
        self.p, self.all_z, self.b, self.error, self.ridge = p, z, b, error, 0.0
        self.depth = p.k if p.primal else p.n
        self.preconditioner = _unpacked(p.preconditioner, self.depth, self.depth)
        self.features = _unpacked(p.features, self.depth, z.shape[1])
        self.Z = _unpacked(p.over_neurons, p.k, p.weights.shape[1]) if p.primal else np.empty((0, 0))
        self.z = np.zeros_like(p.weights)
        self.x = np.zeros((len(b), p.k if p.primal else self.z.shape[1]), np.float32)
        self.q, self.zq, self.qb = np.zeros_like(self.x), np.zeros_like(self.z), np.zeros_like(b)

    def solve(self, refresh: np.ndarray | None = None) -> int:
        """Iterate until every row is within tolerance; return the number of iterations."""
        n, iterations, drift = self.p.n, 0, np.zeros(len(self.b))
        far = np.ones(len(self.b), dtype=bool)
        for _ in range(TURNS):
            self.active = far.copy()
            iterations += self.iterate()
            # z once more from the solution; a row that is far from it goes on from there
            self.all_z[:] = self.x[:, : self.depth] @ self.features
            exact = self.all_z[:, :n] + self.b[:, None]
            spread = np.maximum(np.ptp(exact, axis=1), 1)
            drift[far] = (np.abs(exact - self.z[:, :n]).max(axis=1) / (MAX_DRIFT * spread))[far]
            self.z[far, :n] = exact[far]
            far &= ~(drift <= 1)
            if not far.any():
                break
        self.error[:] = np.maximum(self.error, drift)
        return iterations

    def iterate(self) -> int:
        """Iterate until every active row is within tolerance; return the number of iterations."""
        self.derive()
        for iteration in range(MAX_ITERATIONS):
            d, zd, r = self.step()
            left = self.advance(d, zd, r, first=iteration == 0)
            error = np.sqrt(left / np.maximum(self.norm() + self.loss_part(), 1e-30)) / self.p.tolerance
            self.error[self.active] = error[self.active]
            self.active &= ~(error <= 1)
            if not self.active.any():
                break
        return iteration + 1

    def step(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the direction in x, its image, and the gradient (dual: r = a + e)."""
        if self.p.primal:
            r = self.x + self.e @ self.Z.T
            d = r @ self.preconditioner
            return d, d @ self.Z, r
        r = self.centred(self.x + self.e)
        shrunk = np.zeros_like(r)
        shrunk[:, : self.p.n] = r[:, : self.p.n] @ self.preconditioner
        return shrunk - r, -shrunk / np.float32(self.p.h), r


def _unpacked(panels: np.ndarray, depth: int, columns: int) -> np.ndarray:
    """Return packed panels as a matrix (depth, columns)."""
    out = np.zeros((depth, columns), np.float32)
    matrix = panels[:, :depth].transpose(1, 0, 2).reshape(depth, -1)[:, :columns]
    out[:, : matrix.shape[1]] = matrix
    return out


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the dot product of each row of a with that of b, (rows,) float64."""
    products: np.ndarray = np.einsum("ij,ij->i", a, b, dtype=np.float64)
    return products


def _newton(hessian: np.ndarray, gradient: np.ndarray, size: int) -> np.ndarray:
    """Return the step (rows, 3) that solves hessian step = -gradient in the first ``size`` of three unknowns."""
    # scaled to a unit diagonal: d, intercept and q differ by orders of magnitude
    scale = 1 / np.sqrt(np.maximum(np.einsum("rii->ri", hessian)[:, :size], 1e-30))
    scaled = hessian[:, :size, :size] * scale[:, :, None] * scale[:, None, :]
    scaled += 1e-9 * np.eye(size)  # the last step may lie along the new direction
    step = np.zeros((len(gradient), 3))
    step[:, :size] = -np.linalg.solve(scaled, (gradient[:, :size] * scale)[:, :, None])[:, :, 0] * scale
    return step
