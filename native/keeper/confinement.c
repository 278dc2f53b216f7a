/* The rights that a keeper gives up before it waits.

   The keeper has the user, the groups and the capabilities that its leader had when it was made, and the
   leader's memory is its memory. If the leader gives up root later, then whoever takes over the leader
   can write to the keeper's stack, and have the keeper run any code, as root. So the kernel leaves the
   keeper five system calls, with which it can wait and end. The filter is installed before the keeper
   reports that it waits, and no setuid(3) of the leader returns before that report: see birth.c. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "keeper.h"
#include "system_calls.h"

#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)
#define SKIP_UNLESS(value, instructions) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, instructions)
#define ALLOW(number) SKIP_UNLESS(number, 1), RETURN(SECCOMP_RET_ALLOW)
/* The kernel reads the operation from the low half of the second argument, which comes first in memory. */
#define ALLOW_OPERATION(number, operation) \
    SKIP_UNLESS(number, 4), LOAD(args[1]), SKIP_UNLESS(operation, 1), RETURN(SECCOMP_RET_ALLOW), REFUSE
/* Not SECCOMP_RET_KILL: before Linux 5.16, a process that ends with a core dump takes all others with it
   that share its memory (coredump_wait in fs/coredump.c), also where its limit forbids the dump. */
#define REFUSE RETURN(SECCOMP_RET_ERRNO | EPERM)

/* Static, and not built on the stack: the kernel copies it from here. */
static struct sock_filter instructions[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LEADERLOCK_ARCHITECTURE, 1, 0),
    REFUSE,
    LOAD(nr),
    ALLOW(SYS_ppoll),
    ALLOW(SYS_exit_group),
    ALLOW(SYS_restart_syscall), /* the kernel's own, after a stop */
    ALLOW_OPERATION(SYS_futex, FUTEX_WAKE),
    ALLOW_OPERATION(SYS_fcntl, F_SETLKW),
    REFUSE,
};
static struct sock_fprog filter = {sizeof instructions / sizeof *instructions, instructions};

/* Confine the calling thread; 0 or a negated errno. Needs PR_SET_NO_NEW_PRIVS. */
WITHOUT_CANARY long confine(void) {
    return call(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0);
}
