//! One started process until the host forgets it.

use super::start::Started;
use super::stdin::Stdin;
use super::stdout::Stdout;
use crate::fields::Writer;
use crate::frame::{kind, Header};
use crate::output::Output;
use crate::sys::ffi::{SIGKILL, SIGWINCH};
use crate::sys::poll::{Poller, Source};
use crate::sys::process::{self, Ending};
use crate::sys::terminal;
use crate::trees::Trees;
use std::collections::HashSet;
use std::time::{Duration, Instant};

const EVENT_EXIT: u8 = 1;
const FLAG_TERMINAL: u8 = 1;
const FLAG_EXITED: u8 = 2;
const FLAG_STDIN_CLOSED: u8 = 4;
/// First pause between two rounds of killing; doubled each time up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How often the members are looked up in one round, while there are new ones.
const KILL_BURST: usize = 100;
/// The end of a killed process is told after this even if its tree resists.
const PATIENCE: Duration = Duration::from_secs(5);

/// Killing goes on in rounds until the tree is empty.
struct Killing {
    began: Instant,
    next: Instant,
    pause: Duration,
}

/// Facts of EXIT.
struct Ended {
    ending: Ending,
    after: Duration,
}

/// A process, its pipes, its tree.
pub struct Process {
    /// Names the tree and the poll sources; streams may be numbered anew in a later session.
    pub key: u32,
    /// `None` once the host has closed it: only its remains are looked after.
    pub stream: Option<u32>,
    pub exec_id: Vec<u8>,
    pub pid: i32,
    pub stdin: Stdin,
    pub outputs: Vec<Stdout>,
    terminal: bool,
    started: Instant,
    deadline: Option<Instant>,
    timed_out: bool,
    killing: Option<Killing>,
    ended: Option<Ended>,
    /// The tree's group exists.
    has_group: bool,
    /// The pipes are being emptied for the last time: EXIT is on its way.
    leaving: bool,
    exit_sent: bool,
}

impl Process {
    pub fn new(key: u32, stream: u32, exec_id: &[u8], timeout_ms: u64, made: Started, poller: &Poller) -> Process {
        let watch = |fd, channel| poller.watch(fd, Source::Process { key, channel });
        let terminal = made.stderr.is_none();
        let mut outputs = vec![Stdout::new(1, watch(made.stdout, 1))];
        if let Some(stderr) = made.stderr {
            outputs.push(Stdout::new(2, watch(stderr, 2)));
        }
        let started = Instant::now();
        let timeout = Duration::from_millis(timeout_ms);
        Process {
            key,
            stream: Some(stream),
            exec_id: exec_id.to_vec(),
            pid: made.pid,
            stdin: Stdin::new(made.stdin.map(|fd| watch(fd, 0)), terminal),
            outputs,
            terminal,
            started,
            deadline: started.checked_add(timeout).filter(|_| timeout_ms > 0),
            timed_out: false,
            killing: None,
            ended: None,
            has_group: true,
            leaving: false,
            exit_sent: false,
        }
    }

    pub fn output(&mut self, channel: u8) -> Option<&mut Stdout> {
        self.outputs.iter_mut().find(|output| output.channel() == channel)
    }

    /// Whether the process itself (not its whole tree) has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The child was reaped.
    pub fn reaped(&mut self, ending: Ending, scratch: &mut [u8]) {
        self.ended = Some(Ended { ending, after: self.started.elapsed() });
        self.deadline = None;
        self.stdin.close();
        if let Some(killing) = &mut self.killing {
            killing.next = Instant::now();
        }
        self.leave(scratch);
    }

    /// Begins the last emptying of the pipes, unless the tree is still being killed: what it writes belongs to the output.
    fn leave(&mut self, scratch: &mut [u8]) {
        let resisting = self.killing.as_ref().map_or(false, |killing| killing.began.elapsed() < PATIENCE);
        if self.ended.is_none() || self.leaving || resisting {
            return;
        }
        self.leaving = true;
        for output in &mut self.outputs {
            output.process_ended(scratch);
        }
    }

    /// When this process next needs [`Process::tick`].
    pub fn next_tick(&self) -> Option<Instant> {
        let killing = self.killing.as_ref().map(|killing| killing.next);
        self.deadline.into_iter().chain(killing).min()
    }

    /// Acts on the clock: the timeout, the next round of killing. Tells whether frames may have become due.
    pub fn tick(&mut self, now: Instant, trees: &Trees, scratch: &mut [u8]) -> bool {
        if self.deadline.map_or(false, |deadline| deadline <= now) {
            self.deadline = None;
            self.timed_out = true;
            self.kill_tree(trees);
        }
        if self.killing.as_ref().map_or(false, |killing| killing.next <= now) {
            self.kill_round(now, trees);
            self.leave(scratch);
            return true;
        }
        false
    }

