/* The floor: posix_spawn in a loop, wait, start again who died; on SIGTERM kill and wait for all. No logs, no
 * handles, no containment. Usage: floor N PROGRAM FILE */
#define _GNU_SOURCE
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char **words;
static pid_t *pids;

static void start(int number) {
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    char *argv[] = {words[0], words[1], text, 0};
    posix_spawnattr_t how;
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&how);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK);
    if (posix_spawn(&pids[number], words[0], 0, &how, argv, environ)) exit(1);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int count = atoi(argv[1]);
    words = argv + 2;
    pids = calloc(count, sizeof *pids);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, 0);
    for (int number = 0; number < count; number++) start(number);
    for (;;) {
        int signal;
        sigwait(&set, &signal);
        if (signal == SIGTERM) break;
        for (pid_t pid; (pid = waitpid(-1, 0, WNOHANG)) > 0;)
            for (int number = 0; number < count; number++)
                if (pids[number] == pid) { start(number); break; }
    }
    for (int number = 0; number < count; number++) kill(pids[number], SIGTERM);
    for (int number = 0; number < count; number++) waitpid(pids[number], 0, 0);
    return 0;
}
