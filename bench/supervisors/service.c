/* The service of the bench: notes in shared memory when it began, then waits for a signal.
 * Usage: service FILE NUMBER     FILE holds `struct board`, made by the driver. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct life { int64_t began_ns; int32_t number, pid; };
struct board { uint64_t count; struct life lives[]; };

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (argc != 3) return 2;
    int fd = open(argv[1], O_RDWR);
    if (fd < 0) return 3;
    off_t size = lseek(fd, 0, SEEK_END);
    struct board *board = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (board == MAP_FAILED) return 4;
    close(fd);
    uint64_t at = __atomic_fetch_add(&board->count, 1, __ATOMIC_SEQ_CST);
    if ((off_t)(sizeof *board + (at + 1) * sizeof(struct life)) > size) return 5;
    struct life *life = &board->lives[at];
    life->number = atoi(argv[2]);
    life->pid = getpid();
    __atomic_store_n(&life->began_ns, now.tv_sec * 1000000000LL + now.tv_nsec, __ATOMIC_SEQ_CST);
    for (;;) pause();
}
