/* A worker of a pool that writes on its scoreboard: HTTP, one connection at a time, at the socket that doula opened.
 * cc -o server server.c */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct board { _Atomic uint32_t state; _Atomic uint64_t answered; };

int main(void) {
    const char *text = getenv("DOULA_SCOREBOARD"), answer[] =
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nhello\n";
    struct board own = {0}, *board = &own;
    if (text) board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(text), 0);
    if (board == MAP_FAILED) return 1;
    sigset_t term;
    sigemptyset(&term), sigaddset(&term, SIGTERM), sigprocmask(SIG_BLOCK, &term, NULL);
    struct pollfd events[] = {{3, POLLIN, 0}, {signalfd(-1, &term, SFD_CLOEXEC), POLLIN, 0}};
    fcntl(3, F_SETFL, O_NONBLOCK); /* another worker may take who woke us */
    for (board->state = 1; !events[1].revents; board->state = 1) {
        if (poll(events, 2, -1) < 1 || !events[0].revents) continue;
        char request[65536];
        int client = accept4(3, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) continue;
        board->state = 2;
        if (read(client, request, sizeof request) > 0) send(client, answer, sizeof answer - 1, MSG_NOSIGNAL);
        close(client);
        board->answered++;
    }
}
