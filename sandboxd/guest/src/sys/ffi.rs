//! Declarations of the C library, for the Linux ABI of x86_64 and aarch64 alone.

use std::os::raw::{c_char, c_int, c_uint, c_ulong, c_void};

pub const O_RDONLY: c_int = 0;
pub const O_WRONLY: c_int = 1;
pub const O_RDWR: c_int = 2;
pub const O_PATH: c_int = 0o10_000_000;
pub const O_CREAT: c_int = 0o100;
pub const O_EXCL: c_int = 0o200;
pub const O_NOCTTY: c_int = 0o400;
pub const O_NONBLOCK: c_int = 0o4000;
pub const O_CLOEXEC: c_int = 0o2_000_000;
#[cfg(target_arch = "x86_64")]
pub const O_DIRECTORY: c_int = 0o200_000;
#[cfg(target_arch = "aarch64")]
pub const O_DIRECTORY: c_int = 0o40_000;

#[cfg(target_arch = "x86_64")]
pub const O_NOFOLLOW: c_int = 0o400_000;
#[cfg(target_arch = "aarch64")]
pub const O_NOFOLLOW: c_int = 0o100_000;

pub const AT_FDCWD: c_int = -100;
pub const AT_SYMLINK_NOFOLLOW: c_int = 0x100;
pub const AT_EMPTY_PATH: c_int = 0x1000;
pub const STATX_BASIC_STATS: c_uint = 0x7ff;
pub const AT_REMOVEDIR: c_int = 0x200;
pub const F_SETFL: c_int = 4;
pub const F_DUPFD_CLOEXEC: c_int = 1030;

pub const EPOLLIN: u32 = 1;
pub const EPOLLOUT: u32 = 4;
pub const EPOLL_CLOEXEC: c_int = O_CLOEXEC;
pub const EPOLL_CTL_ADD: c_int = 1;
pub const EPOLL_CTL_DEL: c_int = 2;
pub const EPOLL_CTL_MOD: c_int = 3;

pub const SIGKILL: c_int = 9;
pub const SIGWINCH: c_int = 28;
pub const SIGPIPE: c_int = 13;
pub const SIGCHLD: c_int = 17;
pub const SIG_DFL: usize = 0;
pub const SIG_IGN: usize = 1;
pub const SIGNALS: c_int = 64;
pub const SIG_SETMASK: c_int = 2;
pub const SFD_NONBLOCK: c_int = O_NONBLOCK;
pub const SFD_CLOEXEC: c_int = O_CLOEXEC;

pub const CLONE_VM: c_int = 0x100;
pub const CLONE_VFORK: c_int = 0x4000;
pub const WNOHANG: c_int = 1;

pub const RLIMIT_NPROC: c_int = 6;

pub const PR_CAPBSET_DROP: c_int = 24;
pub const PR_SET_DUMPABLE: c_int = 4;
pub const PR_SET_CHILD_SUBREAPER: c_int = 36;
pub const PR_CAP_AMBIENT: c_int = 47;
pub const PR_CAP_AMBIENT_CLEAR_ALL: c_ulong = 4;
pub const CAP_SYS_ADMIN: u32 = 21;
pub const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

pub const MNT_DETACH: c_int = 2;

pub const TIOCSCTTY: c_ulong = 0x540E;
pub const TIOCGPGRP: c_ulong = 0x540F;
pub const TIOCSWINSZ: c_ulong = 0x5414;
pub const TIOCSPTLCK: c_ulong = 0x4004_5431;
pub const TIOCGPTN: c_ulong = 0x8004_5430;
pub const TCGETS: c_ulong = 0x5401;

pub const CLOCK_MONOTONIC: c_int = 1;
pub const CLOCK_REALTIME: c_int = 0;

pub const AF_INET: c_int = 2;
pub const AF_INET6: c_int = 10;
pub const SOCK_STREAM: c_int = 1;
pub const SOL_SOCKET: c_int = 1;
pub const SO_ERROR: c_int = 4;
pub const SO_PEERCRED: c_int = 17;
pub const IPPROTO_TCP: c_int = 6;
pub const TCP_NODELAY: c_int = 1;
pub const SHUT_WR: c_int = 1;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGACTION: i64 = 13;
    pub const SETGROUPS: i64 = 116;
    pub const SETRESUID: i64 = 117;
    pub const SETRESGID: i64 = 119;
    pub const CAPGET: i64 = 125;
    pub const CAPSET: i64 = 126;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const RT_SIGACTION: i64 = 134;
    pub const SETRESUID: i64 = 147;
    pub const SETRESGID: i64 = 149;
    pub const SETGROUPS: i64 = 159;
    pub const CAPGET: i64 = 90;
    pub const CAPSET: i64 = 91;
}
pub use number::{CAPGET, CAPSET, RT_SIGACTION, SETGROUPS, SETRESGID, SETRESUID};

/// The kernel packs this on x86_64 only.
#[derive(Clone, Copy)]
#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
pub struct EpollEvent {
    pub events: u32,
    pub data: u64,
}

/// What the kernel, not the C library, takes; with the restorer where there is one.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct KernelSignalAction {
    pub handler: usize,
    pub flags: c_ulong,
    pub rest: [u64; 2],
}

/// `sigset_t` of glibc: 1,024 bits.
#[repr(C)]
pub struct SignalSet(pub [u64; 16]);

#[repr(C)]
pub struct Timespec {
    pub seconds: i64,
    pub nanoseconds: i64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ResourceLimit {
    pub soft: u64,
    pub hard: u64,
}

#[repr(C)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
    pub x_pixels: u16,
    pub y_pixels: u16,
}

