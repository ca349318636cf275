/*
 * Makes a disk fail, for a process that loads this with LD_PRELOAD.
 *
 * FAULT_CONTROL names a file whose first line says what fails at present (an absent or empty file: nothing):
 *   nospace    writes and growing files fail with ENOSPC, as on a full disk
 *   nosync     fsync and fdatasync fail with EIO, as on a dying disk
 *   readonly   opening for writing, writing, removing and truncating fail with EROFS, as on a disk mounted anew
 *              read-only
 * Only files under the folder FAULT_FOLDER are touched. Each failure appends a byte to FAULT_COUNT, so that a test
 * knows that its fault was met.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum fault { NONE, NOSPACE, NOSYNC, READONLY };

/* Raw system calls, so that reading the control file never comes back here. */
static enum fault at_present(void)
{
    const char *path = getenv("FAULT_CONTROL");
    char text[16] = {0};
    if (!path)
        return NONE;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return NONE;
    ssize_t got = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (got <= 0)
        return NONE;
    if (!strncmp(text, "nospace", 7))
        return NOSPACE;
    if (!strncmp(text, "nosync", 6))
        return NOSYNC;
    if (!strncmp(text, "readonly", 8))
        return READONLY;
    return NONE;
}

static int under_folder(const char *path)
{
    const char *folder = getenv("FAULT_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int fd_under_folder(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return under_folder(path);
}

static int path_under_folder(int folder_fd, const char *path)
{
    char whole[PATH_MAX], link[64], folder[PATH_MAX];
    ssize_t length;
    if (path[0] == '/')
        return under_folder(path);
    if (folder_fd == AT_FDCWD)
        length = getcwd(folder, sizeof folder) ? (ssize_t)strlen(folder) : -1;
    else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder_fd);
        length = readlink(link, folder, sizeof folder - 1);
    }
    if (length <= 0)
        return 0;
    folder[length] = 0;
    if (snprintf(whole, sizeof whole, "%s/%s", folder, path) >= (int)sizeof whole)
        return 0;
    return under_folder(whole);
}

static int fail(int error)
{
    const char *path = getenv("FAULT_COUNT");
    if (path) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) {
            syscall(SYS_write, fd, "x", 1);
            syscall(SYS_close, fd);
        }
    }
    errno = error;
    return -1;
}

/* What a write to this descriptor must fail with, or 0. */
static int write_error(int fd)
{
    enum fault fault = at_present();
    if ((fault != NOSPACE && fault != READONLY) || !fd_under_folder(fd))
        return 0;
    return fault == NOSPACE ? ENOSPC : EROFS;
}

static int open_error(int folder_fd, const char *path, int flags)
{
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & (O_CREAT | O_TRUNC)))
        return 0;
    enum fault fault = at_present();
    if (fault == READONLY && path_under_folder(folder_fd, path))
        return EROFS;
    /* A full disk has no room for a new file's name either; one that is there opens. */
    if (fault == NOSPACE && (flags & O_CREAT) && path_under_folder(folder_fd, path)) {
        struct stat found;
        if (fstatat(folder_fd, path, &found, 0) != 0)
            return ENOSPC;
    }
    return 0;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define WRITER(type, name, parameters, arguments)  \
    type name parameters                           \
    {                                              \
        int error = write_error(fd);               \
        return error ? fail(error) : NEXT(name) arguments; \
    }

WRITER(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRITER(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRITER(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
WRITER(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))

#define TRUNCATER(name, offset)                                                    \
    int name(int fd, offset size)                                                  \
    {                                                                              \
        return at_present() == READONLY && fd_under_folder(fd) ? fail(EROFS) : NEXT(name)(fd, size); \
    }

TRUNCATER(ftruncate, off_t)
TRUNCATER(ftruncate64, off64_t)

#define SYNCER(name)                                                              \
    int name(int fd)                                                              \
    {                                                                             \
        return at_present() == NOSYNC && fd_under_folder(fd) ? fail(EIO) : NEXT(name)(fd); \
    }

SYNCER(fsync)
SYNCER(fdatasync)

#define REMOVER(name, path, parameters, arguments)                                                    \
    int name parameters                                                                               \
    {                                                                                                 \
        return at_present() == READONLY && path_under_folder(AT_FDCWD, path) ? fail(EROFS) : NEXT(name) arguments; \
    }

REMOVER(unlink, path, (const char *path), (path))
REMOVER(rename, to, (const char *from, const char *to), (from, to))

#define MODE_OF(flags, mode)                    \
    mode_t mode = 0;                            \
    if ((flags) & (O_CREAT | O_TMPFILE)) {      \
        va_list rest;                           \
        va_start(rest, flags);                  \
        mode = va_arg(rest, mode_t);            \
        va_end(rest);                           \
    }

#define OPENER(name)                                     \
    int name(const char *path, int flags, ...)           \
    {                                                    \
        MODE_OF(flags, mode)                             \
        int error = open_error(AT_FDCWD, path, flags);   \
        return error ? fail(error) : NEXT(name)(path, flags, mode); \
    }

#define OPENER_AT(name)                                            \
    int name(int folder_fd, const char *path, int flags, ...)      \
    {                                                              \
        MODE_OF(flags, mode)                                       \
        int error = open_error(folder_fd, path, flags);            \
        return error ? fail(error) : NEXT(name)(folder_fd, path, flags, mode); \
    }

OPENER(open)
OPENER(open64)
OPENER_AT(openat)
OPENER_AT(openat64)
