//! All processes not yet forgotten, and what the host and the kernel have to say about them.

use super::child::Process;
use super::request::Request;
use super::start;
use crate::context::{Context, Work};
use crate::fields::{Malformed, Reader};
use crate::frame::Header;
use crate::output::Failure;
use crate::sys::errno::EEXIST;
use crate::sys::ffi::SIGKILL;
use crate::sys::poll::Ready;
use crate::sys::process::{self, Launcher};
use crate::trees::Trees;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const CONTROL_SIGNAL: u8 = 1;
const CONTROL_RESIZE: u8 = 2;
const SCOPE_TREE: u8 = 1;
/// A kernel may need a moment to let go of a group whose last process was reaped.
const FIRST_SWEEP_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_SWEEP_PAUSE: Duration = Duration::from_secs(10);

/// The process table.
pub struct Table {
    trees: Trees,
    launcher: Launcher,
    processes: HashMap<u32, Process>,
    key_of_stream: HashMap<u32, u32>,
    /// Children not reaped yet.
    key_of_pid: HashMap<i32, u32>,
    last_key: u32,
    /// Some tree may have become empty.
    sweep_due: bool,
    /// When to sweep again for trees that were empty and could not be removed yet, and the pause after that.
    sweep_again: Option<(Instant, Duration)>,
}

impl Table {
    pub fn new(trees: Trees) -> Table {
        Table {
            trees,
            launcher: Launcher::new(),
            processes: HashMap::new(),
            key_of_stream: HashMap::new(),
            key_of_pid: HashMap::new(),
            last_key: 0,
            sweep_due: false,
            sweep_again: None,
        }
    }

    /// Processes known to the host.
    pub fn len(&self) -> usize {
        self.key_of_stream.len()
    }

    /// Process trees, those of forgotten processes that still run included.
    pub fn trees(&self) -> u32 {
        self.trees.count()
    }

    pub fn has_stream(&self, stream: u32) -> bool {
        self.key_of_stream.contains_key(&stream)
    }

    fn of_stream(&mut self, stream: u32) -> Option<&mut Process> {
        self.processes.get_mut(self.key_of_stream.get(&stream)?)
    }

    /// OPEN: starts a process and replies.
    pub fn open(&mut self, context: &mut Context, stream: u32, payload: &[u8]) {
        match self.start(context, stream, payload) {
            Ok(pid) => context.out.reply(stream, |fields| {
                fields.u32(pid as u32);
            }),
            Err(failure) => {
                context.out.refuse(stream, &failure);
                context.out.close(stream);
            }
        }
    }

    fn start(&mut self, context: &mut Context, stream: u32, payload: &[u8]) -> Result<i32, Failure> {
        let request = Request::decode(payload).map_err(|Malformed| Failure::new(crate::sys::errno::EINVAL, "exec: malformed request"))?;
        if self.processes.values().any(|process| process.stream.is_some() && process.exec_id == request.exec_id) {
            return Err(Failure::new(EEXIST, "exec: the exec id is in use"));
        }
        let key = self.last_key.wrapping_add(1);
        let made = start::start(&request, key, &mut self.trees, &mut self.launcher)?;
        let pid = made.pid;
        let process = Process::new(key, stream, request.exec_id, request.timeout_ms, made, &context.poller);
        self.last_key = key;
        self.processes.insert(key, process);
        self.key_of_stream.insert(stream, key);
        self.key_of_pid.insert(pid, key);
        Ok(pid)
    }

    pub fn data(&mut self, context: &mut Context, header: &Header, bytes: &[u8]) {
        if let Some(process) = self.of_stream(header.stream) {
            process.stdin.data(header.offset, bytes);
            process.stdin.acknowledge(header.stream, &mut context.out);
        }
    }

    pub fn eof(&mut self, header: &Header) {
        if let Some(process) = self.of_stream(header.stream) {
            process.stdin.eof(header.offset);
        }
    }

    pub fn ack(&mut self, context: &mut Context, header: &Header, limit: u64) {
        if let Some(process) = self.of_stream(header.stream) {
            if let Some(output) = process.output(header.channel) {
                output.acknowledged(header.offset, limit, &mut context.scratch);
            }
            context.work.add(Work::Process(process.key));
        }
    }

