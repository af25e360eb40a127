//! Starting, signalling and reaping processes; privileges of PID 1.

use super::{check, errno, ffi};
use std::ffi::{CStr, CString};
use std::io;
use std::os::raw::{c_char, c_int, c_void};
use std::os::unix::io::RawFd;
use std::ptr::{null, null_mut};

/// The step of a start that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Limit,
    Terminal,
    User,
    Directory,
    Exec,
}

/// Numbers a process runs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// Everything a child needs, prepared before it exists.
pub struct Launch<'a> {
    /// What becomes 0, 1 and 2; none of them is 0, 1 or 2.
    pub stdio: [RawFd; 3],
    /// 0 is made the controlling terminal.
    pub terminal: bool,
    /// `cgroup.procs` of the group to enter.
    pub group: Option<RawFd>,
    /// Most tasks of its user; 0: no limit.
    ///
    /// gVisor's fork asks one cgroup of the task at random, which is seldom that of the pids controller, so `pids.max` alone does not hold.
    pub max_tasks: u32,
    /// `None`: root with PID 1's groups.
    pub identity: Option<&'a Identity>,
    pub directory: &'a CStr,
    /// Paths to try, in order.
    pub programs: &'a [CString],
    pub argv: &'a [CString],
    pub environment: &'a [CString],
}

/// [`Launch`] in a shape that the child reads without allocating.
struct Child {
    stdio: [c_int; 3],
    terminal: bool,
    group: c_int,
    max_tasks: u32,
    identity: *const Identity,
    directory: *const c_char,
    programs: *const *const c_char,
    argv: *const *const c_char,
    environment: *const *const c_char,
    failure: Option<(Step, c_int)>,
}

const STACK_BYTES: usize = 64 << 10;

/// Starts processes; owns the stack on which children run until they exec.
pub struct Launcher {
    stack: Box<[u128]>,
}

impl Launcher {
    pub fn new() -> Launcher {
        Launcher { stack: vec![0; STACK_BYTES / 16].into_boxed_slice() }
    }

    /// Starts a process and returns its pid once it runs the new program.
    ///
    /// The child shares this memory and the parent stands still until the child has called exec (vfork), so page tables are
    /// not copied and the child's failure is simply there to be read.
    pub fn start(&mut self, launch: &Launch<'_>) -> Result<i32, (Step, io::Error)> {
        let (programs, argv, environment) = (pointers(launch.programs), pointers(launch.argv), pointers(launch.environment));
        let mut child = Child {
            stdio: launch.stdio,
            terminal: launch.terminal,
            group: launch.group.unwrap_or(-1),
            max_tasks: launch.max_tasks,
            identity: launch.identity.map_or(null(), |identity| identity as *const Identity),
            directory: launch.directory.as_ptr(),
            programs: programs.as_ptr(),
            argv: argv.as_ptr(),
            environment: environment.as_ptr(),
            failure: None,
        };
        let argument = (&mut child as *mut Child).cast::<c_void>();
        // SAFETY: the top of the stack is one past the end of an owned, 16-byte aligned block that nobody else uses; `child` and all
        // it points to outlive the call, which returns only after the child has left this memory (CLONE_VFORK).
        let pid = check(unsafe {
            let top = self.stack.as_mut_ptr().add(self.stack.len());
            ffi::clone(run_child, top.cast(), ffi::CLONE_VM | ffi::CLONE_VFORK | ffi::SIGCHLD, argument)
        })
        .map_err(|error| (Step::Exec, error))?;
        // SAFETY: `child` is live; the read is volatile because the child wrote it behind the compiler's back.
        match unsafe { std::ptr::read_volatile(&child.failure) } {
            None => Ok(pid),
            Some((step, number)) => {
                wait_for(pid);
                Err((step, io::Error::from_raw_os_error(number)))
            }
        }
    }

