//! Starting a process: from the request to a running child and the guest's ends of its pipes.

use super::accounts::{self, Account};
use super::request::{string, Request};
use crate::output::Failure;
use crate::sys::errno::{EINVAL, ENOSYS};
use crate::sys::process::{Identity, Launch, Launcher, Step};
use crate::sys::{fd, terminal};
use crate::trees::Trees;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

/// A process that runs, with our ends of its standard descriptors.
pub struct Started {
    pub pid: i32,
    /// `None` if stdin is /dev/null.
    pub stdin: Option<OwnedFd>,
    pub stdout: OwnedFd,
    /// `None` on a terminal.
    pub stderr: Option<OwnedFd>,
}

/// Both ends of everything, before the child exists.
struct Stdio {
    ours: (Option<OwnedFd>, OwnedFd, Option<OwnedFd>),
    /// Closed in this process once the child has its copies.
    theirs: Vec<OwnedFd>,
    numbers: [RawFd; 3],
}

/// Starts `request` in the tree `key`. On failure nothing remains of it.
pub fn start(request: &Request<'_>, key: u32, trees: &mut Trees, launcher: &mut Launcher) -> Result<Started, Failure> {
    request.check()?;
    let account = account(request)?;
    let (programs, argv) = (request.programs()?, request.arguments()?);
    let environment = environment(request, account.as_ref())?;
    let directory = string(request.directory)?;
    let stdio = if request.terminal { open_terminal(request) } else { open_pipes(request.null_stdin) }?;
    let group = trees.create(key, request.max_tasks).map_err(|error| limit_failure(&error))?;
    let launch = Launch {
        stdio: stdio.numbers,
        terminal: request.terminal,
        group: group.as_ref().map(AsRawFd::as_raw_fd),
        max_tasks: request.max_tasks,
        identity: identity(request, account.as_ref()),
        directory: &directory,
        programs: &programs,
        argv: &argv,
        environment: &environment,
    };
    match launcher.start(&launch) {
        Ok(pid) => {
            drop(stdio.theirs);
            let (stdin, stdout, stderr) = stdio.ours;
            Ok(Started { pid, stdin, stdout, stderr })
        }
        Err((step, error)) => {
            trees.remove(key);
            Err(launch_failure(request, step, &error))
        }
    }
}

fn limit_failure(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::Unsupported {
        return Failure::new(ENOSYS, "limit: this sandbox has no pids cgroup");
    }
    Failure::of("limit: cgroup", error)
}

fn launch_failure(request: &Request<'_>, step: Step, error: &io::Error) -> Failure {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let what = match step {
        Step::Exec => format!("exec: {}", text(request.argv[0])),
        Step::Directory => format!("chdir: {}", text(request.directory)),
        Step::User => format!("user: {}", text(request.user)),
        Step::Terminal => "pty: controlling terminal".to_owned(),
        Step::Limit => "limit: cgroup.procs".to_owned(),
    };
    Failure::of(&what, error)
}

/// The user's entry, if anything of it is needed: each file read here costs the caller time.
fn account(request: &Request<'_>) -> Result<Option<Account>, Failure> {
    let complete = [&b"HOME"[..], b"USER", b"LOGNAME"].iter().all(|name| request.variable(name).is_some());
    if request.user.is_empty() && complete {
        return Ok(None);
    }
    let passwd = read_table("/etc/passwd")?;
    let group = if request.user.is_empty() { Vec::new() } else { read_table("/etc/group")? };
    accounts::resolve(request.user, &passwd, &group).map(Some).map_err(|text| Failure::new(EINVAL, format!("user: {text}")))
}

/// An image may lack the file; then it has no entries.
fn read_table(path: &str) -> Result<Vec<u8>, Failure> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(|error| Failure::of(&format!("user: {path}"), &error)),
    }
}

/// Without a user the process stays what PID 1 is: root.
fn identity<'a>(request: &Request<'_>, account: Option<&'a Account>) -> Option<&'a Identity> {
    account.filter(|_| !request.user.is_empty()).map(|account| &account.identity)
}

fn environment(request: &Request<'_>, account: Option<&Account>) -> Result<Vec<CString>, Failure> {
    let mut variables = request.environment.clone();
    if let Some(account) = account {
        for (name, value) in [(&b"HOME"[..], &account.home), (b"USER", &account.name), (b"LOGNAME", &account.name)] {
            if request.variable(name).is_none() && !value.is_empty() {
                variables.push((name, value));
            }
        }
    }
    variables.iter().map(|(name, value)| string(&[*name, b"=", *value].concat())).collect()
}

fn open_terminal(request: &Request<'_>) -> Result<Stdio, Failure> {
    let open = || -> io::Result<Stdio> {
        let (master, terminal) = terminal::open(request.rows, request.columns)?;
        fd::set_nonblocking(master.as_raw_fd())?;
        let numbers = [terminal.as_raw_fd(); 3];
        Ok(Stdio { ours: (Some(fd::duplicate(&master)?), master, None), theirs: vec![terminal], numbers })
    };
    open().map_err(|error| Failure::of("pty: open", &error))
}

fn open_pipes(null_stdin: bool) -> Result<Stdio, Failure> {
    let open = || -> io::Result<Stdio> {
        let (stdin, their_stdin) = if null_stdin {
            (None, File::open("/dev/null")?.into())
        } else {
            let (theirs, ours) = fd::pipe()?;
            fd::set_nonblocking(ours.as_raw_fd())?;
            (Some(ours), theirs)
        };
        let (stdout, their_stdout) = fd::pipe()?;
        let (stderr, their_stderr) = fd::pipe()?;
        fd::set_nonblocking(stdout.as_raw_fd())?;
        fd::set_nonblocking(stderr.as_raw_fd())?;
        let numbers = [their_stdin.as_raw_fd(), their_stdout.as_raw_fd(), their_stderr.as_raw_fd()];
        Ok(Stdio { ours: (stdin, stdout, Some(stderr)), theirs: vec![their_stdin, their_stdout, their_stderr], numbers })
    };
    open().map_err(|error| Failure::of("exec: pipe", &error))
}
