/* The life of a keeper, from its first instruction to its last: nothing here calls the C library. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "keeper.h"
#include "system_calls.h"

#define GRACE_MS 200 /* for the leader's end, after its lock on the memfd is gone */

/* Become a process that signals, terminals, limits and unmounts of the leader do not concern. */
WITHOUT_CANARY static enum step settle(struct keeper *keeper, long *error) {
    struct rlimit no_core = {1, 1}; /* 1, not 0: a core_pattern with a pipe ignores 0 (core(5)) */
    struct sched_param param = {0};
    struct pollfd leader = {.fd = keeper->pidfd, .events = POLLIN};
    struct timespec at_once = {0, 0};
    long now;

    /* A signal for the leader's process group is not meant for the keeper: it would end, or stop and
       then pin the memory. */
    if ((*error = call(SYS_setpgid, 0, 0, 0, 0)) < 0) return PROCESS_GROUP;
    /* The leader's directory could not be unmounted until the keeper has ended. */
    if ((*error = call(SYS_chdir, "/", 0, 0, 0)) < 0) return DIRECTORY;
    if ((*error = call(SYS_prctl, PR_SET_NAME, "leaderlock-keep", 0, 0)) < 0) return NAME;
    /* If a fault ends the keeper, it must not write the leader's memory to a disk. */
    if ((*error = call(SYS_prlimit64, 0, RLIMIT_CORE, &no_core, NULL)) < 0) return CORE_LIMIT;
    /* Memory is freed at the keeper's cost: not with the leader's real-time priority, and after the next
       leader's first steps. A niceness is never lowered. getpriority(2) tells 20 less the niceness. */
    if ((*error = call(SYS_sched_setscheduler, 0, SCHED_OTHER, &param, 0)) < 0) return SCHEDULER;
    if ((now = call(SYS_getpriority, PRIO_PROCESS, 0, 0, 0)) < 0) return *error = now, SCHEDULER;
    if (20 - now < keeper->niceness &&
        (*error = call(SYS_setpriority, PRIO_PROCESS, 0, keeper->niceness, 0)) < 0)
        return SCHEDULER;
    /* A sandbox may have something against it, and then says so now, and not at the leader's end. */
    if ((*error = call(SYS_ppoll, &leader, 1, &at_once, NULL)) < 0) return POLL;
    /* Last, since it forbids all of the above; and without new privileges no right is needed for it. */
    if ((*error = call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0)) < 0) return NO_NEW_PRIVILEGES;
    if ((*error = confine()) < 0) return FILTER;
    return NOTHING_FAILED;
}

/* What a keeper does. Its descriptors are the memfd and the leader's pidfd, and no others: it is made
   that way (birth.c), so that it never has the leader's lock, not even for an instant. All signals are
   blocked from the first instruction on. */
WITHOUT_CANARY int live(void *argument) {
    struct keeper *keeper = argument;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct pollfd leader = {.fd = keeper->pidfd, .events = POLLIN};
    struct timespec grace = {GRACE_MS / 1000, GRACE_MS % 1000 * 1000000};
    int memfd = keeper->memfd; /* the leader may write to its own copy at any time from now on */
    long error = 0;
    enum step failed = settle(keeper, &error);

    keeper->failed = failed;
    keeper->error = (int)-error;
    __atomic_store_n(&keeper->state, failed ? REFUSED : WAITING, __ATOMIC_RELEASE);
    call(SYS_futex, &keeper->state, FUTEX_WAKE, INT_MAX, 0);
    if (!failed) {
        /* A POSIX lock belongs to the leader's table of descriptors. No forked child has it, so no child
           can keep it; and it ends when the leader closes the memfd, which the kernel does at exec (the
           memfd is close-on-exec) and at death. At exec the leader has new memory already, and the old
           one is to be freed. */
        while (call(SYS_fcntl, memfd, F_SETLKW, &lock, 0) == -EINTR) continue;
        /* At death, the kernel ends this lock before the leader's flock. If the memory were freed at
           once, it would compete with the end of the leader, so wait until that is complete; after an
           exec or a close, the leader does not end, and the time limit passes. */
        call(SYS_ppoll, &leader, 1, &grace, NULL);
    }
    for (;;) call(SYS_exit_group, 0, 0, 0, 0);
    return 0;
}
