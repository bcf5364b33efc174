// fork + _exit + waitpid in a process of so many touched megabytes: reads lines `MODE COUNT`, answers each with a line of
// microseconds.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv) {
    size_t size = (size_t)atol(argv[argc - 1]) << 20;
    volatile char *memory = malloc(size);
    for (size_t at = 0; at < size; at += 4096) memory[at] = 1;
    char mode[16];
    int count;
    while (scanf("%15s %d", mode, &count) == 2) {
        while (count-- > 0) {
            double start = now();
            pid_t child = fork();
            if (child == 0) _exit(0);
            int status;
            if (child < 0 || waitpid(child, &status, 0) != child || status != 0) return 1;
            printf("%.1f ", now() - start);
        }
        puts("");
        fflush(stdout);
    }
    return 0;
}
