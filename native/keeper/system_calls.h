/* System calls without the C library.

   The keeper runs with the thread-local storage of the thread that made it: errno, the stack protector's
   canary and the state of cancellation are that thread's, and are unmapped once the thread has ended. So
   nothing that the keeper runs may call the C library. A result of -4095 to -1 is a negated errno. */
#ifndef LEADERLOCK_SYSTEM_CALLS_H
#define LEADERLOCK_SYSTEM_CALLS_H

#include <linux/audit.h>
#include <sys/syscall.h>

/* Numbers that the headers of manylinux_2_17 lack; these are the same on every architecture. */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

#if defined(__x86_64__)
#define LEADERLOCK_ARCHITECTURE AUDIT_ARCH_X86_64
#ifndef SYS_memfd_create
#define SYS_memfd_create 319
#endif
static inline long system_call(long number, long a, long b, long c, long d, long e) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
#define LEADERLOCK_ARCHITECTURE AUDIT_ARCH_AARCH64
#ifndef SYS_memfd_create
#define SYS_memfd_create 279
#endif
static inline long system_call(long number, long a, long b, long c, long d, long e) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory", "cc");
    return x0;
}
#else
#error "leaderlock-native is for Linux on x86-64 and aarch64"
#endif

/* Unused arguments are 0: prctl(2) refuses some operations unless they are. */
#define call(number, a, b, c, d) system_call(number, (long)(a), (long)(b), (long)(c), (long)(d), 0)

/* The canary of the stack protector is in that storage too. */
#if defined(__clang__) || __GNUC__ >= 11
#define WITHOUT_CANARY __attribute__((no_stack_protector))
#else
#define WITHOUT_CANARY __attribute__((optimize("no-stack-protector")))
#endif

#endif
