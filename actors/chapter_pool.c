// A pool of processes as a textbook has it, kept as it stands: tasks go to all workers through one pipe and results come back through
// another. What is between the two lines is the textbook's; the rest says what a task is, and how a story goes.
//
// chapter_pool STORY WORKERS TASKS; compile with -DBODY=N for tasks and results of 4 + N bytes.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef BODY
#define BODY 60
#endif

typedef struct { int id; char body[BODY]; } task_t;
typedef struct { int id; char body[BODY]; } result_t;

static const char *story;

static int is(const char *name) { return strcmp(story, name) == 0; }

static result_t process_task(task_t *task) {
    result_t result;
    if (is("kills-one") && task->id == 7) raise(SIGKILL);
    if (is("kills-all") && task->id >= 5) raise(SIGKILL);
    result.id = task->id;
    memcpy(result.body, task->body, BODY);
    return result;
}

static int lines;

// One line for each result: its number, or what is wrong with it.
static void process_result(result_t *result) {
    char line[64];
    int mixed = 0;
    for (int i = 0; i < BODY; i++) mixed |= result->body[i] != (char)('a' + result->id % 26);
    int length = snprintf(line, sizeof line, mixed ? "mixed\n" : "%d\n", result->id);
    if (write(2, line, length) != length) exit(3);
    lines++;
}

// ------------------------------------------------------------------------------------------------------------------------
typedef struct {
    pid_t *workers;
    int num_workers;
    int pipe_to_workers[2];
    int pipe_from_workers[2];
} process_pool_t;

void worker_main(int read_fd, int write_fd);

process_pool_t* create_process_pool(int num_workers) {
    printf(", === 프로세스 풀 생성 (워커: %d개) ===, ", num_workers);
    
    process_pool_t *pool = malloc(sizeof(process_pool_t));
    pool->num_workers = num_workers;
    pool->workers = malloc(num_workers * sizeof(pid_t));
    
    pipe(pool->pipe_to_workers);
    pipe(pool->pipe_from_workers);
    
    for (int i = 0; i < num_workers; i++) {
        pid_t pid = fork();
        
        if (pid == 0) {
            close(pool->pipe_to_workers[1]);
            close(pool->pipe_from_workers[0]);
            
            worker_main(pool->pipe_to_workers[0],
                       pool->pipe_from_workers[1]);
            exit(0);
        } else {
            pool->workers[i] = pid;
        }
    }
    
    close(pool->pipe_to_workers[0]);
    close(pool->pipe_from_workers[1]);
    
    return pool;
}

void worker_main(int read_fd, int write_fd) {
    while (1) {
        task_t task;
        
        if (read(read_fd, &task, sizeof(task)) != sizeof(task)) {
            break;
        }
        
        result_t result = process_task(&task);
        
        write(write_fd, &result, sizeof(result));
    }
}

void distribute_work(process_pool_t *pool, task_t *tasks, int num_tasks) {
    for (int i = 0; i < num_tasks; i++) {
        write(pool->pipe_to_workers[1], &tasks[i], sizeof(task_t));
    }
    
    for (int i = 0; i < num_tasks; i++) {
        result_t result;
        read(pool->pipe_from_workers[0], &result, sizeof(result));
        process_result(&result);
    }
}
// ------------------------------------------------------------------------------------------------------------------------

static void nothing(int signal) { (void)signal; }

// Whether this worker is a zombie, which nobody buries.
static int is_over(pid_t worker, int how) {
    siginfo_t info = {0};
    waitid(P_PID, worker, &info, WEXITED | WNOWAIT | how);
    return info.si_pid != 0;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    story = argv[1];
    int num_workers = atoi(argv[2]), num_tasks = atoi(argv[3]);
    if (is("interrupts")) {
        struct sigaction action = {.sa_handler = nothing};
        sigaction(SIGUSR1, &action, NULL);
    }
    task_t *tasks = malloc(num_tasks * sizeof *tasks);
    for (int i = 0; i < num_tasks; i++) {
        tasks[i].id = i;
        memset(tasks[i].body, 'a' + i % 26, BODY);
    }
    process_pool_t *pool = create_process_pool(num_workers);
    if (is("leaves-somebody") && fork() == 0) {
        execlp("cat", "cat", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < num_workers; i++) {
        if (is("leaves-somebody")) dprintf(2, "%d\n", pool->workers[i]);
        if (is("loses-all")) kill(pool->workers[i], SIGKILL);
        // A signal that comes before the worker waits does nothing: it is sent again until it does.
        if (is("interrupts")) while (!is_over(pool->workers[i], WNOHANG)) kill(pool->workers[i], SIGUSR1);
        if (is("loses-all")) is_over(pool->workers[i], 0);
    }
    distribute_work(pool, tasks, num_tasks);
    return lines == num_tasks ? 0 : 3;
}
