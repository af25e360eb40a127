//! `/run/cove/api.sock`: connections of processes in the sandbox, each a stream to the host.

use crate::context::Context;
use crate::fields::Reader;
use crate::frame::{kind, open, Header};
use crate::stream::{Outcome, Stream};
use crate::sys::poll::{Poller, Source, Watched, IN};
use crate::sys::socket;
use crate::transfer::relay::{Channels, Relay};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::io::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

const CHANNELS: Channels = Channels { to_host: 0, from_host: 1 };
/// Connections served at a time; more wait in the socket's backlog.
pub const MOST_CONNECTIONS: usize = 256;

/// The listening socket.
pub struct Api {
    listener: UnixListener,
    watched: Watched,
    /// Guest-opened streams are odd.
    last_stream: u32,
}

impl Api {
    /// Listens at `path`, open to every user of the sandbox.
    pub fn listen(poller: &Poller, path: &Path) -> io::Result<Api> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
            fs::set_permissions(directory, Permissions::from_mode(0o755))?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        listener.set_nonblocking(true)?;
        let watched = poller.watch(listener.try_clone()?.into(), Source::Api);
        Ok(Api { listener, watched, last_stream: u32::MAX })
    }

    /// Accepts only while the session is on and there are places.
    pub fn set_interest(&mut self, accepting: bool) {
        self.watched.want(if accepting { IN } else { 0 });
    }

    /// Takes one connection in and tells the host.
    pub fn accept(&mut self, context: &mut Context) -> Option<(u32, Box<dyn Stream>)> {
        let (connection, _) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    crate::log!("api.sock: {error}");
                }
                return None;
            }
        };
        if let Err(error) = connection.set_nonblocking(true) {
            crate::log!("api.sock: {error}");
            return None;
        }
        let peer = socket::peer(connection.as_raw_fd()).unwrap_or_default();
        self.last_stream = self.last_stream.wrapping_add(2);
        let stream = self.last_stream;
        context.out.frame(Header::new(stream, kind::OPEN, open::API, 0), |payload| {
            payload.u32(peer.pid as u32).u32(peer.uid).u32(peer.gid);
        });
        let socket = context.poller.watch(connection.into(), Source::Stream { stream, channel: 0 });
        Some((stream, Box::new(Relay::new(stream, CHANNELS, socket))))
    }
}

/// What the host's REPLY to an API stream means: anything but success ends it.
pub fn replied(payload: &[u8]) -> Outcome {
    match Reader::new(payload).u32() {
        Ok(0) => Outcome::Wait,
        _ => Outcome::Close,
    }
}
