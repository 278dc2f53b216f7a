/* How a keeper is made: in a thread that has nothing but what the keeper shall have. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include "keeper.h"
#include "system_calls.h"

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

/* Below the numbers of the locks (kernel/descriptors.py), and high: a low number that other code has
   closed is soon another file. */
#define HIGH 700

static const char *const names[] = {
    [NOTHING_FAILED] = "",
    [PROC] = "read /proc/self",
    [NAMESPACE] = "the PID namespace of children is another one",
    [SANDBOX] = "a sandbox (seccomp) forbids",
    [STACK] = "mmap of a stack",
    [MEMFD] = "memfd_create",
    [LOCK] = "fcntl(F_SETLK)",
    [THREAD] = "pthread_create",
    [UNSHARE_FILES] = "close_range(CLOSE_RANGE_UNSHARE)",
    [CLOSE_FILES] = "close_range",
    [PIDFD] = "pidfd_open",
    [CLONE] = "clone(CLONE_VM)",
    [PROCESS_GROUP] = "setpgid",
    [DIRECTORY] = "chdir",
    [NAME] = "prctl(PR_SET_NAME)",
    [CORE_LIMIT] = "prlimit(RLIMIT_CORE)",
    [SCHEDULER] = "setpriority",
    [POLL] = "ppoll",
    [NO_NEW_PRIVILEGES] = "prctl(PR_SET_NO_NEW_PRIVS)",
    [FILTER] = "prctl(PR_SET_SECCOMP)",
    [ENDED] = "the keeper was killed",
    [SILENT] = "the keeper does not run",
    [BUSY] = "the last keeper has not ended",
};

const char *name_of(enum step step) { return names[step]; }

static int fail(struct keeper *keeper, enum step step, long result) {
    keeper->failed = step;
    keeper->error = (int)-result;
    return -1;
}

/* Open the memfd and lock it. The caller must share the leader's table of descriptors: a POSIX lock
   belongs to the table. 0 or -1. */
int prepare_lock(struct keeper *keeper) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    /* vm.memfd_noexec=2 refuses an executable one; Linux before 6.3 does not know the flag. */
    long fd = call(SYS_memfd_create, "leaderlock-keeper", MFD_CLOEXEC | MFD_NOEXEC_SEAL, 0, 0);
    long high, result;

    if (fd == -EINVAL) fd = call(SYS_memfd_create, "leaderlock-keeper", MFD_CLOEXEC, 0, 0);
    if (fd < 0) return fail(keeper, MEMFD, fd);
    high = call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, HIGH, 0);
    if (high >= 0) {
        call(SYS_close, fd, 0, 0, 0); /* before it is locked: closing ends a lock */
        fd = high;
    }
    keeper->memfd = (int)fd;
    if ((result = call(SYS_fcntl, fd, F_SETLK, &lock, 0)) < 0) {
        call(SYS_close, fd, 0, 0, 0);
        keeper->memfd = -1;
        return fail(keeper, LOCK, result);
    }
    return 0;
}

/* Leave this thread a table of descriptors of its own, with the memfd and the leader's pidfd alone. */
static int strip(struct keeper *keeper) {
    unsigned memfd = keeper->memfd;
    long result;
    int index;

    /* The new table has the descriptors up to the memfd; the leader's table is not touched. */
    result = call(SYS_close_range, memfd + 1, ~0U, CLOSE_RANGE_UNSHARE, 0);
    if (result < 0) return fail(keeper, UNSHARE_FILES, result);
    /* Closing a file of a dead server may block; the locks must not wait for it, even if the leader is
       killed meanwhile, and this thread is the last to go. */
    for (index = 0; index < keeper->firsts; index++)
        if (keeper->first[index] >= 0 && keeper->first[index] < (int)memfd)
            call(SYS_close, keeper->first[index], 0, 0, 0);
    if (memfd > 0 && (result = call(SYS_close_range, 0, memfd - 1, 0, 0)) < 0)
        return fail(keeper, CLOSE_FILES, result);
    /* Opened here, where no forked child of the leader can inherit it. The leader is alive: this is one
       of its threads, so the number is its own. */
    if ((result = call(SYS_pidfd_open, keeper->leader, 0, 0, 0)) < 0) return fail(keeper, PIDFD, result);
    keeper->pidfd = (int)result;
    return 0;
}

/* Make the keeper, and wait until it is confined. Call this in a thread that ends soon: it loses its
   descriptors.

   If the keeper itself closed the leader's descriptors, it would have the lock until then, and a keeper
   that is stopped or not scheduled at its first instruction would keep the lock of a dead leader. */
void bear(struct keeper *keeper) {
    unsigned long all = ~0UL, before = 0;
    struct timespec patience = {PATIENCE, 0};
    int flags = CLONE_VM      /* the memory, and nothing else: no descriptors, no handlers, no directory */
                | CLONE_UNTRACED /* a debugger of the leader would take it for one of the threads */
                | CLONE_CHILD_CLEARTID /* its end, too, changes `state` and wakes this thread */
                | 0;          /* no signal at its end: a wait(2) of the leader does not see it */

    /* Every signal, also the two of the C library (pthread_sigmask leaves those out): setuid(3) signals
       each thread, and returns when all have followed. So no setuid returns before the keeper, which
       stays what the leader is now, is confined. */
    call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, &before, 8);
    if (strip(keeper) == 0) {
        int pid = clone(live, keeper->stack, flags, keeper, NULL, NULL, (void *)&keeper->state);
        if (pid < 0) {
            fail(keeper, CLONE, -(long)errno);
        } else {
            keeper->pid = pid;
            while (__atomic_load_n(&keeper->state, __ATOMIC_ACQUIRE) == STARTING)
                if (call(SYS_futex, &keeper->state, FUTEX_WAIT, STARTING, &patience) ==
                    -ETIMEDOUT) {
                    fail(keeper, SILENT, -ETIMEDOUT);
                    break;
                }
            /* One that has refused has ended by now, too. */
            if (__atomic_load_n(&keeper->state, __ATOMIC_ACQUIRE) == GONE && !keeper->failed)
                fail(keeper, ENDED, -ECHILD);
        }
    }
    /* The thread must answer a setuid before it ends: glibc waits for that (pthread_create.c). */
    call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &before, NULL, 8);
}
