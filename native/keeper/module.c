/* The module leaderlock_native._keeper: start, look at and stop the keeper of this process. */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030a0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"
#include "system_calls.h"

#define KEEPER_STACK 16384
#define THREAD_STACK (256 * 1024)
#define END_MS 2000

/* One for each process: a forked child finds its parent's, and tells by `leader`. */
static struct keeper keeper = {.memfd = -1};
static struct stat memfd_status;
static pid_t is_starting; /* the process in which a thread is inside `start`, without the GIL */

static int is_ours(void) { return keeper.pid > 0 && keeper.leader == getpid(); }

/* Other code may have closed the memfd, and its number may be another file by now. */
static int has_memfd(void) {
    struct stat status;
    return keeper.memfd >= 0 && fstat(keeper.memfd, &status) == 0 &&
           status.st_ino == memfd_status.st_ino && status.st_dev == memfd_status.st_dev;
}

static void close_memfd(void) {
    if (has_memfd()) close(keeper.memfd);
    keeper.memfd = -1;
}

/* Whether the keeper has ended, now or within some milliseconds; if so, it is reaped. It is no child that
   wait(2) shows, so nobody else reaps it (__WALL: clone(2)). */
static int has_ended(int milliseconds) {
    pid_t found = waitpid(keeper.pid, NULL, __WALL | WNOHANG);
    if (found == 0 && milliseconds > 0) {
        struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, keeper.pid, 0), .events = POLLIN};
        if (end.fd >= 0) {
            while (poll(&end, 1, milliseconds) < 0 && errno == EINTR) continue;
            close(end.fd);
        }
        found = waitpid(keeper.pid, NULL, __WALL | WNOHANG);
    }
    if (found == 0) return 0;
    keeper.pid = 0; /* also for ECHILD: another part of the program waits with __WALL */
    return 1;
}

/* End the keeper. A leader that has given up root may not signal one that has not; then the lock on the
   memfd ends it. Whether it has ended. */
static int dismiss(void) {
    close_memfd();
    kill(keeper.pid, SIGKILL);
    return has_ended(END_MS);
}

/* Whether children are born into this PID namespace: in another one (unshare(2)), a keeper would be PID 1,
   and the namespace would end with it. */
static int check_namespace(void) {
    char own[64], theirs[64];
    ssize_t length = readlink("/proc/self/ns/pid", own, sizeof own);
    ssize_t other = readlink("/proc/self/ns/pid_for_children", theirs, sizeof theirs);
    if (length < 0) return keeper.failed = PROC, keeper.error = errno, -1;
    /* ENOENT: unshare(2) was called, and no child was born yet. */
    if (length != other || memcmp(own, theirs, (size_t)length))
        return keeper.failed = NAMESPACE, keeper.error = EXDEV, -1;
    return 0;
}

/* Whether a seccomp filter watches this process. Read from a file: prctl(2) could be what it kills for. */
static int is_sandboxed(void) {
    char line[256];
    int is_filtered = 1;
    FILE *file = fopen("/proc/self/status", "re");
    if (file == NULL) return 1;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "Seccomp:", 8) == 0) is_filtered = atoi(line + 8) != 0;
    fclose(file);
    return is_filtered;
}

static int prepare_stack(void) {
    if (keeper.stack == NULL) { /* kept for the next keeper */
        char *pages = mmap(NULL, 2 * KEEPER_STACK, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (pages == MAP_FAILED) return keeper.failed = STACK, keeper.error = errno, -1;
        mprotect(pages, KEEPER_STACK, PROT_NONE);
        keeper.stack = pages + 2 * KEEPER_STACK;
    }
    return 0;
}

static void *bear_in_thread(void *argument) {
    bear(argument);
    return NULL;
}

static int run_thread(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int error;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    sigfillset(&all); /* no handler of the program's runs in the thread, which has no descriptors */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    error = pthread_create(&thread, &attributes, bear_in_thread, &keeper);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error) return keeper.failed = THREAD, keeper.error = error, -1;
    pthread_join(thread, NULL);
    return 0;
}

