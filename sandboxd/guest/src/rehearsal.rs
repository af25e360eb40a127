//! The first program of a container takes the sentry several milliseconds more than the next: it makes what it keeps for later ones.
//! So PID 1 runs one itself before it serves.

use crate::sys::process::{Launch, Launcher};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::io::AsRawFd;

/// Only argument of the program that is run: this one again, to do nothing.
const ARGUMENT: &str = "--rehearsal";

/// Whether this process is the one that shall do nothing.
pub fn is_it(mut arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.nth(1).map_or(false, |argument| argument == ARGUMENT)
}

/// Runs `program`, which is this one, to its end.
pub fn run(program: OsString) -> io::Result<()> {
    let nothing = File::open("/dev/null")?;
    let program = CString::new(program.into_vec())?;
    let arguments = [program.clone(), CString::new(ARGUMENT)?];
    let launch = Launch {
        stdio: [nothing.as_raw_fd(); 3],
        terminal: false,
        group: None,
        max_tasks: 0,
        identity: None,
        directory: &CString::new("/")?,
        programs: &[program],
        argv: &arguments,
        environment: &[],
    };
    Launcher::new().run(&launch).map_err(|(_, error)| error)
}
