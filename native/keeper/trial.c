/* Whether a sandbox lets a keeper be made: a forked child tries it first.

   A seccomp filter may kill a process for a call that it does not know (systemd's SystemCallFilter= does
   so). An extra that is installed must not be the end of the service, and no call tells what a filter
   will do. The child has memory of its own, so that its end, even with a core dump, is no one else's. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"
#include "system_calls.h"

/* In the child: make a keeper, end it, and leave the failed step as the exit status. */
static void try(struct keeper keeper) {
    struct rlimit no_core = {1, 1};

    call(SYS_prlimit64, 0, RLIMIT_CORE, &no_core, NULL);
    keeper.leader = (pid_t)call(SYS_getpid, 0, 0, 0, 0);
    keeper.firsts = 0;
    if (prepare_lock(&keeper) == 0) bear(&keeper);
    if (keeper.pid > 0) {
        call(SYS_kill, keeper.pid, SIGKILL, 0, 0);
        while (call(SYS_wait4, keeper.pid, NULL, __WALL, NULL) == -EINTR) continue;
    }
    call(SYS_exit_group, keeper.failed, 0, 0, 0);
}

/* Whether the keeper can be made; if not, the reason is in the keeper. */
int sandbox_allows(struct keeper *keeper) {
    unsigned long all = ~0UL, before = 0;
    int status = 0;
    long child;

    /* Not fork(3): no at-fork handlers, of Python or others, and no signal at the child's end. Blocked
       signals: a handler of Python's must not run in the child. */
    call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, &before, 8);
    child = call(SYS_clone, 0, 0, 0, 0);
    if (child == 0) try(*keeper);
    call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &before, NULL, 8);
    if (child < 0) {
        keeper->failed = CLONE;
        keeper->error = (int)-child;
        return 0;
    }
    while (waitpid((pid_t)child, &status, __WALL) < 0 && errno == EINTR) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOTHING_FAILED) return 1;
    keeper->failed = WIFEXITED(status) ? (enum step)WEXITSTATUS(status) : SANDBOX;
    keeper->error = EPERM;
    return 0;
}
