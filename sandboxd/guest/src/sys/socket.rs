//! Sockets: connections to the sandbox's own loopback, peers of Unix sockets.

use super::fd::owned;
use super::{check, errno, ffi};
use std::io;
use std::mem::size_of;
use std::os::raw::c_void;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

pub use ffi::PeerCredentials;

/// One of the two loopback addresses.
#[derive(Clone, Copy, Debug)]
pub enum Loopback {
    V4,
    V6,
}

/// Begins to connect; tells whether the connection is made already. The socket is non-blocking.
pub fn connect(address: Loopback, port: u16) -> io::Result<(OwnedFd, bool)> {
    let family = match address {
        Loopback::V4 => ffi::AF_INET,
        Loopback::V6 => ffi::AF_INET6,
    };
    // SAFETY: takes integers and touches no memory.
    let socket = owned(unsafe { ffi::socket(family, ffi::SOCK_STREAM | ffi::O_NONBLOCK | ffi::O_CLOEXEC, 0) })?;
    let on = 1_i32;
    // SAFETY: the value lives across the call and its length is told. Failing only costs latency.
    unsafe { ffi::setsockopt(socket.as_raw_fd(), ffi::IPPROTO_TCP, ffi::TCP_NODELAY, (&on as *const i32).cast(), size_of::<i32>() as u32) };
    let result = match address {
        Loopback::V4 => connect_v4(&socket, port),
        Loopback::V6 => connect_v6(&socket, port),
    };
    match result {
        Ok(_) => Ok((socket, true)),
        Err(error) if error.raw_os_error() == Some(errno::EINPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}

fn connect_v4(socket: &OwnedFd, port: u16) -> io::Result<i32> {
    let name = ffi::AddressV4 { family: ffi::AF_INET as u16, port: port.to_be_bytes(), address: [127, 0, 0, 1], zero: [0; 8] };
    let pointer = (&name as *const ffi::AddressV4).cast::<c_void>();
    // SAFETY: the address lives across the call and its length is told.
    check(unsafe { ffi::connect(socket.as_raw_fd(), pointer, size_of::<ffi::AddressV4>() as u32) })
}

fn connect_v6(socket: &OwnedFd, port: u16) -> io::Result<i32> {
    let mut address = [0; 16];
    address[15] = 1;
    let name = ffi::AddressV6 { family: ffi::AF_INET6 as u16, port: port.to_be_bytes(), flow: 0, address, scope: 0 };
    let pointer = (&name as *const ffi::AddressV6).cast::<c_void>();
    // SAFETY: the address lives across the call and its length is told.
    check(unsafe { ffi::connect(socket.as_raw_fd(), pointer, size_of::<ffi::AddressV6>() as u32) })
}

/// Reads one socket option into a value of plain integers.
fn option<T: Default>(socket: RawFd, option: i32) -> io::Result<T> {
    let (mut value, mut length) = (T::default(), size_of::<T>() as u32);
    // SAFETY: the value lives across the call and the kernel writes at most `length` bytes; T is only ever used with plain integers.
    check(unsafe { ffi::getsockopt(socket, ffi::SOL_SOCKET, option, (&mut value as *mut T).cast(), &mut length) })?;
    Ok(value)
}

/// How an attempt to connect ended.
pub fn take_error(socket: RawFd) -> io::Result<()> {
    match option::<i32>(socket, ffi::SO_ERROR)? {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Who is at the other end of a Unix socket.
pub fn peer(socket: RawFd) -> io::Result<PeerCredentials> {
    option(socket, ffi::SO_PEERCRED)
}

/// Tells the peer that nothing will follow.
pub fn end_writing(socket: RawFd) -> io::Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { ffi::shutdown(socket, ffi::SHUT_WR) }).map(drop)
}
