// The floor of bench/jobs/frames: one master and two workers that give back 64 bytes, with no more than the calls themselves.
// `floor stream WINDOW BATCH TASKS` over a socket for each worker, `floor ring WINDOW 1 TASKS` through shared memory and futex(2);
// prints how many tasks there were in a second.
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, WORKERS = 2, SLOTS = 1024 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void whole(int fd, char *at, size_t length, int writing) {
    while (length) {
        ssize_t n = writing ? write(fd, at, length) : read(fd, at, length);
        if (n <= 0) exit(n == 0 ? 0 : 1);
        at += n;
        length -= n;
    }
}

static double stream(long window, long batch, long tasks) {
    int fds[WORKERS];
    struct pollfd polled[WORKERS];
    size_t piece = batch * SIZE;
    char *buffer = calloc(1, piece);
    for (int w = 0; w < WORKERS; w++) {
        int pair[2];
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
        if (fork() == 0) {
            for (int other = 0; other < w; other++) close(fds[other]);
            close(pair[0]);
            for (;;) {
                whole(pair[1], buffer, piece, 0);
                whole(pair[1], buffer, piece, 1);
            }
        }
        close(pair[1]);
        fds[w] = pair[0];
        polled[w] = (struct pollfd){pair[0], POLLIN, 0};
    }
    double begun = now();
    long sent = 0, done = 0;
    for (int w = 0; w < WORKERS; w++)
        for (long n = 0; n + batch <= window && sent < tasks; n += batch, sent += batch) whole(fds[w], buffer, piece, 1);
    while (done < tasks) {
        poll(polled, WORKERS, -1);
        for (int w = 0; w < WORKERS; w++) {
            if (!(polled[w].revents & POLLIN)) continue;
            whole(fds[w], buffer, piece, 0);
            done += batch;
            if (sent < tasks) whole(fds[w], buffer, piece, 1), sent += batch;
        }
    }
    return begun;
}

struct way { _Alignas(64) atomic_uint written; _Alignas(64) atomic_uint taken; char slots[SLOTS][SIZE]; };
struct shared { struct way to[WORKERS], from[WORKERS]; _Alignas(64) atomic_uint master; _Alignas(64) atomic_uint sleeps[WORKERS]; };

static void nap(atomic_uint *word) { syscall(SYS_futex, word, FUTEX_WAIT, 1, NULL, NULL, 0); }
static void wake(atomic_uint *word) { if (atomic_load(word) && atomic_exchange(word, 0)) syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0); }

static int take(struct way *way, char *to) {
    unsigned at = atomic_load(&way->taken);
    if (at == atomic_load(&way->written)) return 0;
    memcpy(to, way->slots[at % SLOTS], SIZE);
    atomic_store(&way->taken, at + 1);
    return 1;
}

static void put(struct way *way, const char *from) {
    unsigned at = atomic_load(&way->written);
    memcpy(way->slots[at % SLOTS], from, SIZE);
    atomic_store(&way->written, at + 1);
}

static double ring(long window, long tasks) {
    struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char task[SIZE] = {0};
    pid_t workers[WORKERS];
    for (int w = 0; w < WORKERS; w++)
        if ((workers[w] = fork()) == 0)
            for (;;) {
                while (take(&s->to[w], task)) put(&s->from[w], task), wake(&s->master);
                atomic_store(&s->sleeps[w], 1);
                if (atomic_load(&s->to[w].written) == atomic_load(&s->to[w].taken)) nap(&s->sleeps[w]);
                atomic_store(&s->sleeps[w], 0);
            }
    double begun = now();
    long sent = 0, done = 0;
    for (int w = 0; w < WORKERS; w++) {
        for (long n = 0; n < window && sent < tasks; n++, sent++) put(&s->to[w], task);
        wake(&s->sleeps[w]);
    }
    while (done < tasks) {
        int any = 0;
        for (int w = 0; w < WORKERS; w++) {
            while (take(&s->from[w], task)) {
                any = 1, done++;
                if (sent < tasks) put(&s->to[w], task), sent++, wake(&s->sleeps[w]);
            }
        }
        if (any) continue;
        atomic_store(&s->master, 1);
        for (int w = 0; w < WORKERS; w++) any |= atomic_load(&s->from[w].written) != atomic_load(&s->from[w].taken);
        if (!any && done < tasks) nap(&s->master);
        atomic_store(&s->master, 0);
    }
    for (int w = 0; w < WORKERS; w++) kill(workers[w], 9);
    return begun;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    long window = atol(argv[2]), batch = atol(argv[3]), tasks = atol(argv[4]);
    double begun = strcmp(argv[1], "ring") ? stream(window, batch, tasks) : ring(window, tasks);
    printf("%.0f\n", tasks / (now() - begun));
    return 0;
}
