/* The lock of one machine: N processes, one path, files that may be deleted or cut short.
 *
 * A crash, SIGKILL for example, can come before each step. The kernel drops a dead process's lock in the
 * same step. README.md names the function of each step. Each of the switches below leaves one step out; each then
 * breaks a property, which `make model` shows.
 */

#ifndef N
#define N 4
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef DELETIONS
#define DELETIONS 1
#endif
#ifndef TERMS
#define TERMS 3 /* a leader resigns only as long as there are fewer terms */
#endif

#define FILES (DELETIONS + 1)
#define NONE FILES
#define NOBODY 254
#define TORN 255 /* content without a right checksum */

byte owner[FILES] = NOBODY; /* of the flock */
byte path = NONE;           /* the file that the path names */
byte made;                  /* files so far */
byte first[FILES];          /* the two copies of the record: a term, TORN, or 0 in an empty file */
byte second[FILES];
bool is_child[FILES];       /* a child of the holder has inherited the locked descriptor */
bool killed[N];
bool changed[N];            /* the kernel has told the leader's watch of a change */
bool watches[N];
byte crashes, deletions, cuts;
byte begun; /* candidates that have begun: in their order, since one is like the other */

/* Of the checker alone. */
byte used[FILES];      /* the greatest term that somebody led by */
bool cut_short[FILES]; /* the record was overwritten, and nobody has mended it */
bool unmended[FILES];  /* and nobody will: its holder was killed, or there was none */
bool leads[N];
byte file_of[N] = NONE;
byte leaders[FILES];
bool was_old[N];       /* the path named another file already when the lock was granted */
byte could_know[N];    /* the greatest term in use when the process last read the record */

#define WHOLE(copy) (copy != TORN && copy != 0)
#define MAX(a, b) (a > b -> a : b)
#ifdef DROP_SECOND_COPY
#define GREATEST(f) (WHOLE(first[f]) -> first[f] : 0)
#define IS_CORRUPT(f) (first[f] == TORN)
#else
#define GREATEST(f) MAX((WHOLE(first[f]) -> first[f] : 0), (WHOLE(second[f]) -> second[f] : 0))
#define IS_CORRUPT(f) (!WHOLE(first[f]) && !WHOLE(second[f]) && (first[f] == TORN || second[f] == TORN))
#endif

inline let_go(f)
{
    if
    :: f != NONE && owner[f] == me -> owner[f] = NOBODY; is_child[f] = false
    :: else
    fi
}

inline stop()
{
    if
    :: leads[me] -> leads[me] = false; leaders[file_of[me]]--
    :: else
    fi
}

inline forget()
{
    stop(); watches[me] = false; changed[me] = false; file_of[me] = NONE; was_old[me] = false;
    fd = NONE; term = 0; excused = false
}

inline look_at_record()
{
#ifdef CUTS
#ifndef DROP_MEMORY
    seen = MAX(seen, GREATEST(fd));
#endif
    could_know[me] = MAX(could_know[me], (cut_short[fd] -> 0 : used[fd]))
#else
    skip
#endif
}

proctype Candidate(byte me)
{
    byte fd = NONE; /* also the descriptor's file after the path names another one */
    byte term, seen;
    bool excused;
    atomic { begun == me -> begun++ };
    do
    :: {
        /* open, and make the file if it is missing */
        atomic {
            if
            :: path == NONE && made < FILES -> path = made; made++
            :: path != NONE
            fi;
            fd = path;
            look_at_record() /* before the wait in flock(2) */
        };
        if
        :: atomic { owner[fd] == NOBODY -> owner[fd] = me; was_old[me] = (path != fd) }
#ifdef DROP_CALL_OFF
        :: atomic { owner[fd] == NOBODY -> owner[fd] = me; fd = NONE; goto standing_again }
#else
        :: atomic { owner[fd] != NOBODY -> fd = NONE; goto standing_again } /* the wait was called off */
#endif
        fi;
#ifndef DROP_VERIFY
        /* does the path still name the locked file? */
        if
        :: atomic { path != fd -> let_go(fd); forget(); goto standing_again }
        :: atomic { path == fd -> was_old[me] = false }
        fi;
#endif
        /* read the record, and choose the next term */
        if
#ifndef DROP_CORRUPT_ERROR
        :: atomic { IS_CORRUPT(fd) -> let_go(fd); forget(); goto standing_again }
#endif
        :: atomic { !IS_CORRUPT(fd) -> term = MAX(GREATEST(fd), seen) + 1 }
#ifdef DROP_CORRUPT_ERROR
        :: atomic { IS_CORRUPT(fd) -> term = 1 }
#endif
        fi;
#ifdef CUTS
        excused = (unmended[fd] && could_know[me] < used[fd]);
#endif
#ifdef DROP_WRITE_BEFORE_LEADING
        goto leading;
recording:
#endif
        /* Write both copies, the first one first. In an empty file the first copy has no other to fall
           back to; but it lies within a page, where SIGKILL cannot interrupt write(2). */
        if
        :: first[fd] == 0 -> first[fd] = term
        :: first[fd] != 0 -> first[fd] = TORN; first[fd] = term
        fi;
#ifndef DROP_SECOND_COPY
        second[fd] = TORN;
        atomic { second[fd] = term; cut_short[fd] = false; unmended[fd] = false };
#else
        atomic { cut_short[fd] = false; unmended[fd] = false };
#endif
#ifdef DROP_WRITE_BEFORE_LEADING
        goto recorded;
leading:
#endif
        atomic {
            /* The terms rise; except that a file was cut short, its holder died before it mended the
               file, and the next one parked before that holder's term began. */
            assert(term > used[fd] || excused);
            assert(!was_old[me]); /* nobody leads by a file that was replaced before */
            used[fd] = MAX(used[fd], term);
            leads[me] = true; file_of[me] = fd; leaders[fd]++;
#ifdef CUTS
            seen = MAX(seen, term); could_know[me] = used[fd];
#endif
            /* Two leaders at a time have two files: the second one began after the first one's file
               was deleted, and before the first one has looked. */
            assert(leaders[fd] == 1)
        };
#ifdef DROP_WRITE_BEFORE_LEADING
        goto recording;
recorded:
#endif
        /* begin to watch the path, then look at it once: it may have changed before */
        watches[me] = true;
#ifndef DROP_LOOK_AFTER_WATCH
        if
        :: path != fd -> goto leaving
        :: path == fd
        fi;
#endif
        do
#ifndef DROP_WATCH
        :: changed[me] -> break
#endif
        :: used[fd] < TERMS -> break /* the task has returned */
#ifdef CHILDREN
        :: atomic { !is_child[fd] -> is_child[fd] = true } /* the task has forked */
#endif
        od;
leaving:
        /* the task has stopped; mend the record, unlock, close */
#ifndef DROP_STOP_BEFORE_UNLOCK
        atomic { stop() };
#endif
#ifndef DROP_MEND
        atomic { first[fd] = term; second[fd] = term; cut_short[fd] = false; unmended[fd] = false };
#endif
        atomic {
#ifdef DROP_UNLOCK
            if
            :: is_child[fd] /* close(2) alone: the child has the lock now, as long as it runs */
            :: else -> let_go(fd)
            fi;
#else
            let_go(fd);
#endif
#ifdef DROP_STOP_BEFORE_UNLOCK
            fd = NONE
        };
        atomic { stop() };
        atomic {
#endif
            forget()
        };
standing_again: skip
    } unless {
        atomic { killed[me] -> killed[me] = false; seen = 0; could_know[me] = 0; forget() }
    }
    od
}

