"""Coverage of two-level intervals over subjects and stimuli, by simulation: of new subjects' mean score.

Each of n subjects has a true score of its own around the population's; its measured score and the bootstrap draws add
the noise of stimuli, its own or (shared) everyone's. Run: python tests/benchmarks/bench_subjects.py
"""

from __future__ import annotations

import numpy as np

from scaling.alignment.metrics.unit_draws import centred, subject_draws, two_level_interval

TRUTH, N_DRAWS = 0.4, 200


def covered(n_subjects: int, between: float, within: float, shared: bool, n_sims: int, seed: int = 0) -> float:
    """The share of 95 % intervals that hold the population's score.

    Args:
        between: standard deviation of subjects' true scores. within: of the noise of stimuli.
    """
    rng, hits = np.random.default_rng(seed), 0
    size = 1 if shared else n_subjects
    for sim in range(n_sims):
        raws = TRUTH + between * rng.standard_normal(n_subjects) + within * rng.standard_normal(size)
        draws = centred(raws[:, None] + within * rng.standard_normal((size, N_DRAWS)), raws)
        low, high = two_level_interval(subject_draws(draws, sim), n_subjects)
        hits += low < TRUTH < high
    return hits / n_sims


def main() -> None:
    print("subjects  between/within  stimuli  coverage of 95 %")
    for n in (3, 4, 5, 8, 15):
        for between, within in ((0.02, 0.04), (0.05, 0.03), (0.1, 0.02)):
            for shared in (False, True):
                share = covered(n, between, within, shared, 1000)
                print(f"{n:8d}  {between:.2f}/{within:.2f}       {'shared' if shared else 'own':7s}  {share:.3f}")


if __name__ == "__main__":
    main()