    /// Kills everything this process started, and goes on until nothing is left.
    pub fn kill_tree(&mut self, trees: &Trees) {
        let now = Instant::now();
        trees.stop_growth(self.key);
        self.killing = Some(Killing { began: now, next: now, pause: FIRST_PAUSE });
        self.kill_round(now, trees);
    }

    fn kill_round(&mut self, now: Instant, trees: &Trees) {
        let alive = self.kill_members(trees);
        match &mut self.killing {
            Some(killing) if alive => {
                killing.next = now + killing.pause;
                killing.pause = (killing.pause * 2).min(LONGEST_PAUSE);
            }
            _ => self.killing = None,
        }
    }

    /// Kills every member, and those that were forked meanwhile; tells whether there was any.
    fn kill_members(&self, trees: &Trees) -> bool {
        let mut killed = HashSet::new();
        for _ in 0..KILL_BURST {
            let before = killed.len();
            for pid in trees.members(self.key, self.pid) {
                if killed.insert(pid) {
                    // A member that has just ended needs no signal.
                    drop(process::kill(pid, SIGKILL));
                }
            }
            if killed.len() == before {
                break;
            }
        }
        !killed.is_empty()
    }

    /// Signals every member once. Those that have just ended need no signal.
    pub fn signal_tree(&self, signal: i32, trees: &Trees) {
        for pid in trees.members(self.key, self.pid) {
            drop(process::kill(pid, signal));
        }
    }

    /// Sets the size of the terminal and tells those who look at it.
    pub fn resize(&self, rows: u16, columns: u16, trees: &Trees) {
        let terminal = match self.stdin.terminal() {
            Some(terminal) => terminal,
            None => return,
        };
        if let Err(error) = terminal::resize(terminal, rows, columns) {
            crate::log!("resize: {error}");
        }
        // A second SIGWINCH does no harm, nor does one to those in the background: by default it is ignored.
        match terminal::foreground(terminal) {
            Ok(group) if group > 0 => drop(process::kill(-group, SIGWINCH)),
            _ => self.signal_tree(SIGWINCH, trees),
        }
    }

    /// Queues the frames that are due: output, EOF, EXIT, in this order.
    pub fn send(&mut self, out: &mut Output) {
        let stream = match self.stream {
            Some(stream) => stream,
            None => return,
        };
        for output in &mut self.outputs {
            output.send(stream, out);
        }
        let finished = self.outputs.iter().all(|output| output.retained.finished());
        if let (Some(ended), true, false) = (&self.ended, finished && self.leaving, self.exit_sent) {
            out.event(stream, EVENT_EXIT, |payload| ended.write(payload, self.timed_out));
            self.exit_sent = true;
        }
    }

    /// Removes the tree's group once it is empty; tells whether there is still something to look after.
    pub fn keep(&mut self, trees: &mut Trees) -> bool {
        if self.has_group && self.leaving && self.killing.is_none() && trees.remove(self.key) {
            self.has_group = false;
            // Nobody is left to write: a terminal would not tell.
            self.outputs.iter_mut().for_each(Stdout::discarded);
        }
        self.stream.is_some() || self.has_group || self.ended.is_none()
    }

    /// Whether the tree is empty, yet its group could not be removed.
    pub fn is_stuck(&self, trees: &Trees) -> bool {
        self.has_group && self.leaving && self.killing.is_none() && trees.members(self.key, self.pid).is_empty()
    }

    /// A new session: nothing is sent until the host has acknowledged.
    pub fn reset(&mut self) {
        self.exit_sent = false;
        for output in &mut self.outputs {
            output.retained.pause();
        }
    }

    /// Queues the STATE of a process the host still knows.
    pub fn describe(&self, stream: u32, out: &mut Output) {
        let base = |channel: usize| self.outputs.get(channel).map_or(0, |output| output.retained.base());
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let exited = self.leaving;
        let flags = flag(self.terminal, FLAG_TERMINAL) | flag(exited, FLAG_EXITED) | flag(self.stdin.closed(), FLAG_STDIN_CLOSED);
        out.frame(Header::new(0, kind::STATE, 0, 0), |payload| {
            payload.u32(stream).str(&self.exec_id).u32(self.pid as u32).u8(flags);
            payload.u64(self.stdin.taken()).u64(base(0)).u64(base(1));
            if let (Some(ended), true) = (&self.ended, exited) {
                ended.write(payload, self.timed_out);
            }
        });
    }
}

impl Ended {
    fn write(&self, payload: &mut Writer<'_>, timed_out: bool) {
        let (cause, number) = match self.ending {
            Ending::Exited(code) => (0, code),
            Ending::Killed(signal) => (1, signal),
        };
        payload.u8(cause).i32(number).u8(u8::from(timed_out)).u64(self.after.as_millis() as u64);
    }
}
