//! epoll, the signal descriptor and the clocks.

use super::fd::owned;
use super::{check, ffi};
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

pub const IN: u32 = ffi::EPOLLIN;
pub const OUT: u32 = ffi::EPOLLOUT;
/// Most descriptors reported by one wait.
const EVENTS: usize = 64;

/// Who is told that a descriptor is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Input,
    Output,
    Signals,
    Api,
    /// A process's pipe or terminal, by the process's key.
    Process { key: u32, channel: u8 },
    Stream { stream: u32, channel: u8 },
}

impl Source {
    fn encode(self) -> u64 {
        let (tag, channel, number) = match self {
            Source::Input => (0, 0, 0),
            Source::Output => (1, 0, 0),
            Source::Signals => (2, 0, 0),
            Source::Api => (3, 0, 0),
            Source::Process { key, channel } => (4, channel, key),
            Source::Stream { stream, channel } => (5, channel, stream),
        };
        (tag << 40) | (u64::from(channel) << 32) | u64::from(number)
    }

    fn decode(data: u64) -> Source {
        let (channel, number) = ((data >> 32) as u8, data as u32);
        match data >> 40 {
            0 => Source::Input,
            1 => Source::Output,
            2 => Source::Signals,
            3 => Source::Api,
            4 => Source::Process { key: number, channel },
            _ => Source::Stream { stream: number, channel },
        }
    }
}

/// One readiness report.
#[derive(Clone, Copy)]
pub struct Ready {
    pub source: Source,
    /// Hang-ups and errors count as readable and writable: the read or write then tells.
    pub readable: bool,
    pub writable: bool,
}

/// The epoll instance.
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub fn new() -> io::Result<Poller> {
        // SAFETY: takes an integer and touches no memory.
        let epoll = owned(unsafe { ffi::epoll_create1(ffi::EPOLL_CLOEXEC) })?;
        Ok(Poller { epoll })
    }

    /// Waits up to `timeout_ms` (-1: for ever) and appends what is ready.
    pub fn wait(&self, timeout_ms: i32, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [ffi::EpollEvent { events: 0, data: 0 }; EVENTS];
        // SAFETY: the array holds EVENTS events.
        let result = check(unsafe { ffi::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, timeout_ms) });
        let count = match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other? as usize,
        };
        ready.extend(events[..count].iter().map(|event| {
            let bits = event.events;
            Ready { source: Source::decode(event.data), readable: bits & !OUT != 0, writable: bits & !IN != 0 }
        }));
        Ok(())
    }

    /// Wraps a descriptor so that its interest can be set.
    pub fn watch(&self, fd: OwnedFd, source: Source) -> Watched {
        Watched { fd, source, interest: 0, epoll: self.epoll.as_raw_fd() }
    }
}

/// A descriptor and what is being waited for on it (level-triggered, which survives a checkpoint).
pub struct Watched {
    fd: OwnedFd,
    source: Source,
    interest: u32,
    /// The poller lives as long as the program.
    epoll: RawFd,
}

impl Watched {
    /// Sets what to wait for: any of [`IN`] and [`OUT`]. With 0 not even a hang-up is reported.
    ///
    /// Only a lack of kernel memory can make this fail; the descriptor is then never heard of again, which is logged.
    pub fn want(&mut self, interest: u32) {
        if interest == self.interest {
            return;
        }
        let operation = match (self.interest, interest) {
            (0, _) => ffi::EPOLL_CTL_ADD,
            (_, 0) => ffi::EPOLL_CTL_DEL,
            _ => ffi::EPOLL_CTL_MOD,
        };
        let mut event = ffi::EpollEvent { events: interest, data: self.source.encode() };
        // SAFETY: the event lives across the call.
        match check(unsafe { ffi::epoll_ctl(self.epoll, operation, self.fd.as_raw_fd(), &mut event) }) {
            Ok(_) => self.interest = interest,
            Err(error) => crate::log!("epoll: {error}"),
        }
    }
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Watched {
    /// A duplicate of the descriptor would keep the registration alive, so it is taken back by hand.
    fn drop(&mut self) {
        self.want(0);
    }
}

/// Blocks all signals and returns a descriptor that is readable when children ended.
///
/// gVisor does not spare PID 1 the signals that root in the sandbox sends it; blocked, all but SIGKILL do nothing. Children unblock them.
pub fn child_signals() -> io::Result<OwnedFd> {
    let all = ffi::SignalSet([u64::MAX; 16]);
    let mut child = ffi::SignalSet([0; 16]);
    child.0[0] = 1 << (ffi::SIGCHLD - 1);
    // SAFETY: the sets live across the calls.
    unsafe {
        check(ffi::sigprocmask(ffi::SIG_SETMASK, &all, std::ptr::null_mut()))?;
        owned(ffi::signalfd(-1, &child, ffi::SFD_NONBLOCK | ffi::SFD_CLOEXEC))
    }
}

fn clock_ns(clock: i32) -> u64 {
    let mut time = ffi::Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the structure lives across the call. Both clocks always exist.
    unsafe { ffi::clock_gettime(clock, &mut time) };
    time.seconds as u64 * 1_000_000_000 + time.nanoseconds as u64
}

pub fn monotonic_ns() -> u64 {
    clock_ns(ffi::CLOCK_MONOTONIC)
}

pub fn realtime_ns() -> u64 {
    clock_ns(ffi::CLOCK_REALTIME)
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn sources_survive_the_kernel() {
        let sources = [
            Source::Input,
            Source::Output,
            Source::Signals,
            Source::Api,
            Source::Process { key: u32::MAX, channel: 2 },
            Source::Stream { stream: u32::MAX - 1, channel: 255 },
        ];
        for source in sources {
            assert_eq!(Source::decode(source.encode()), source);
        }
    }
}
