"""Microseconds of `MPI_Allreduce` alone, for `cargo xtask bench distributed`: `mpi.py LIBRARY ROUNDS`.

Open MPI, called without any package. A call from Python takes about a microsecond more than one from C.
"""

import ctypes
import statistics
import sys
import time

LENGTHS = 1, 10_000, 100_000, 1_000_000
IN_PLACE = ctypes.c_void_p(1)


def main():
    library, rounds = sys.argv[1], int(sys.argv[2])
    mpi = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)

    def handle(name):
        return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.in_dll(mpi, name)))

    world, floats, add = handle("ompi_mpi_comm_world"), handle("ompi_mpi_float"), handle("ompi_mpi_op_sum")
    mpi.MPI_Init(None, None)
    rank = ctypes.c_int()
    mpi.MPI_Comm_rank(world, ctypes.byref(rank))
    for length in LENGTHS:
        numbers, count = (ctypes.c_float * length)(), ctypes.c_int(length)
        times = []
        for _ in range(rounds):
            mpi.MPI_Barrier(world)
            begun = time.perf_counter()
            mpi.MPI_Allreduce(IN_PLACE, numbers, count, floats, add, world)
            times.append((time.perf_counter() - begun) * 1e6)
        if rank.value == 0:
            print(f"{length} f32\tus_per_sum\t{statistics.median(times)}\tus", flush=True)
    mpi.MPI_Finalize()


if __name__ == "__main__":
    main()