    pub fn control(&mut self, header: &Header, payload: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(payload);
        match header.channel {
            CONTROL_SIGNAL => {
                let (signal, scope) = (reader.u8()?, reader.u8()?);
                reader.end()?;
                self.signal(header.stream, i32::from(signal), scope == SCOPE_TREE);
            }
            CONTROL_RESIZE => {
                let (rows, columns) = (reader.u16()?, reader.u16()?);
                reader.end()?;
                if let Some(process) = self.key_of_stream.get(&header.stream).and_then(|key| self.processes.get(key)) {
                    process.resize(rows, columns, &self.trees);
                }
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn signal(&mut self, stream: u32, signal: i32, tree: bool) {
        let process = match self.key_of_stream.get(&stream).and_then(|key| self.processes.get_mut(key)) {
            Some(process) => process,
            None => return,
        };
        if tree && signal == SIGKILL {
            process.kill_tree(&self.trees);
        } else if tree {
            process.signal_tree(signal, &self.trees);
        } else if !process.has_ended() {
            if let Err(error) = process::kill(process.pid, signal) {
                crate::log!("signal {signal}: {error}");
            }
        }
    }

    /// CLOSE: the host has seen the end, or wants it now.
    pub fn close(&mut self, stream: u32) {
        if let Some(process) = self.key_of_stream.remove(&stream).and_then(|key| self.processes.get_mut(&key)) {
            process.stream = None;
            if !process.has_ended() {
                process.kill_tree(&self.trees);
            }
            self.sweep_due = true;
        }
    }

    /// A pipe or terminal is ready.
    pub fn ready(&mut self, context: &mut Context, key: u32, channel: u8, ready: Ready) {
        if let Some(process) = self.processes.get_mut(&key) {
            if channel == 0 {
                process.stdin.writable();
                if let Some(stream) = process.stream {
                    process.stdin.acknowledge(stream, &mut context.out);
                }
            } else if let (Some(output), true) = (process.output(channel), ready.readable) {
                output.readable(&mut context.scratch);
                context.work.add(Work::Process(key));
            }
        }
    }

    /// Takes in every child that has ended, adopted orphans included.
    pub fn reap(&mut self, context: &mut Context) {
        while let Some((pid, ending)) = process::reap() {
            self.sweep_due = true;
            let key = self.key_of_pid.remove(&pid);
            if let Some(process) = key.and_then(|key| self.processes.get_mut(&key)) {
                process.reaped(ending, &mut context.scratch);
                context.work.add(Work::Process(process.key));
            }
        }
    }

    /// When [`Table::tick`] is next needed.
    pub fn next_tick(&self) -> Option<Instant> {
        let sweep = self.sweep_again.map(|(at, _)| at);
        self.processes.values().filter_map(Process::next_tick).chain(sweep).min()
    }

    pub fn tick(&mut self, context: &mut Context) {
        let now = Instant::now();
        self.sweep_due |= self.sweep_again.map_or(false, |(at, _)| at <= now);
        for process in self.processes.values_mut() {
            if process.tick(now, &self.trees, &mut context.scratch) {
                context.work.add(Work::Process(process.key));
            }
        }
    }

    /// Queues the frames of one process that are due.
    pub fn work(&mut self, context: &mut Context, key: u32) {
        if let Some(process) = self.processes.get_mut(&key) {
            process.send(&mut context.out);
        }
    }

    pub fn sweep_due(&self) -> bool {
        self.sweep_due
    }

    /// Removes the groups of trees that are empty and what remained of forgotten processes. Kept off the path of any answer.
    pub fn sweep(&mut self) {
        self.sweep_due = false;
        let trees = &mut self.trees;
        self.processes.retain(|_, process| process.keep(trees));
        let stuck = self.processes.values().any(|process| process.is_stuck(&self.trees));
        let pause = self.sweep_again.take().map_or(FIRST_SWEEP_PAUSE, |(_, pause)| (pause * 2).min(LONGEST_SWEEP_PAUSE));
        self.sweep_again = stuck.then(|| (Instant::now() + pause, pause));
    }

    /// A new session: tells what is running.
    pub fn reset(&mut self, context: &mut Context) {
        let mut streams: Vec<(u32, u32)> = self.key_of_stream.iter().map(|(stream, key)| (*stream, *key)).collect();
        streams.sort_unstable();
        for (stream, key) in &streams {
            if let Some(process) = self.processes.get_mut(key) {
                process.reset();
                process.describe(*stream, &mut context.out);
            }
        }
        for (stream, key) in streams {
            if let Some(process) = self.processes.get_mut(&key) {
                process.stdin.send_acknowledgement(stream, &mut context.out);
            }
        }
    }
}
