/* The shared page: leaders mark their terms in it, and the machine leaves commands for candidates.

   Nothing here needs a descriptor or memory, so that marks go on under EMFILE, after closerange, and on a
   full disk. A mark is one call: no Python signal handler runs in the middle of it. A slot is taken by an
   atomic addition, and counts once `committed` is set: a process that is killed before has marked nothing. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct box { /* a candidate's letter box, 64 bytes */
    uint32_t sequence, done;
    uint64_t command, argument, answer[5];
};

struct slot { /* a term, 128 bytes */
    uint64_t committed, kind, who, pid, started, term, inode, entered, last, left, stamps, more[5];
};

struct page {
    uint64_t next, capacity, more[510];
    struct box boxes[64];
    struct slot slots[];
};

static uint64_t now(void)
{
    struct timespec moment;

    clock_gettime(CLOCK_MONOTONIC, &moment);
    return (uint64_t)moment.tv_sec * 1000000000u + (uint64_t)moment.tv_nsec;
}

/* proc_pid_stat(5): the 22nd field; the 2nd may hold spaces and brackets. 0 if no descriptor is left. */
static uint64_t start_time(void)
{
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC), field = 2;
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    char *at;

    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    for (at = strrchr(text, ')'); at && field < 22; at = strchr(at + 1, ' '))
        field++;
    return at ? strtoull(at, NULL, 10) : 0;
}

static pid_t known_pid;
static uint64_t known_start;

void page_know_self(void)
{
    if (known_pid != getpid()) {
        known_pid = getpid();
        known_start = start_time();
    }
}

/* The index of a new slot, or -1 if the page is full. */
int64_t page_enter(struct page *page, uint64_t kind, uint64_t who, uint64_t term, uint64_t inode)
{
    uint64_t index = __atomic_fetch_add(&page->next, 1, __ATOMIC_SEQ_CST);
    struct slot *slot = page->slots + index;

    if (index >= page->capacity)
        return -1;
    page_know_self();
    slot->kind = kind;
    slot->who = who;
    slot->pid = (uint64_t)known_pid;
    slot->started = known_start;
    slot->term = term;
    slot->inode = inode;
    slot->last = slot->entered = now();
    __atomic_store_n(&slot->committed, 1, __ATOMIC_RELEASE);
    return (int64_t)index;
}

void page_stamp(struct page *page, int64_t index)
{
    if (index < 0)
        return;
    __atomic_store_n(&page->slots[index].last, now(), __ATOMIC_RELEASE);
    page->slots[index].stamps++;
}

void page_leave(struct page *page, int64_t index)
{
    if (index < 0)
        return;
    page_stamp(page, index);
    __atomic_store_n(&page->slots[index].left, page->slots[index].last, __ATOMIC_RELEASE);
}

/* Wait until a command newer than `seen` is there, or for some milliseconds; its number. */
uint32_t page_await(struct page *page, uint32_t who, uint32_t seen, uint32_t milliseconds)
{
    struct box *box = page->boxes + who;
    struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000L};

    if (__atomic_load_n(&box->sequence, __ATOMIC_ACQUIRE) == seen)
        syscall(SYS_futex, &box->sequence, FUTEX_WAIT, seen, &limit, NULL, 0);
    return __atomic_load_n(&box->sequence, __ATOMIC_ACQUIRE);
}

void page_command(struct page *page, uint32_t who, uint64_t command, uint64_t argument)
{
    struct box *box = page->boxes + who;

    box->command = command;
    box->argument = argument;
    __atomic_add_fetch(&box->sequence, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &box->sequence, FUTEX_WAKE, 64, NULL, NULL, 0);
}

void page_answer(struct page *page, uint32_t who, uint32_t sequence, const uint64_t answer[5])
{
    struct box *box = page->boxes + who;

    memcpy(box->answer, answer, sizeof box->answer);
    __atomic_store_n(&box->done, sequence, __ATOMIC_RELEASE);
}
