/* A keeper: a process that shares the memory of its leader, and nothing else.

   The kernel frees the memory of a dying process before it closes the process's descriptors. So a killed
   leader holds its lock for as long as its memory takes to be freed: 120 ms for 1.5 GB. While another
   process shares the memory, nothing is freed, and the lock is released at once. The keeper is that
   process, and frees the memory by ending after the leader.

   life.c is what the keeper does; birth.c makes it; confinement.c takes its rights away; trial.c finds
   out whether a sandbox allows all of that; module.c is the Python module. */
#ifndef LEADERLOCK_KEEPER_H
#define LEADERLOCK_KEEPER_H

#include <sys/types.h>

/* What a keeper needs, in the order in which it is done; the names are in birth.c. */
enum step {
    NOTHING_FAILED,
    PROC,
    NAMESPACE,
    SANDBOX,
    STACK,
    MEMFD,
    LOCK,
    THREAD,
    UNSHARE_FILES,
    CLOSE_FILES,
    PIDFD,
    CLONE,
    PROCESS_GROUP,
    DIRECTORY,
    NAME,
    CORE_LIMIT,
    SCHEDULER,
    POLL,
    NO_NEW_PRIVILEGES,
    FILTER,
    ENDED,
    SILENT,
    BUSY,
};

/* GONE is 0, which the kernel writes at the keeper's end (CLONE_CHILD_CLEARTID). */
enum state { GONE, STARTING, WAITING, REFUSED };

struct keeper {
    pid_t pid;
    pid_t leader;
    int memfd;      /* the leader has a POSIX lock on it, for as long as the leader needs a keeper */
    int pidfd;      /* of the leader; only the keeper has it */
    char *stack;    /* the end of the keeper's stack, which grows down */
    int niceness;   /* the least niceness of the keeper */
    int first[64];  /* descriptors to close before all others: the locks */
    int firsts;
    enum step failed;
    int error;      /* the errno of the step that failed */
    volatile int state;  /* a futex: the thread that made the keeper waits for its change */
};

/* Seconds that a new keeper has to report that it is confined; a busy machine may let it wait. */
#define PATIENCE 10

int live(void *keeper);
long confine(void);
void bear(struct keeper *keeper);
int prepare_lock(struct keeper *keeper);
int sandbox_allows(struct keeper *keeper);
const char *name_of(enum step step);

#endif
