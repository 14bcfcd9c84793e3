/* A disk that can be watched and that fails when it is told to, for an unchanged program: to be preloaded.

   Every call that changes something below FAULT_ROOT is counted, may fail, and is written to FAULT_TRACE with all that it
   takes to do it again. Answers on TCP sockets are noted there before they leave, so that it is known what was on the disk
   when a client could first have read them. FAULT_CONTROL, shared with whoever tests, says what fails and how far the wall
   clock is off. What is mapped into memory is not seen; of SQLite's files that is the -shm alone, which needs no disk. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum mode { NEVER, ONCE, FROM_THEN_ON };

/* disk.py has the same layout. */
struct control {
	uint64_t calls; /* Changes asked for so far. */
	uint64_t at;    /* The change that fails, from 1. */
	uint32_t mode;
	int32_t error;
	uint64_t hits;     /* Changes that were refused. */
	int64_t clock_off; /* Nanoseconds. */
};

struct record {
	uint32_t length; /* Of all of it. */
	char kind;
	uint8_t failed;
	uint16_t path, other; /* Their lengths. */
	uint16_t call;        /* The change's number. */
	uint32_t data;
	uint64_t inode, offset;
} __attribute__((packed));

static struct control *control;
static int trace = -1;
static char root[PATH_MAX];
static size_t root_length;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FAULT_ROOT"), *shared = getenv("FAULT_CONTROL"), *log = getenv("FAULT_TRACE");
	if (!path || !shared || !realpath(path, root))
		return;
	root_length = strlen(root);
	int fd = REAL(open)(shared, O_RDWR | O_CLOEXEC);
	void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		abort();
	if (log)
		trace = REAL(open)(log, O_WRONLY | O_APPEND | O_CLOEXEC);
	control = map;
}

