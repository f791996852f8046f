"""Many L2 logistic regressions on one matrix of activity, solved together.

A *row* is one regression: trial weights c (C times class weight, 0 for trials that it is not trained on),
labels y of +-1, and scales 1/s of the neurons on its training trials. It minimises, over w and b,

    1/2 |w|^2 + sum_i c_i log(1 + exp(-y_i z_i)),      z = X S^-1 w + b.

Trials outside the training set have c = 0 and drop out, so all folds and label vectors of a subset of
neurons live in the same n trials and share X; what differs are vectors of a row. Every product with X is
one of all rows at once.

*Iteration*: a preconditioned gradient gives the direction d of a row. Its image under X gives, with the
image of the last step q, the exact Hessian in the space spanned by d, q and the intercept; a Newton step
is made there. That is a nonlinear conjugate gradient method without line search; two products with X a
step. The loss is convex along a step: where its slope has turned upwards, the step is shortened by the
secant.

*Primal*, few neurons for the trials: x = w. Preconditioner: the inverse of I + dbar X'X, dbar = C/4 the largest
weight that the loss's second derivative h = c s (1 - s) can take.

*Dual*, many neurons: the solution is in the span of the trials, w = S^-1 X'a, and k drops out of
everything but the products. x = a, whose gradient is X S^-1 applied to r = a + e, with e the loss's
derivative in z. Preconditioner: the inverse of 1 + K h where K = XX' is taken to be diagonal but for its
leading modes, which takes h as it is, so that the trials that matter are weighted right.

The sum of a is 0 where the intercept is free, as at the solution, so that X need not be centred for each row.

*Stop*: when the gradient that is left, in the norm of the Hessian, is below ``tolerance`` of the solution. The
preconditioner bounds the Hessian from above only; what it says is scaled by how much flatter the loss has
become. Where that may not suffice (dual; large C) the gradient's plain length is looked at: the penalty makes
the loss strongly convex, so that w is no farther from the optimum than the gradient is long. Steps that become
small would stop too early where the problem is nearly singular.

The idea to solve everything that shares a subset in one batch, and both preconditioners, come from
measurements for this project; the method is a textbook one (Nocedal & Wright, Numerical Optimization,
chapters 5 and 7).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Preconditioned gradient that is left, of the size of the solution.
TOLERANCE = 1e-5
#: Dual: length of the gradient that is left, of that of w.
GRADIENT_TOLERANCE = 1e-4
#: Iterations at which the dual's preconditioner is made anew.
REFRESH = (0, 1, 2, 4, 6, 9, 13, 18, 25, 35, 50, 70, 100, 140)
#: Rounding that the sum of many steps of z may gather, of its spread or of 1, the scale of the loss. A row whose z
#: has come farther from what its solution gives has stopped by a gradient that was not its own.
DRIFT = 1e-4
MAX_ITERATIONS = 200


class Problem(NamedTuple):
    """What is minimised; all arrays float32, padded with zeros to panels of columns (``kernels.pack``).

    Attributes
    ----------
    over_trials : (P, n, width)
        Activity packed for products over trials.
    over_neurons : (Q, K, width)
        Activity packed for products over neurons, of which the first ``k`` are taken.
    n, k : int
    weights, labels : (rows, n padded)
    inverse_sd : (rows, k padded)
        0 for neurons that are constant on the training trials.
    means : (rows, k padded)
        Of the training trials; used where the intercept is penalised.
    penalised : bool
    primal : bool
    strict : (rows,) bool
        Primal: stop by the plain length of the gradient.
    tolerance, gradient_tolerance : float
        What may be left of the gradient, of the size of the solution.
    preconditioner : (P, k, width)
        Primal: inverse of the Hessian's bound.
    modes, modes_back, pairs : packed (n, m), (m, n), (n, m * m)
        Dual: leading modes of the trials, and their products.
    eigenvalues : (m,)
        Of those modes, above the rest.
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
    strict: np.ndarray
    tolerance: float
    gradient_tolerance: float
    preconditioner: np.ndarray
    modes: np.ndarray
    modes_back: np.ndarray
    pairs: np.ndarray
    eigenvalues: np.ndarray
    rest: np.ndarray


