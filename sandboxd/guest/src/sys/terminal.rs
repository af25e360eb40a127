//! Pseudo-terminals.

use super::fd::open_at;
use super::{check, ffi};
use std::ffi::CString;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

/// Index of VEOF in the control characters.
const VEOF: usize = 4;

/// A new terminal: the master, non-blocking reads are up to the caller, and the side that processes use.
pub fn open(rows: u16, columns: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = ffi::O_RDWR | ffi::O_NOCTTY;
    let master = open_at(ffi::AT_FDCWD, &path("/dev/ptmx".to_owned())?, flags)?;
    let (mut locked, mut number) = (0_i32, 0_u32);
    // SAFETY: both requests read or write one int that lives across the call.
    unsafe {
        check(ffi::ioctl(master.as_raw_fd(), ffi::TIOCSPTLCK, &mut locked))?;
        check(ffi::ioctl(master.as_raw_fd(), ffi::TIOCGPTN, &mut number))?;
    }
    let terminal = open_at(ffi::AT_FDCWD, &path(format!("/dev/pts/{number}"))?, flags)?;
    resize(terminal.as_raw_fd(), rows, columns)?;
    Ok((master, terminal))
}

fn path(text: String) -> io::Result<CString> {
    Ok(CString::new(text)?)
}

/// The process group in the foreground, if the kernel tells it to one who is not of its session.
pub fn foreground(terminal: RawFd) -> io::Result<i32> {
    let mut group = 0_i32;
    // SAFETY: the int lives across the call.
    check(unsafe { ffi::ioctl(terminal, ffi::TIOCGPGRP, &mut group) })?;
    Ok(group)
}

/// Sets the size, of either side. Linux, but not gVisor, then sends SIGWINCH to the foreground.
pub fn resize(terminal: RawFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = ffi::WindowSize { rows, columns, x_pixels: 0, y_pixels: 0 };
    // SAFETY: the structure lives across the call.
    check(unsafe { ffi::ioctl(terminal, ffi::TIOCSWINSZ, &size) }).map(drop)
}

/// The character that means end of file on this terminal now.
pub fn end_character(terminal: RawFd) -> io::Result<u8> {
    let mut settings = ffi::Termios::default();
    // SAFETY: TCGETS fills the kernel's termios, which this structure mirrors.
    check(unsafe { ffi::ioctl(terminal, ffi::TCGETS, &mut settings) })?;
    Ok(settings.control_characters[VEOF])
}

/// Whether a descriptor is a terminal of any kind.
pub fn is_terminal(fd: RawFd) -> bool {
    end_character(fd).is_ok()
}