static int is_below_root(const char *path)
{
	return control && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* The path behind a descriptor, if it is a file or a folder below the root. */
static int path_of(int fd, char *path)
{
	char link[64] = "/proc/self/fd/";
	char *end = link + strlen(link), digits[16];
	int n = 0;
	if (!control || fd < 0)
		return 0;
	do
		digits[n++] = '0' + fd % 10;
	while (fd /= 10);
	while (n)
		*end++ = digits[--n];
	ssize_t length = readlink(link, path, PATH_MAX - 1);
	if (length < 0)
		return 0;
	path[length] = 0;
	return is_below_root(path);
}

/* An absolute path without links but for its last part, if it is below the root. */
static int absolute(int folder, const char *name, char *path)
{
	char joined[2 * PATH_MAX], parent[PATH_MAX];
	if (!control || !name)
		return 0;
	if (name[0] == '/' || folder == AT_FDCWD)
		snprintf(joined, sizeof joined, "%s%s", name[0] == '/' ? "" : "./", name);
	else if (path_of(folder, parent))
		snprintf(joined, sizeof joined, "%s/%s", parent, name);
	else
		return 0;
	char *slash = strrchr(joined, '/');
	*slash = 0;
	if (!realpath(*joined ? joined : "/", parent))
		return 0;
	return snprintf(path, PATH_MAX, "%s/%s", parent, slash + 1) < PATH_MAX && is_below_root(path);
}

/* Counts a change, and says whether the disk refuses it. A full disk refuses only what needs room, a read-only one syncs. */
static int refuses(int needs_room, int is_sync)
{
	uint64_t call = ++control->calls;
	int hit = (control->mode == ONCE && call == control->at) || (control->mode == FROM_THEN_ON && control->at <= call);
	if (!hit || (control->error == ENOSPC && !needs_room) || (control->error == EROFS && is_sync))
		return 0;
	control->hits++;
	errno = control->error;
	return 1;
}

static void note(char kind, int failed, uint64_t inode, const char *path, const char *other, uint64_t offset,
                 const void *data, size_t length)
{
	if (trace < 0)
		return;
	struct record it = { .kind = kind, .failed = failed, .inode = inode, .offset = offset, .data = length };
	it.call = control->calls;
	it.path = path ? strlen(path + root_length) : 0;
	it.other = other ? strlen(other + root_length) : 0;
	it.length = sizeof it + it.path + it.other + it.data;
	struct iovec parts[] = { { &it, sizeof it },
	                         { path ? (void *)(path + root_length) : "", it.path },
	                         { other ? (void *)(other + root_length) : "", it.other },
	                         { (void *)data, length } };
	int before = errno;
	/* In one piece, because other processes write there too. */
	if (REAL(writev)(trace, parts, 4) != it.length)
		abort();
	errno = before;
}

static uint64_t inode_of(int fd)
{
	struct stat it;
	return fstat(fd, &it) ? 0 : it.st_ino;
}

/* Contents. */

static ssize_t put(int fd, const void *data, size_t length, off_t offset, int is_at)
{
	struct stat it;
	ssize_t res = -1;
	pthread_mutex_lock(&turn);
	fstat(fd, &it);
	if (!is_at)
		offset = fcntl(fd, F_GETFL) & O_APPEND ? it.st_size : lseek(fd, 0, SEEK_CUR);
	int grows = it.st_size < offset + (off_t)length;
	if (!refuses(grows, 0)) {
		res = is_at ? REAL(pwrite)(fd, data, length, offset) : REAL(write)(fd, data, length);
	} else if (control->error == ENOSPC && control->hits == 1 && 1 < length) {
		/* The last room there is takes a part of it. */
		length /= 2;
		res = is_at ? REAL(pwrite)(fd, data, length, offset) : REAL(write)(fd, data, length);
	}
	if (0 < res)
		note('w', 0, it.st_ino, NULL, NULL, offset, data, res);
	int before = errno;
	pthread_mutex_unlock(&turn);
	errno = before;
	return res;
}

static void answering(int fd)
{
	struct sockaddr_in peer;
	socklen_t length = sizeof peer;
	if (control && !getpeername(fd, (struct sockaddr *)&peer, &length) && peer.sin_family == AF_INET)
		note('a', 0, 0, NULL, NULL, ntohs(peer.sin_port), NULL, 0);
}

ssize_t write(int fd, const void *data, size_t length)
{
	char path[PATH_MAX];
	if (path_of(fd, path))
		return put(fd, data, length, 0, 0);
	answering(fd);
	return REAL(write)(fd, data, length);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
	char path[PATH_MAX];
	/* A short count is an answer that every caller must be ready for. */
	if (n && path_of(fd, path))
		return put(fd, parts[0].iov_base, parts[0].iov_len, 0, 0);
	answering(fd);
	return REAL(writev)(fd, parts, n);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
	answering(fd);
	return REAL(send)(fd, data, length, flags);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
	char path[PATH_MAX];
	return path_of(fd, path) ? put(fd, data, length, offset, 1) : REAL(pwrite)(fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	return pwrite(fd, data, length, offset);
}

/* Whoever copies in the kernel falls back to reading and writing. */
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *into, size_t length, unsigned flags)
{
	char path[PATH_MAX];
	if (!path_of(to, path))
		return REAL(copy_file_range)(from, at, to, into, length, flags);
	errno = ENOSYS;
	return -1;
}

ssize_t sendfile(int to, int from, off_t *at, size_t length)
{
	char path[PATH_MAX];
	if (!path_of(to, path))
		return REAL(sendfile)(to, from, at, length);
	errno = EINVAL;
	return -1;
}

static int sync_with(int fd, int (*real)(int))
{
	char path[PATH_MAX];
	struct stat it;
	if (!path_of(fd, path))
		return real(fd);
	pthread_mutex_lock(&turn);
	fstat(fd, &it);
	int res = refuses(0, 1) ? -1 : real(fd);
	note(S_ISDIR(it.st_mode) ? 'd' : 's', res != 0, it.st_ino, path, NULL, 0, NULL, 0);
	int before = errno;
	pthread_mutex_unlock(&turn);
	errno = before;
	return res;
}

int fsync(int fd) { return sync_with(fd, REAL(fsync)); }
int fdatasync(int fd) { return sync_with(fd, REAL(fdatasync)); }

void sync(void)
{
	if (control)
		note('S', 0, 0, NULL, NULL, 0, NULL, 0);
	REAL(sync)();
}

int ftruncate(int fd, off_t length)
{
	char path[PATH_MAX];
	struct stat it;
	if (!path_of(fd, path))
		return REAL(ftruncate)(fd, length);
	pthread_mutex_lock(&turn);
	fstat(fd, &it);
	int res = refuses(it.st_size < length, 0) ? -1 : REAL(ftruncate)(fd, length);
	if (!res)
		note('t', 0, it.st_ino, NULL, NULL, length, NULL, 0);
	int before = errno;
	pthread_mutex_unlock(&turn);
	errno = before;
	return res;
}

int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

/* Names. */

static int open_in(int folder, const char *name, int flags, mode_t mode)
{
	char path[PATH_MAX];
	struct stat it;
	int writes = (flags & O_ACCMODE) != O_RDONLY;
	if (!writes || !absolute(folder, name, path))
		return REAL(openat)(folder, name, flags, mode);
	pthread_mutex_lock(&turn);
	int res = -1, before;
	int is_there = !lstat(path, &it);
	int creates = !is_there && flags & O_CREAT, cuts = is_there && flags & O_TRUNC && it.st_size;
	int refused = 0;
	if (creates || cuts) {
		refused = refuses(creates, 0);
	} else if (control->mode == FROM_THEN_ON && control->error == EROFS && control->at <= control->calls) {
		refused = 1;
		errno = EROFS;
	}
	if (!refused)
		res = REAL(openat)(folder, name, flags, mode);
	before = errno;
	if (0 <= res && creates)
		note('c', 0, inode_of(res), path, NULL, mode, NULL, 0);
	if (0 <= res && cuts)
		note('t', 0, it.st_ino, NULL, NULL, 0, NULL, 0);
	pthread_mutex_unlock(&turn);
	errno = before;
	return res;
}

static mode_t mode_of(int flags, va_list rest)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name, folder, ...)                                                                                        \
	int name(__VA_ARGS__, int flags, ...)                                                                          \
	{                                                                                                              \
		va_list rest;                                                                                          \
		va_start(rest, flags);                                                                                 \
		mode_t mode = mode_of(flags, rest);                                                                    \
		va_end(rest);                                                                                          \
		return open_in(folder, path, flags, mode);                                                             \
	}
