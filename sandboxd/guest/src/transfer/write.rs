//! FILE_WRITE: bytes from the host into a file, written straight from the read buffer.

use super::{complete, fail, Start};
use crate::calls::handles::open_checked;
use crate::context::Context;
use crate::fields::Reader;
use crate::frame::Header;
use crate::output::Failure;
use crate::paths::{absolute, as_path, display};
use crate::stream::{Outcome, ReceiveWindow, Stream};
use crate::sys::errno::{EBUSY, EINVAL, EISDIR, ELOOP};
use crate::sys::fd;
use crate::sys::file::{stat_at, Stat, HERE};
use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::io::AsRawFd;
use std::path::{Path, PathBuf};

const FLAG_PARENTS: u8 = 1;
const FLAG_APPEND: u8 = 2;
const PARENT_MODE: u32 = 0o755;
const SET_ID_BITS: u32 = 0o7000;
const MOST_LINKS: usize = 40;
/// Bytes the host may send ahead: they only wait in the pipe, since each frame is written at once.
const WINDOW: u64 = 4 << 20;

struct FileWrite {
    stream: u32,
    name: String,
    file: File,
    /// Renamed at EOF; `None` when writing in place.
    replacement: Option<Replacement>,
    written: u64,
    window: ReceiveWindow,
}

/// A temporary file that takes the target's place, or vanishes when dropped.
struct Replacement {
    temporary: PathBuf,
    target: PathBuf,
    mode: u32,
    placed: bool,
}

pub fn start(context: &mut Context, stream: u32, payload: &[u8]) -> Start {
    let mut reader = Reader::new(payload);
    let (path, mode, flags) = (absolute(reader.str()?)?, reader.u32()? & 0o7777, reader.u8()?);
    reader.end()?;
    let name = display(path.to_bytes());
    let (file, replacement) = open(stream, &path, mode, flags)?;
    context.out.reply(stream, |_| ());
    let window = ReceiveWindow::new(WINDOW);
    window.announce(context, stream, 0);
    Ok(Box::new(FileWrite { stream, name, file, replacement, written: 0, window }))
}

fn open(stream: u32, path: &CString, mode: u32, flags: u8) -> Result<(File, Option<Replacement>), Failure> {
    let failure = |error: io::Error| Failure::of(&display(path.to_bytes()), &error);
    let (target, old) = resolve(as_path(path)).map_err(failure)?;
    if flags & FLAG_PARENTS != 0 && old.is_none() {
        make_parents(&target).map_err(failure)?;
    }
    let in_place = flags & FLAG_APPEND != 0 || old.map_or(false, |old| !old.is_regular());
    if in_place {
        let target = CString::new(target.as_os_str().as_bytes()).map_err(|_| Failure::new(EINVAL, "NUL"))?;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(mode);
        return open_checked(&target, &mut options).map(|(file, _)| (file, None));
    }
    let (file, replacement) = Replacement::create(stream, target, mode, old).map_err(failure)?;
    Ok((file, Some(replacement)))
}

/// Follows a final symbolic link, dangling or not; tells what is there now.
fn resolve(path: &Path) -> io::Result<(PathBuf, Option<Stat>)> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let text = CString::new(path.as_os_str().as_bytes())?;
        match stat_at(HERE, &text, false) {
            Ok(stat) if stat.is_link() => {
                let target = fs::read_link(&path)?;
                path = path.parent().unwrap_or_else(|| Path::new("/")).join(target);
            }
            Ok(stat) if stat.is_directory() => return Err(io::Error::from_raw_os_error(EISDIR)),
            Ok(stat) => return Ok((path, Some(stat))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((path, None)),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(ELOOP))
}

fn make_parents(target: &Path) -> io::Result<()> {
    match target.parent() {
        Some(parent) => DirBuilder::new().recursive(true).mode(PARENT_MODE).create(parent),
        None => Ok(()),
    }
}

impl Replacement {
    /// A hidden file beside the target, with its owner and mode or, for a new one, with `mode`.
    fn create(stream: u32, target: PathBuf, mode: u32, old: Option<Stat>) -> io::Result<(File, Replacement)> {
        let mode = old.map_or(mode, |old| old.permissions());
        let stamp = crate::sys::poll::monotonic_ns();
        let temporary = target.with_file_name(format!(".cove-{stream}-{stamp}.part"));
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        let replacement = Replacement { temporary, target, mode, placed: false };
        if let Some(old) = old.filter(|old| (old.uid, old.gid) != (0, 0)) {
            fd::change_owner(file.as_raw_fd(), old.uid, old.gid)?;
        }
        Ok((file, replacement))
    }

    fn place(mut self) -> io::Result<()> {
        if self.mode & SET_ID_BITS != 0 {
            // A change of owner clears them, and so does writing in gVisor.
            fs::set_permissions(&self.temporary, Permissions::from_mode(self.mode))?;
        }
        match fs::rename(&self.temporary, &self.target) {
            // A file that is itself a mount point, such as /etc/hosts, cannot be replaced.
            Err(error) if error.raw_os_error() == Some(EBUSY) => {
                let mut target = OpenOptions::new().write(true).truncate(true).open(&self.target)?;
                io::copy(&mut File::open(&self.temporary)?, &mut target)?;
            }
            result => {
                result?;
                self.placed = true;
            }
        }
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.placed {
            if let Err(error) = fs::remove_file(&self.temporary) {
                crate::log!("temporary file: {error}");
            }
        }
    }
}

impl Stream for FileWrite {
    fn data(&mut self, context: &mut Context, header: &Header, bytes: &[u8]) -> Outcome {
        if header.offset != self.written {
            return fail(context, self.stream, &Failure::new(EINVAL, format!("{}: bytes are missing", self.name)));
        }
        if let Err(error) = self.file.write_all(bytes) {
            return fail(context, self.stream, &Failure::of(&self.name, &error));
        }
        self.written += bytes.len() as u64;
        self.window.consume(context, header, bytes.len());
        Outcome::Wait
    }

    fn eof(&mut self, context: &mut Context, header: &Header) -> Outcome {
        if header.offset != self.written {
            return fail(context, self.stream, &Failure::new(EINVAL, format!("{}: bytes are missing", self.name)));
        }
        match self.replacement.take().map_or(Ok(()), Replacement::place) {
            Ok(()) => complete(context, self.stream, self.written),
            Err(error) => fail(context, self.stream, &Failure::of(&self.name, &error)),
        }
    }
}
