# SPDX-License-Identifier: BSD-3-Clause
"""outboard's benchmarks; scripts/bench runs them."""
