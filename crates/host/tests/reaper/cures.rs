//! The three cures of the chapter against zombies, as they are written there, each with its price.

use crate::harness::compile;
use doula_host::Command;

const CURES: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void sigchld_handler(int sig) {
    int saved_errno = errno;
    while (waitpid(-1, NULL, WNOHANG) > 0) {}
    errno = saved_errno;
}

/* What a library does that wants the status of its own child. */
void wait_for_own(void) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) _exit(42);
    pid_t got = waitpid(pid, &status, 0);
    if (got == pid) printf("the status is %d\n", WEXITSTATUS(status));
    else printf("%s\n", errno == ECHILD ? "ECHILD" : "another error");
}

void by_handler(void) {
    struct sigaction sa;
    sigset_t chld, old;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = sigchld_handler;
    sa.sa_flags = SA_RESTART;
    sigaction(SIGCHLD, &sa, NULL);
    /* The child dies before its parent waits: the handler is quicker. */
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, &old);
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) _exit(42);
    siginfo_t dead;
    waitid(P_PID, pid, &dead, WEXITED | WNOWAIT);
    sigprocmask(SIG_SETMASK, &old, NULL);
    printf("%s\n", waitpid(pid, &status, 0) == -1 && errno == ECHILD ? "ECHILD" : "the status");
}

void by_ignoring(void) {
    signal(SIGCHLD, SIG_IGN);
    wait_for_own();
    fflush(stdout);
    printf("system() says %d\n", system("exit 3"));
}

/* Whether opening a terminal makes it the controlling one of this process. */
int gains_terminal(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    grantpt(master);
    unlockpt(master);
    open(ptsname(master), O_RDWR);
    int tty = open("/dev/tty", O_RDWR);
    return tty >= 0;
}

void by_double_fork(int setsid_first) {
    /* So that this test buries what the chapter leaves to init. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int status = 0, answer[2];
    pipe(answer);
    pid_t pid = fork();
    if (pid == 0) {
        if (setsid_first) setsid();
        if (fork() == 0) {
            if (!setsid_first) setsid();
            int gained = gains_terminal();
            write(answer[1], gained ? "gained" : "spared", 6);
            _exit(7);
        }
        _exit(0);
    }
    waitpid(pid, &status, 0);
    char words[7] = {0};
    read(answer[0], words, 6);
    printf("its parent knows %d; a terminal is %s\n", WEXITSTATUS(status), words);
    wait(NULL);
}

int main(int count, char **args) {
    if (!strcmp(args[1], "handler")) by_handler();
    if (!strcmp(args[1], "ignoring")) by_ignoring();
    if (!strcmp(args[1], "double-fork")) by_double_fork(0);
    if (!strcmp(args[1], "setsid-first")) by_double_fork(1);
    return 0;
}
"#;

fn says(cure: &str) -> Option<String> {
    let folder = compile("cures", CURES)?;
    // In a session of its own, so that no terminal of ours is in the way.
    let output =
        Command::exact(folder.path().join("cures")).arg(cure).new_session().output().expect("a capture");
    Some(output.stdout_text().to_owned())
}

pub(crate) fn a_handler_that_takes_every_child_takes_also_those_that_somebody_waits_for() {
    let said = says("handler");
    assert!(said.as_deref().is_none_or(|said| said == "ECHILD\n"), "{said:?}");
}

pub(crate) fn who_ignores_sigchld_loses_every_status() {
    let said = says("ignoring");
    assert!(said.as_deref().is_none_or(|said| said == "ECHILD\nsystem() says -1\n"), "{said:?}");
}

pub(crate) fn a_double_fork_loses_the_status_and_may_gain_a_terminal() {
    let said = says("double-fork");
    assert!(
        said.as_deref().is_none_or(|said| said == "its parent knows 0; a terminal is gained\n"),
        "{said:?}"
    );
    // The right order.
    let said = says("setsid-first");
    assert!(
        said.as_deref().is_none_or(|said| said == "its parent knows 0; a terminal is spared\n"),
        "{said:?}"
    );
}
