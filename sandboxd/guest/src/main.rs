//! `cove-init`: PID 1 of every sandbox. Wiring only; docs/guest-protocol.md is what it implements.

mod api;
mod calls;
mod context;
mod event_loop;
mod fields;
mod frame;
#[cfg(test)]
mod golden;
mod input;
#[cfg(test)]
mod json;
mod lineage;
mod log;
mod marker;
mod output;
mod paths;
mod process;
mod rehearsal;
mod session;
mod stream;
mod sys;
mod tar;
mod transfer;
mod trees;

use event_loop::EventLoop;
use std::io;
use std::path::Path;
use trees::Trees;

const API_SOCKET: &str = "/run/cove/api.sock";
const PLACEHOLDER: &str = "/tmp/.cove";
/// Where the controller is mounted for the moment that opening it takes.
const CONTROLLER_PLACE: &str = "/run/cove/.pids";
/// Outside gVisor, where the controller is shared with the machine, tests choose a name of their own.
const GROUP_VARIABLE: &str = "COVE_GUEST_CGROUP";

fn main() {
    if rehearsal::is_it(std::env::args_os()) {
        return;
    }
    if let Err(error) = serve() {
        log!("start: {error}");
        std::process::exit(1);
    }
}

fn serve() -> io::Result<()> {
    sys::process::clear_umask();
    sys::process::stop_ignoring_signals();
    for (what, result) in [
        ("subreaper", sys::process::become_subreaper()),
        ("dumpable", sys::process::hide()),
        ("capabilities", sys::process::withhold_admin()),
    ] {
        if let Err(error) = result {
            log!("{what}: {error}");
        }
    }
    // It was there so that the runtime would not mount a tmpfs over an image's /tmp.
    let _ = std::fs::remove_file(PLACEHOLDER);
    if let Err(error) = std::env::args_os().next().map_or(Ok(()), rehearsal::run) {
        log!("rehearsal: {error}");
    }
    let group = std::env::var(GROUP_VARIABLE).unwrap_or_else(|_| "cove".to_owned());
    let trees = Trees::mount(Path::new(CONTROLLER_PLACE), &group);
    EventLoop::new(trees, Path::new(API_SOCKET))?.run()
}
