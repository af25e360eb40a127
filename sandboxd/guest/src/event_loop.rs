//! The one loop: wait, read, act, write.

use crate::api::Api;
use crate::context::Context;
use crate::input::{Input, Step};
use crate::process::table::Table;
use crate::session::Session;
use crate::sys::poll::{child_signals, Ready, Source, Watched, IN, OUT};
use crate::sys::fd;
use crate::trees::Trees;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a pipe whose other end is gone is left alone: the host may come back.
const REST: Duration = Duration::from_millis(100);

/// PID 1's descriptors, its input, and the session they serve.
pub struct EventLoop {
    session: Session,
    input: Input,
    stdin: Watched,
    stdout: Watched,
    signals: Watched,
    /// Until when neither pipe is touched, after a hang-up.
    rest_until: Option<Instant>,
}

impl EventLoop {
    /// Sets everything up; the API socket is made at `api_path`.
    pub fn new(trees: Trees, api_path: &Path) -> io::Result<EventLoop> {
        let context = Context::new()?;
        let pipe = |number: OwnedFd, source| -> io::Result<Watched> {
            fd::set_nonblocking(number.as_raw_fd())?;
            Ok(context.poller.watch(number, source))
        };
        let stdin = pipe(fd::take_standard(0)?, Source::Input)?;
        let stdout = pipe(fd::take_standard(1)?, Source::Output)?;
        let mut signals = context.poller.watch(child_signals()?, Source::Signals);
        signals.want(IN);
        let api = Api::listen(&context.poller, api_path);
        if let Err(error) = &api {
            crate::log!("api.sock: {error}");
        }
        let session = Session::new(context, Table::new(trees), api.ok());
        let mut event_loop = EventLoop { session, input: Input::new(), stdin, stdout, signals, rest_until: None };
        event_loop.set_interest();
        Ok(event_loop)
    }

    /// Runs until the sandbox is killed from outside.
    pub fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        let mut busy = false;
        loop {
            self.session.context.poller.wait(self.timeout_ms(busy), &mut ready)?;
            self.rest_until = self.rest_until.filter(|until| *until > Instant::now());
            for event in ready.drain(..) {
                self.dispatch(event)?;
            }
            if self.input.full() {
                self.read()?;
            }
            self.session.table.tick(&mut self.session.context);
            busy = self.session.work();
            self.write()?;
            if !busy && self.session.table.sweep_due() {
                self.session.table.sweep();
            }
            self.set_interest();
        }
    }

    /// Requests are not read while their answers cannot be delivered.
    fn set_interest(&mut self) {
        let out = &self.session.context.out;
        let resting = self.rest_until.is_some();
        self.stdin.want(if out.congested() || resting { 0 } else { IN });
        self.stdout.want(if out.pending() > 0 && !resting { OUT } else { 0 });
    }

    /// How long to wait: not at all while there is work that the output has room for.
    fn timeout_ms(&self, busy: bool) -> i32 {
        let out = &self.session.context.out;
        if (busy && out.room_for_bulk()) || (self.input.full() && !out.congested()) {
            return 0;
        }
        match self.session.table.next_tick().into_iter().chain(self.rest_until).min() {
            Some(tick) => {
                // Rounded up, or the loop would spin through the last millisecond.
                let left = tick.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
                left.as_millis().min(i32::MAX as u128) as i32
            }
            None => -1,
        }
    }

    fn dispatch(&mut self, event: Ready) -> io::Result<()> {
        match event.source {
            Source::Input => self.read(),
            // Written at the end of every turn anyway.
            Source::Output => Ok(()),
            Source::Signals => {
                self.clear_signals();
                self.session.table.reap(&mut self.session.context);
                Ok(())
            }
            _ => {
                self.session.ready(event);
                Ok(())
            }
        }
    }

    fn clear_signals(&mut self) {
        let mut information = [0; 128];
        while fd::read(self.signals.as_raw_fd(), &mut information).is_ok() {}
    }

    fn read(&mut self) -> io::Result<()> {
        match fd::read(self.stdin.as_raw_fd(), self.input.space()) {
            Ok(0) => {
                self.input.filled(0);
                self.rest_until = Some(Instant::now() + REST);
            }
            Ok(count) => self.input.filled(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.input.filled(0),
            Err(error) => return Err(error),
        }
        while let Some(step) = self.input.next() {
            match step {
                Step::Frame(header, payload) => self.session.frame(&header, self.input.bytes(payload)),
                Step::Reset(marker) => self.session.reset(&marker),
                Step::Violation => crate::log!("the host's bytes are no frames; waiting for its marker"),
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        if self.rest_until.is_some() {
            return Ok(());
        }
        match self.session.context.out.flush(self.stdout.as_raw_fd()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.rest_until = Some(Instant::now() + REST),
            result => result?,
        }
        Ok(())
    }
}