OPEN(open, AT_FDCWD, const char *path)
OPEN(open64, AT_FDCWD, const char *path)
OPEN(openat, folder, int folder, const char *path)
OPEN(openat64, folder, int folder, const char *path)

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
	char old[PATH_MAX], new[PATH_MAX];
	if (!absolute(from_folder, from, old) || !absolute(to_folder, to, new))
		return REAL(renameat)(from_folder, from, to_folder, to);
	pthread_mutex_lock(&turn);
	int res = refuses(1, 0) ? -1 : REAL(renameat)(from_folder, from, to_folder, to);
	if (!res)
		note('r', 0, 0, old, new, 0, NULL, 0);
	int before = errno;
	pthread_mutex_unlock(&turn);
	errno = before;
	return res;
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
	return flags ? REAL(renameat2)(from_folder, from, to_folder, to, flags) : renameat(from_folder, from, to_folder, to);
}

int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int unlinkat(int folder, const char *name, int flags)
{
	char path[PATH_MAX];
	struct stat it;
	if (!absolute(folder, name, path) || lstat(path, &it))
		return REAL(unlinkat)(folder, name, flags);
	pthread_mutex_lock(&turn);
	int res = refuses(0, 0) ? -1 : REAL(unlinkat)(folder, name, flags);
	if (!res)
		note('u', 0, it.st_ino, path, NULL, 0, NULL, 0);
	int before = errno;
	pthread_mutex_unlock(&turn);
	errno = before;
	return res;
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int folder, const char *name, mode_t mode)
{
	char path[PATH_MAX];
	if (!absolute(folder, name, path))
		return REAL(mkdirat)(folder, name, mode);
	pthread_mutex_lock(&turn);
	int res = refuses(1, 0) ? -1 : REAL(mkdirat)(folder, name, mode);
	if (!res)
		note('m', 0, 0, path, NULL, mode, NULL, 0);
	int before = errno;
	pthread_mutex_unlock(&turn);
	errno = before;
	return res;
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

/* The wall clock: it is off by so much, and who sets it sets that, for this program alone. */

static void move_by(struct timespec *now, int64_t off)
{
	int64_t nanos = now->tv_nsec + off % 1000000000;
	int64_t carry = nanos < 0 ? -1 : nanos / 1000000000;
	now->tv_sec += off / 1000000000 + carry;
	now->tv_nsec = nanos - carry * 1000000000;
}

int clock_gettime(clockid_t which, struct timespec *now)
{
	int res = REAL(clock_gettime)(which, now);
	if (!res && control && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
		move_by(now, control->clock_off);
	return res;
}

int clock_settime(clockid_t which, const struct timespec *to)
{
	struct timespec now;
	if (!control || which != CLOCK_REALTIME) {
		errno = EPERM;
		return -1;
	}
	REAL(clock_gettime)(which, &now);
	control->clock_off = (to->tv_sec - now.tv_sec) * 1000000000 + to->tv_nsec - now.tv_nsec;
	return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec it;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &it);
	now->tv_sec = it.tv_sec;
	now->tv_usec = it.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *now)
{
	struct timespec it;
	clock_gettime(CLOCK_REALTIME, &it);
	if (now)
		*now = it.tv_sec;
	return it.tv_sec;
}

/* The service calls the kernel's clock by its number, for the sake of 32-bit systems. */
long syscall(long number, ...)
{
	long it[6];
	va_list rest;
	va_start(rest, number);
	for (int n = 0; n < 6; n++)
		it[n] = va_arg(rest, long);
	va_end(rest);
	if (number == SYS_clock_gettime)
		return clock_gettime(it[0], (struct timespec *)it[1]);
	if (number == SYS_clock_settime)
		return clock_settime(it[0], (const struct timespec *)it[1]);
	return REAL(syscall)(number, it[0], it[1], it[2], it[3], it[4], it[5]);
}
