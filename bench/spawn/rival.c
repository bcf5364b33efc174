/* Births of /bin/true by clone3 and by posix_spawn, in a parent of so many touched megabytes.
   rival MEGABYTES; reads "MODE COUNT" lines, answers with one line of microseconds each. */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static char *const arguments[] = {"/bin/true", NULL};

static inline __attribute__((always_inline)) long call(long number, long a, long b, long c) {
    long answer;
#if defined(__x86_64__)
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
#else
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    answer = x0;
#endif
    return answer;
}

/* The least that can be done: as vfork, with a handle. */
static __attribute__((noinline)) void by_clone3(void) {
    int handle = -1;
    struct clone_args args;
    memset(&args, 0, sizeof args);
    args.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD;
    args.pidfd = (uint64_t)(uintptr_t)&handle;
    args.exit_signal = SIGCHLD;
    long pid = call(SYS_clone3, (long)&args, sizeof args, 0);
    if (pid == 0) {
        call(SYS_execve, (long)"/bin/true", (long)arguments, (long)environ);
        call(SYS_exit_group, 127, 0, 0);
    }
    siginfo_t end;
    if (pid < 0 || waitid(P_PIDFD, handle, &end, WEXITED) || end.si_status) abort();
    close(handle);
}

static void by_posix_spawn(void) {
    pid_t pid;
    int status;
    if (posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ)) abort();
    if (waitpid(pid, &status, 0) != pid || status) abort();
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

int main(int count, char **args) {
    size_t size = (size_t)atol(count > 1 ? args[1] : "10") << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 1;
    for (size_t at = 0; at < size; at += 4096) memory[at] = 1;
    char mode[32];
    int births;
    while (scanf("%31s %d", mode, &births) == 2) {
        while (births--) {
            double start = now();
            if (!strcmp(mode, "clone3")) by_clone3();
            else by_posix_spawn();
            printf("%.1f ", now() - start);
        }
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
