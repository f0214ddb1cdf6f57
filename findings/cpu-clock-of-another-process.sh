#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Linux: the CPU clock of another process stands still between two ticks of the scheduler.
#
# clock_getcpuclockid() gives a clock of another process, and clock_getres() says that it counts single
# nanoseconds. So whoever wants to know what a server did for one request, without asking the server,
# reads that clock before and after. A server that was busy for 150 microseconds then often seems to have
# worked for 0 or for 4,000. For the process that asks, the kernel brings the time of its running thread up
# to date; for another one it adds up what was accounted for at the last tick or context switch. Such a
# measure is right in sum, and wrong for each request by up to a tick: what the loop of a server did has to
# be measured within it.
#
# Source: what is seen below; thread_group_cputime() in Linux' kernel/sched/cputime.c.
#
# Expected: a clock that is read all the while moves by about as much as a read takes.
# Seen (Linux 6.18, CONFIG_HZ=250): the own clock does, that of a busy child moves by 4 ms at a time.

set -euo pipefail

echo "Linux $(uname -r)"
python3 - <<'END_OF_PYTHON'
import os
import signal
import statistics
import sys
import time

SECONDS = 1


def step(clock):
    """The median by which a clock moves, of those that differ, in nanoseconds."""
    values = [time.clock_gettime_ns(clock)]
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        values.append(time.clock_gettime_ns(clock))
    moves = [after - before for before, after in zip(values, values[1:]) if after != before]
    return statistics.median(moves)


if len(os.sched_getaffinity(0)) < 2:
    raise SystemExit("two processors are needed: one for each process")
child = os.fork()
if not child:
    while True:
        pass
try:
    mine, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(child, others)
    os.sched_setaffinity(0, {mine})
    clock = ~child << 3 | 2  # what clock_getcpuclockid() makes of a process id: CPUCLOCK_SCHED
    print(f"clock_getres() of both: {time.clock_getres(time.CLOCK_PROCESS_CPUTIME_ID) * 1e9:.0f}"
          f" and {time.clock_getres(clock) * 1e9:.0f} ns")
    own, other = step(time.CLOCK_PROCESS_CPUTIME_ID), step(clock)
finally:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
print(f"the own clock moves by {own / 1e3:.1f} us, expected: some; that of a busy child by {other / 1e3:.1f} us,"
      " expected: the same")
if own < 100e3 and other > 500e3:
    print("as found: the clock of another process moves by ticks")
    sys.exit(0)
print("this is no longer what was seen")
sys.exit(1)
END_OF_PYTHON