/// The kernel's `struct termios`, as TCGETS fills it.
#[repr(C)]
#[derive(Default)]
pub struct Termios {
    pub modes: [u32; 4],
    pub line: u8,
    pub control_characters: [u8; 19],
}

#[repr(C)]
pub struct CapabilityHeader {
    pub version: u32,
    pub pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct CapabilityData {
    pub effective: u32,
    pub permitted: u32,
    pub inheritable: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct StatxTime {
    pub seconds: i64,
    pub nanoseconds: u32,
    pub reserved: i32,
}

/// `struct statx`, the same on every architecture.
#[repr(C)]
#[derive(Default)]
pub struct Statx {
    pub mask: u32,
    pub block_bytes: u32,
    pub attributes: u64,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pub spare0: u16,
    pub inode: u64,
    pub size: u64,
    pub blocks: u64,
    pub attributes_mask: u64,
    pub accessed: StatxTime,
    pub born: StatxTime,
    pub changed: StatxTime,
    pub modified: StatxTime,
    pub special_device: [u32; 2],
    pub device: [u32; 2],
    pub spare1: [u64; 14],
}

/// `struct dirent`.
#[repr(C)]
pub struct DirectoryEntry {
    pub inode: u64,
    pub offset: i64,
    pub record_bytes: u16,
    pub kind: u8,
    pub name: [c_char; 256],
}

/// `struct sockaddr_in`; port and address in network order.
#[repr(C)]
pub struct AddressV4 {
    pub family: u16,
    pub port: [u8; 2],
    pub address: [u8; 4],
    pub zero: [u8; 8],
}

/// `struct sockaddr_in6`.
#[repr(C)]
pub struct AddressV6 {
    pub family: u16,
    pub port: [u8; 2],
    pub flow: u32,
    pub address: [u8; 16],
    pub scope: u32,
}

/// `struct ucred`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerCredentials {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

/// `DIR`, opaque.
pub enum DirectoryStream {}

extern "C" {
    pub fn read(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
    pub fn write(fd: c_int, buffer: *const c_void, count: usize) -> isize;
    pub fn close(fd: c_int) -> c_int;
    pub fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
    pub fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    pub fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    pub fn openat(directory: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    pub fn mkdirat(directory: c_int, path: *const c_char, mode: c_uint) -> c_int;
    pub fn sync();
    pub fn sethostname(name: *const c_char, length: usize) -> c_int;
    pub fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int;
    pub fn symlinkat(target: *const c_char, directory: c_int, path: *const c_char) -> c_int;
    pub fn linkat(from: c_int, path: *const c_char, to: c_int, new_path: *const c_char, flags: c_int) -> c_int;
    pub fn readlinkat(directory: c_int, path: *const c_char, target: *mut c_char, length: usize) -> isize;
    pub fn fchmod(fd: c_int, mode: c_uint) -> c_int;
    pub fn fchown(fd: c_int, uid: c_uint, gid: c_uint) -> c_int;
    pub fn fchownat(directory: c_int, path: *const c_char, uid: c_uint, gid: c_uint, flags: c_int) -> c_int;
    pub fn futimens(fd: c_int, times: *const Timespec) -> c_int;
    pub fn utimensat(directory: c_int, path: *const c_char, times: *const Timespec, flags: c_int) -> c_int;
    pub fn statx(directory: c_int, path: *const c_char, flags: c_int, mask: c_uint, result: *mut Statx) -> c_int;
    pub fn fdopendir(fd: c_int) -> *mut DirectoryStream;
    pub fn readdir(stream: *mut DirectoryStream) -> *mut DirectoryEntry;
    pub fn closedir(stream: *mut DirectoryStream) -> c_int;
    pub fn dirfd(stream: *mut DirectoryStream) -> c_int;

    pub fn inotify_init1(flags: c_int) -> c_int;
    pub fn inotify_add_watch(inotify: c_int, path: *const c_char, mask: u32) -> c_int;
    pub fn inotify_rm_watch(inotify: c_int, watch: c_int) -> c_int;

    pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    pub fn connect(socket: c_int, address: *const c_void, length: c_uint) -> c_int;
    pub fn shutdown(socket: c_int, how: c_int) -> c_int;
    pub fn getsockopt(socket: c_int, level: c_int, option: c_int, value: *mut c_void, length: *mut c_uint) -> c_int;
    pub fn setsockopt(socket: c_int, level: c_int, option: c_int, value: *const c_void, length: c_uint) -> c_int;

    pub fn epoll_create1(flags: c_int) -> c_int;
    pub fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut EpollEvent) -> c_int;
    pub fn epoll_wait(epoll: c_int, events: *mut EpollEvent, count: c_int, timeout_ms: c_int) -> c_int;
    pub fn signalfd(fd: c_int, mask: *const SignalSet, flags: c_int) -> c_int;
    pub fn signal(signal: c_int, handler: usize) -> usize;
    pub fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    pub fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;

    pub fn clone(child: extern "C" fn(*mut c_void) -> c_int, stack_top: *mut c_void, flags: c_int, argument: *mut c_void, ...) -> c_int;
    pub fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    pub fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    pub fn kill(pid: c_int, signal: c_int) -> c_int;
    pub fn setsid() -> c_int;
    pub fn dup2(old: c_int, new: c_int) -> c_int;
    pub fn chdir(path: *const c_char) -> c_int;
    pub fn setrlimit(resource: c_int, limit: *const ResourceLimit) -> c_int;
    pub fn umask(mask: c_uint) -> c_uint;
    pub fn prctl(option: c_int, ...) -> c_int;
    pub fn syscall(number: i64, ...) -> i64;
    pub fn __errno_location() -> *mut c_int;

    pub fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
    pub fn umount2(target: *const c_char, flags: c_int) -> c_int;
}