/* Kills processes. A child that has inherited the descriptor keeps the lock until it ends itself. */
active proctype Killer()
{
    byte victim, f;
    do
    :: crashes < CRASHES ->
        atomic {
            select (victim : 0 .. N - 1);
            crashes++;
            killed[victim] = true;
#ifdef CUTS
            for (f : 0 .. FILES - 1) {
                unmended[f] = unmended[f] || (owner[f] == victim && cut_short[f])
            };
            f = 0;
#endif
            if
            :: leads[victim] -> leads[victim] = false; leaders[file_of[victim]]--
            :: else
            fi;
            for (f : 0 .. FILES - 1) {
                if
                :: owner[f] == victim && !is_child[f] -> owner[f] = NOBODY
                :: owner[f] == victim && is_child[f] -> owner[f] = NOBODY - 1
                :: else
                fi
            };
            victim = 0; f = 0
        }
    :: else -> break
    od
}

#ifdef CHILDREN
active proctype Orphan() /* ends some time after its parent was killed */
{
    byte f;
end:
    do
    :: atomic { owner[0] == NOBODY - 1 -> owner[0] = NOBODY; is_child[0] = false }
#if DELETIONS > 0
    :: atomic { owner[1] == NOBODY - 1 -> owner[1] = NOBODY; is_child[1] = false }
#endif
    od
}
#endif

active proctype Intruder()
{
    byte i;
    do
    :: deletions < DELETIONS && path != NONE ->
        atomic {
            deletions++;
            path = NONE;
            for (i : 0 .. N - 1) { changed[i] = watches[i] };
            i = 0
        }
#ifdef CUTS
    :: cuts < CUTS && path != NONE ->
        atomic { cuts++; first[path] = 0; second[path] = 0; cut_short[path] = true; unmended[path] = (leaders[path] == 0) }
    :: cuts < CUTS && path != NONE ->
        atomic { cuts++; first[path] = TORN; second[path] = TORN; cut_short[path] = true; unmended[path] = (leaders[path] == 0) }
#endif
    :: true -> break
    od
}

init
{
    byte p;
    atomic {
        for (p : 0 .. N - 1) { run Candidate(p) }
    }
}

#define LEADS(i) (leads[i] && file_of[i] == path)
#if N == 2
#define SOME_LEADER (LEADS(0) || LEADS(1))
#elif N == 3
#define SOME_LEADER (LEADS(0) || LEADS(1) || LEADS(2))
#else
#define SOME_LEADER (LEADS(0) || LEADS(1) || LEADS(2) || LEADS(3))
#endif

/* A live candidate leads in the end, by the file that the path names. */
ltl someone_leads { [] <> SOME_LEADER }

/* A leader whose file was deleted or replaced learns of it and lets go. */
#define OLD(i) (leads[i] && file_of[i] != path)
#if N == 2
#define SOME_OLD (OLD(0) || OLD(1))
#elif N == 3
#define SOME_OLD (OLD(0) || OLD(1) || OLD(2))
#else
#define SOME_OLD (OLD(0) || OLD(1) || OLD(2) || OLD(3))
#endif
ltl old_leaders_end { [] <> !SOME_OLD }
