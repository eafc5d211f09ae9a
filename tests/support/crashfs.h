/* SPDX-License-Identifier: MIT */
/*
 * A file system that crashes, behind the table of system calls (src/os.h).
 *
 * It counts the calls that change something on disk: open that creates, pwrite, ftruncate,
 * fallocate, fdatasync, fsync, rename, link, unlink.  What a process that dies leaves is what
 * it has done so far; a machine that stops leaves what was synced, and of the rest anything.
 * So there are two uses:
 *
 *   crashfs_arm      kills the process before its Nth call, or inside it, when it is a
 *                    pwrite, after some bytes.
 *   crashfs_record   notes every call with its data in memory that the parent shares;
 *                    crashfs_rebuild makes the folder of each machine that could wake up.
 *
 * Only calls of the thread that armed are counted and noted: the janitor's come when they
 * like.  Syncs are noted and not made, since nothing here waits for a disk.
 *
 * THE MODEL OF A POWER CUT.  Data calls (pwrite, ftruncate, fallocate) on a file are on the
 * disk for sure once a later fdatasync or fsync of that file has returned.  Others may be
 * there or not, each by itself, whatever came before or after; a pwrite may be there in part,
 * in sectors of 512 bytes.  Names (creation, link, rename, unlink) are there for sure once a
 * later fsync of the folder has returned; of the others a first few are there, in order, as
 * on any file system with a journal.
 */
#ifndef CRASHFS_H
#define CRASHFS_H

#include "../../src/os.h"
#include "scratch.h"

typedef enum crashfs_kind {
    CRASHFS_CREATE = 1,
    CRASHFS_PWRITE,
    CRASHFS_TRUNCATE,
    CRASHFS_RESERVE,
    CRASHFS_PUNCH,
    CRASHFS_SYNC,
    CRASHFS_SYNC_FOLDER,
    CRASHFS_RENAME,
    CRASHFS_LINK,
    CRASHFS_UNLINK,
    CRASHFS_NOTE
} crashfs_kind;

#define CRASHFS_SECTOR 512u /* what is written as a whole or not at all */
#define CRASHFS_MOST_CALLS 20000

/* What a run did; in memory shared with the parent. */
typedef struct crashfs_log {
    uint64_t calls;
    uint8_t kinds[CRASHFS_MOST_CALLS];  /* of each call, from 1 on */
    uint32_t sizes[CRASHFS_MOST_CALLS]; /* of each pwrite */
} crashfs_log;

/*
 * Put the table in use and begin to count, into @p log (which may be NULL).  Before call
 * @p stop (0: never) the process kills itself, as SIGKILL does; if that call is a pwrite of
 * more than one sector, after @p tear of its bytes.
 */
void crashfs_arm(crashfs_log *log, uint64_t stop, size_t tear);

/* The same for a process among others, whose locks and syncs are to be real. */
void crashfs_arm_real(uint64_t stop, size_t tear);

/* Calls so far. */
uint64_t crashfs_calls(void);

/* From now on the machine has booted again: the boot id is another one for each number. */
void crashfs_reboot(unsigned number);

/* ---- power cuts ------------------------------------------------------- */

typedef struct crashfs_record crashfs_record;

/* Room for a record; shared with children. */
crashfs_record *crashfs_record_new(void);
void crashfs_record_free(crashfs_record *record);

/* As crashfs_arm, and note what is done to the files of a folder, which is as it is now. */
void crashfs_record_begin(crashfs_record *record, const char *folder);

/* Note that something is so from here on, such as a commit that was acknowledged. */
void crashfs_note(uint64_t value);

/* How many calls (notes included) there are, and the last note before call @p n. */
size_t crashfs_record_calls(const crashfs_record *record);
uint64_t crashfs_record_note(const crashfs_record *record, size_t n);
crashfs_kind crashfs_record_kind(const crashfs_record *record, size_t n);

/* What becomes of that which was not synced. */
typedef enum crashfs_loss {
    CRASHFS_LOSE_ALL,
    CRASHFS_LOSE_NOTHING,
    CRASHFS_LOSE_SOME
} crashfs_loss;

/*
 * The machine stops before call @p n: make in @p folder what is found when it wakes up,
 * where @p base had been at the beginning.
 */
void crashfs_rebuild(const crashfs_record *record, const char *base, const char *folder, size_t n,
                     crashfs_loss loss, scratch_random *random);

#endif