    /// Runs a program to its end, whatever that is.
    pub fn run(&mut self, launch: &Launch<'_>) -> Result<(), (Step, io::Error)> {
        self.start(launch).map(wait_for)
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([null()]).collect()
}

/// The child between clone and exec: system calls only, no allocation, no lock, no panic.
extern "C" fn run_child(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the parent's `Child`, alive until this process execs or ends.
    unsafe {
        let child = argument.cast::<Child>();
        let step = prepare_child(&*child).unwrap_or_else(|| exec_first(&*child));
        std::ptr::write_volatile(&mut (*child).failure, Some((step, *ffi::__errno_location())));
    }
    127
}

/// Sets the process up; returns the step that failed, its reason in errno.
///
/// SAFETY: all pointers in `child` must be live, and the caller a fresh child of [`Launcher::start`].
unsafe fn prepare_child(child: &Child) -> Option<Step> {
    if child.group >= 0 && ffi::write(child.group, b"0".as_ptr().cast(), 1) != 1 {
        return Some(Step::Limit);
    }
    let tasks = ffi::ResourceLimit { soft: child.max_tasks as u64, hard: child.max_tasks as u64 };
    if child.max_tasks > 0 && ffi::setrlimit(ffi::RLIMIT_NPROC, &tasks) < 0 {
        return Some(Step::Limit);
    }
    ffi::setsid();
    for (target, fd) in child.stdio.iter().enumerate() {
        if ffi::dup2(*fd, target as c_int) < 0 {
            return Some(Step::Exec);
        }
    }
    if child.terminal && ffi::ioctl(0, ffi::TIOCSCTTY, 0) < 0 {
        return Some(Step::Terminal);
    }
    // Rust ignores SIGPIPE from the start; it is the only disposition that is not the default.
    ffi::signal(ffi::SIGPIPE, ffi::SIG_DFL);
    let unblocked = ffi::SignalSet([0; 16]);
    ffi::sigprocmask(ffi::SIG_SETMASK, &unblocked, null_mut());
    ffi::umask(0o022);
    if !child.identity.is_null() && !assume(&*child.identity) {
        return Some(Step::User);
    }
    if ffi::chdir(child.directory) < 0 {
        return Some(Step::Directory);
    }
    None
}

/// Raw system calls: the C library's wrappers would look for threads to tell.
unsafe fn assume(identity: &Identity) -> bool {
    let (uid, gid) = (i64::from(identity.uid), i64::from(identity.gid));
    ffi::syscall(ffi::SETGROUPS, identity.groups.len(), identity.groups.as_ptr()) == 0
        && ffi::syscall(ffi::SETRESGID, gid, gid, gid) == 0
        && ffi::syscall(ffi::SETRESUID, uid, uid, uid) == 0
}

/// Tries the candidates in order like execvp, but without a shell; returns only on failure, the most telling errno set.
unsafe fn exec_first(child: &Child) -> Step {
    let mut denied = false;
    let mut program = child.programs;
    while !(*program).is_null() {
        ffi::execve(*program, child.argv, child.environment);
        match *ffi::__errno_location() {
            errno::EACCES => denied = true,
            errno::ENOENT | errno::ENOTDIR => (),
            _ => return Step::Exec,
        }
        program = program.add(1);
    }
    if denied {
        *ffi::__errno_location() = errno::EACCES;
    }
    Step::Exec
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Exited(i32),
    Killed(i32),
}

fn ending(status: c_int) -> Ending {
    match status & 0x7f {
        0 => Ending::Exited((status >> 8) & 0xff),
        signal => Ending::Killed(signal),
    }
}

/// Waits for a child that is known to be ending.
fn wait_for(pid: i32) {
    // SAFETY: a null status is allowed.
    while unsafe { ffi::waitpid(pid, null_mut(), 0) } < 0 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Reaps one ended child of any kind.
pub fn reap() -> Option<(i32, Ending)> {
    let mut status = 0;
    // SAFETY: the status lives across the call.
    let pid = unsafe { ffi::waitpid(-1, &mut status, ffi::WNOHANG) };
    if pid > 0 {
        Some((pid, ending(status)))
    } else {
        None
    }
}

pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { ffi::kill(pid, signal) }).map(drop)
}

/// Makes orphans come to this process even where it is not PID 1 of its namespace.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: takes integers and touches no memory.
    check(unsafe { ffi::prctl(ffi::PR_SET_CHILD_SUBREAPER, 1_u64, 0_u64, 0_u64, 0_u64) }).map(drop)
}

/// Keeps this process's memory and descriptors from every other process, whoever runs it.
pub fn hide() -> io::Result<()> {
    // SAFETY: takes integers and touches no memory.
    check(unsafe { ffi::prctl(ffi::PR_SET_DUMPABLE, 0_u64, 0_u64, 0_u64, 0_u64) }).map(drop)
}

/// Files and directories get exactly the mode that is asked for.
pub fn clear_umask() {
    // SAFETY: touches no memory and cannot fail.
    unsafe { ffi::umask(0) };
}

/// Gives every signal that whoever started this process ignored its default again, since exec would hand that on to every child.
///
/// SIGPIPE stays ignored: Rust did that, for this process's own sake.
pub fn stop_ignoring_signals() {
    let standard = ffi::KernelSignalAction::default();
    for signal in (1..=ffi::SIGNALS).filter(|signal| *signal != ffi::SIGPIPE) {
        let mut present = standard;
        // SAFETY: both structures are live and of the kernel's layout, 8 is the size of its signal set. The system call itself,
        // because the C library keeps two signals from its callers, and those are inherited too.
        unsafe {
            ffi::syscall(ffi::RT_SIGACTION, signal, null::<c_void>(), &mut present as *mut _, 8usize);
            if present.handler == ffi::SIG_IGN {
                ffi::syscall(ffi::RT_SIGACTION, signal, &standard as *const _, null_mut::<c_void>(), 8usize);
            }
        }
    }
}

/// Sees to it that no child can hold CAP_SYS_ADMIN after exec, while this process keeps it.
///
/// Taken out of the bounding and inheritable sets once here, it is in no set that exec computes from, for root and setuid programs alike.
pub fn withhold_admin() -> io::Result<()> {
    // SAFETY: takes integers and touches no memory.
    check(unsafe { ffi::prctl(ffi::PR_CAPBSET_DROP, u64::from(ffi::CAP_SYS_ADMIN), 0_u64, 0_u64, 0_u64) })?;
    // SAFETY: as above. Kernels without ambient capabilities have none to clear, so the result does not matter.
    unsafe { ffi::prctl(ffi::PR_CAP_AMBIENT, ffi::PR_CAP_AMBIENT_CLEAR_ALL, 0_u64, 0_u64, 0_u64) };
    let mut header = ffi::CapabilityHeader { version: ffi::LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let mut sets = [ffi::CapabilityData::default(); 2];
    // SAFETY: version 3 fills and reads exactly two elements.
    unsafe {
        check(ffi::syscall(ffi::CAPGET, &mut header, sets.as_mut_ptr()) as i32)?;
        sets[0].inheritable &= !(1 << ffi::CAP_SYS_ADMIN);
        check(ffi::syscall(ffi::CAPSET, &mut header, sets.as_ptr()) as i32)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ending, Ending};

    #[test]
    fn wait_statuses_are_told_apart() {
        assert_eq!(ending(0), Ending::Exited(0));
        assert_eq!(ending(0xff00), Ending::Exited(255));
        assert_eq!(ending(9), Ending::Killed(9));
        assert_eq!(ending(11 | 0x80), Ending::Killed(11));
    }
}