def refresh_at(iterations: int = MAX_ITERATIONS) -> np.ndarray:
    """Return (iterations,) bool, True where the dual's preconditioner is made anew."""
    at = np.zeros(iterations, dtype=bool)
    at[[i for i in REFRESH if i < iterations]] = True
    return at


def minimise_numpy(p: Problem, refresh: np.ndarray, z: np.ndarray, b: np.ndarray, error: np.ndarray) -> int:
    """Solve all rows of a problem in plain numpy: the twin of ``kernels.minimise``.

    Parameters
    ----------
    p : Problem
    refresh : (iterations,) bool
        Where the dual's preconditioner is made anew; its length bounds the iterations.
    z : (rows, n padded) float32
        Zeros; receives the decision values of all trials without the intercept.
    b : (rows,) float32
        Zeros; receives the intercepts.
    error : (rows,) float64
        Receives what is left, in tolerances: above 1 if the iterations did not suffice.

    Returns
    -------
    int
        Iterations until the last row was done.
    """
    return Rows(p, z, b, error).solve(refresh)


class Rows:
    """All rows of a problem while they are solved; vectors as in ``kernels.State``."""

    def __init__(self, p: Problem, z: np.ndarray, b: np.ndarray, error: np.ndarray) -> None:
        self.p, self.z, self.b, self.error = p, z, b, error
        features = p.inverse_sd.shape[1]
        self.X = _unpacked(p.over_trials, p.n, features)
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
        """Iterate until every row is within tolerance, or ``refresh`` ends."""
        p = self.p
        self.derive()
        for iteration, anew in enumerate(refresh):
            if anew and not p.primal:
                self.factorise()
            d, v, r = self.direction()
            left = self.advance(d, self.image(v), r, first=iteration == 0)
            norm = _dot(self.x, self.x) if p.primal else _dot(self.x, self.z) - self.b * self.x.sum(axis=1)
            told = self.z - self.b[:, None]  # the intercept is not part of what must be told apart
            size = norm + np.where(p.strict & p.primal, 0, _dot(self.h * told, told))
            error = np.sqrt(left / np.maximum(size, 1e-30)) / p.tolerance
            if not p.primal and (error <= 1).any():
                gradient = self.back(self.centred(self.x + self.e)) * p.inverse_sd
                length = np.sqrt(_dot(gradient, gradient) / np.maximum(norm, 1e-30)) / p.gradient_tolerance
                error = np.where(error <= 1, np.maximum(error, length), error)
            self.error[self.active] = error[self.active]
            self.active &= ~(error <= 1)
            if not self.active.any():
                break
        weights = self.x * p.inverse_sd if p.primal else self.back(self.x) * p.inverse_sd**2
        old, self.z[:] = self.z.copy(), self.image(weights)
        z = self.z[:, : p.n]
        far = np.abs(z + self.b[:, None] - old[:, : p.n]).max(axis=1)
        self.error[:] = np.maximum(self.error, far / (DRIFT * np.maximum(np.ptp(z, axis=1), 1)))
        return iteration + 1

    def image(self, v: np.ndarray) -> np.ndarray:
        """Return v X', centred on each row's training trials where the intercept is penalised."""
        out = np.zeros_like(self.z)
        out[:, : self.p.n] = v @ self.X.T
        centred: np.ndarray = out - (v * self.p.means).sum(axis=1, keepdims=True) * np.float32(self.ridge)
        return centred

    def back(self, e: np.ndarray) -> np.ndarray:
        """Return e X, centred likewise."""
        shift = e.sum(axis=1, keepdims=True) * self.p.means * np.float32(self.ridge)
        centred: np.ndarray = e[:, : self.p.n] @ self.X - shift
        return centred

    def derive(self) -> None:
        """Set the loss's first and second derivatives in z."""
        s = 1 / (1 + np.exp(np.clip(self.p.labels * self.z, -87, 87)))
        self.e, self.h = -self.p.weights * self.p.labels * s, self.p.weights * s * (1 - s)

    def centred(self, a: np.ndarray) -> np.ndarray:
        """Take the mean over training trials off where the intercept is free."""
        if self.p.penalised:
            return a
        train = self.p.weights > 0
        mean = (a * train).sum(axis=1, keepdims=True) / train.sum(axis=1, keepdims=True)
        return np.where(train, a - mean, 0).astype(np.float32)

    def factorise(self) -> None:
        """Set the dual's preconditioner from the present second derivatives."""
        self.shrink = 1 / (1 + self.p.rest * self.h)
        self.shrunk = self.h * self.shrink
        small = np.einsum("ri,is,it->rst", self.shrunk[:, : self.p.n], self.modes, self.modes, optimize=True)
        self.small = np.linalg.inv(small + np.diag(1 / self.p.eigenvalues))

    def direction(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the direction, the neurons' weights that it means, and the gradient (of a, the part in front of X)."""
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
        """Take each row's Newton step in the space of d, the intercept and q; return what is left of the gradient."""
        p, e, h = self.p, self.e, self.h
        md, mq = (d, self.q) if p.primal else (zd, self.zq)
        images = [zd, np.ones_like(zd), self.zq + self.qb[:, None]]
        shift = [np.zeros(len(d)), np.ones(len(d)), self.qb]
        slope_b = e.sum(axis=1, dtype=np.float64) + self.ridge * self.b
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
        left: np.ndarray = slope_b**2 / np.maximum(hessian[:, 1, 1], 1e-30)
        if not p.primal:
            left += np.abs(slope)
        else:
            flatter = 0.25 * p.weights.sum(axis=1) / np.maximum(hessian[:, 1, 1] - self.ridge, 1e-30)
            plain = _dot(r, r)
            left += np.where(p.strict, plain, np.minimum(-gradient[:, 0] * np.maximum(flatter, 1), plain))
        self.shorten(slope)
        return left

    def move(self, by: np.ndarray) -> None:
        """Go along the last step, for each row ``by`` so much of it."""
        self.x += by[:, None] * self.q
        self.b += by * self.qb
        self.z += by[:, None] * (self.zq + self.qb[:, None])
        self.derive()

    def shorten(self, slope: np.ndarray) -> None:
        """Go back along the last step by the secant, where the loss has come to rise."""
        for _ in range(20):
            slope_b = self.e.sum(axis=1) + self.ridge * self.b
            here = _dot(self.x, self.q if self.p.primal else self.zq) + _dot(self.e, self.zq) + self.qb * slope_b
            turned = self.active & (here > 0.25 * np.abs(slope))
            if not turned.any():
                return
            back = np.where(turned, -here / np.where(turned, here - slope, 1), 0).astype(np.float32)
            self.move(back)
            self.q, self.zq, self.qb = self.q * (1 + back[:, None]), self.zq * (1 + back[:, None]), self.qb * (1 + back)
            slope = slope * (1 + back)


def _unpacked(panels: np.ndarray, depth: int, columns: int) -> np.ndarray:
    out = np.zeros((depth, columns), np.float32)
    matrix = panels[:, :depth].transpose(1, 0, 2).reshape(depth, -1)[:, :columns]
    out[:, : matrix.shape[1]] = matrix
    return out


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    products: np.ndarray = np.einsum("ij,ij->i", a, b, dtype=np.float64)
    return products


def _newton(hessian: np.ndarray, gradient: np.ndarray, size: int) -> np.ndarray:
    """Return the step that solves hessian step = -gradient in the first ``size`` of three unknowns, (rows, 3)."""
    scale = 1 / np.sqrt(np.maximum(np.einsum("rii->ri", hessian)[:, :size], 1e-30))
    scaled = hessian[:, :size, :size] * scale[:, :, None] * scale[:, None, :]
    scaled += 1e-9 * np.eye(size)  # the last step may lie along the new direction
    step = np.zeros((len(gradient), 3))
    step[:, :size] = -np.linalg.solve(scaled, (gradient[:, :size] * scale)[:, :, None])[:, :, 0] * scale
    return step
