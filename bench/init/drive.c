// Measures an init as PID 1 of a fresh PID namespace, as root.
//
//   drive start INIT...      microseconds: exec of the init → main of its child; SIGTERM to the init → handler
//                            of the child; SIGTERM → init gone. One line: three numbers.
//   drive idle INIT...       PSS and private memory of the init with one sleeping child, in kB.
//   drive orphans N INIT...  N orphans that end at once: ms until all are forked and buried; ms of CPU of the init.
//   drive burst N INIT...    N orphans that end together: ms from their release until all are buried; the same.
//
// Most of the time with orphans is theirs (two forks each), so the CPU that the init itself takes is told too.
//
// INIT is the command line of the init up to the child's command; "drive child MODE" is added to it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void report(long long value) {
    if (write(3, &value, sizeof value) != sizeof value) die("write");
}

static long long receive(int fd) {
    long long value;
    if (read(fd, &value, sizeof value) != sizeof value) {
        fprintf(stderr, "the child did not report\n");
        exit(1);
    }
    return value;
}

// kill(-1) reaches everybody but us and PID 1; zombies count. Each look walks through all processes under the lock that each death
// and burial needs, so there is a pause between two: without one, this loop itself is most of what is measured.
static void until_alone(void) {
    while (kill(-1, 0) == 0) usleep(500);
    if (errno != ESRCH) die("kill");
}

// A grandchild whose parent is gone: it belongs to the init. It waits for the end of `gate`, if there is one.
static void orphan(const int *gate) {
    pid_t middle = fork();
    if (middle < 0) die("fork");
    if (middle == 0) {
        if (fork() == 0 && gate) {
            char byte;
            close(gate[1]);
            if (read(gate[0], &byte, 1) < 0) _exit(1);
        }
        _exit(0);
    }
    waitpid(middle, NULL, 0);
}

static int child(char **words) {
    long long born = now();
    if (!strcmp(words[0], "start") || !strcmp(words[0], "idle")) {
        sigset_t set;
        int signal;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        report(born);
        sigwait(&set, &signal);
        report(now());
        return 0;
    }
    int count = atoi(words[1]), together = !strcmp(words[0], "burst"), gate[2];
    if (together && pipe(gate)) die("pipe");
    for (int i = 0; i < count; i++) orphan(together ? gate : NULL);
    long long released = now();
    if (together) close(gate[1]);
    until_alone();
    report(now() - (together ? released : born));
    return 0;
}

// As in a container: /proc is that of the namespace.
static void own_proc(void) {
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) die("unshare");
    if (mount("proc", "/proc", "proc", 0, NULL)) die("mount /proc");
}

static pid_t launch(char **init, int words, char **mode, int modes, int *reports) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC)) die("pipe");
    char *args[64];
    int n = 0;
    for (int i = 0; i < words && n < 50; i++) args[n++] = init[i];
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0) die("readlink");
    self[length] = 0;
    args[n++] = self;
    args[n++] = "child";
    for (int i = 0; i < modes; i++) args[n++] = mode[i];
    args[n] = NULL;
    if (unshare(CLONE_NEWPID)) die("unshare (root is needed)");
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        dup2(fds[1], 3);
        own_proc();
        long long begin = now();
        if (write(3, &begin, sizeof begin) != sizeof begin) _exit(1);
        execvp(args[0], args);
        die(args[0]);
    }
    close(fds[1]);
    *reports = fds[0];
    return pid;
}

static void end(pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid) die("waitpid");
}

static long kb(const char *text, const char *key) {
    const char *at = strstr(text, key);
    return at ? atol(at + strlen(key)) : -1;
}

static void idle(pid_t pid) {
    char path[64], text[8192];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    long private = kb(text, "Private_Clean:") + kb(text, "Private_Dirty:");
    printf("%ld %ld\n", kb(text, "\nPss:"), private);
}

// What the init itself has used of the CPU by now, in ns. It has one thread.
static long long cpu(pid_t pid) {
    char path[64];
    long long used;
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%lld", &used) != 1) die(path);
    fclose(file);
    return used;
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "child")) return child(argv + 2);
    if (argc < 3) return fprintf(stderr, "usage: see the head of drive.c\n"), 2;
    int counted = !strcmp(argv[1], "orphans") || !strcmp(argv[1], "burst");
    int skip = counted ? 3 : 2;
    char *mode[2] = {argv[1], argv[2]};
    int reports;
    pid_t pid = launch(argv + skip, argc - skip, mode, counted ? 2 : 1, &reports);
    long long begin = receive(reports), first = receive(reports);
    if (counted) {
        printf("%.1f %.1f\n", first / 1e6, cpu(pid) / 1e6);
    } else if (!strcmp(argv[1], "idle")) {
        idle(pid);
        kill(pid, SIGTERM);
    } else {
        long long sent = now();
        kill(pid, SIGTERM);
        long long heard = receive(reports);
        end(pid);
        printf("%.1f %.1f %.1f\n", (first - begin) / 1e3, (heard - sent) / 1e3, (now() - sent) / 1e3);
        return 0;
    }
    end(pid);
    return 0;
}