/* Without the GIL: all of the steps. 0, or -1 with the reason in the keeper. */
static int begin(void) {
    if (is_ours() && !has_ended(0)) {
        if (has_memfd()) return 0;
        /* Other code has closed the memfd, so this keeper is about to end. */
        if (!has_ended(END_MS)) return keeper.failed = BUSY, keeper.error = EBUSY, -1;
    }
    close_memfd(); /* of one that was killed, or of the process that has forked this one */
    keeper.pid = 0;
    keeper.leader = getpid();
    keeper.state = STARTING;
    keeper.failed = NOTHING_FAILED;
    keeper.error = 0;
    if (check_namespace() < 0 || prepare_stack() < 0) return -1;
    if (is_sandboxed() && !sandbox_allows(&keeper)) return -1;
    if (prepare_lock(&keeper) < 0) return -1;
    fstat(keeper.memfd, &memfd_status);
    if (run_thread() == 0 && keeper.state == WAITING) return 0;
    if (keeper.pid > 0) {
        dismiss();
    } else {
        close_memfd();
    }
    return -1;
}

static PyObject *refusal(enum step step, int error) {
    char text[256];
    PyObject *arguments;
    snprintf(text, sizeof text, "%s: %s", name_of(step), strerror(error));
    arguments = Py_BuildValue("is", error, text);
    if (arguments != NULL) {
        PyErr_SetObject(PyExc_OSError, arguments);
        Py_DECREF(arguments);
    }
    return NULL;
}

/* Descriptors to close before others: as many as there is room for. */
static int take_firsts(PyObject *sequence) {
    Py_ssize_t index, length = PySequence_Size(sequence);
    if (length < 0) return -1;
    keeper.firsts = 0;
    for (index = 0; index < length && keeper.firsts < 64; index++) {
        PyObject *item = PySequence_GetItem(sequence, index);
        long number = item == NULL ? -1 : PyLong_AsLong(item);
        Py_XDECREF(item);
        if (number == -1 && PyErr_Occurred()) return -1;
        keeper.first[keeper.firsts++] = (int)number;
    }
    return 0;
}

static PyObject *start(PyObject *module, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"first", "niceness", NULL};
    PyObject *sequence = NULL;
    int niceness = 10, result;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|Oi", names, &sequence, &niceness))
        return NULL;
    if (is_starting == getpid()) return refusal(BUSY, EBUSY);
    if (sequence != NULL && take_firsts(sequence) < 0) return NULL;
    keeper.niceness = niceness;
    is_starting = getpid(); /* a child that is forked meanwhile is another process */
    Py_BEGIN_ALLOW_THREADS
    result = begin();
    Py_END_ALLOW_THREADS
    is_starting = 0;
    if (result < 0) return refusal(keeper.failed, keeper.error);
    return PyLong_FromLong(keeper.pid);
}

static PyObject *pid(PyObject *module, PyObject *none) {
    (void)module, (void)none;
    if (is_starting == getpid() || !is_ours() || has_ended(0)) return PyLong_FromLong(0);
    return PyLong_FromLong(keeper.pid);
}

static PyObject *stop(PyObject *module, PyObject *none) {
    int ended = 1;
    (void)module, (void)none;
    if (is_starting == getpid()) return refusal(BUSY, EBUSY);
    if (is_ours()) {
        is_starting = getpid();
        Py_BEGIN_ALLOW_THREADS
        ended = dismiss();
        Py_END_ALLOW_THREADS
        is_starting = 0;
    }
    return PyBool_FromLong(ended);
}

static PyObject *forget(PyObject *module, PyObject *none) {
    (void)module, (void)none;
    if (keeper.leader != getpid()) {
        close_memfd();
        keeper.pid = 0;
        is_starting = 0;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"start", (PyCFunction)(void (*)(void))start, METH_VARARGS | METH_KEYWORDS,
     "start(first=(), niceness=10) -> the process ID of this process's keeper, made unless there is one."},
    {"pid", pid, METH_NOARGS, "pid() -> the process ID of this process's keeper; 0 without one."},
    {"stop", stop, METH_NOARGS, "stop() -> whether this process has no keeper any more."},
    {"forget", forget, METH_NOARGS, "forget() closes, in a forked child, what it has of its parent's keeper."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_keeper", "The keeper of this process.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__keeper(void) { return PyModule_Create(&definition); }
