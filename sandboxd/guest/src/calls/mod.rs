//! CALL streams: one request, one reply (docs/guest-protocol.md, section 6).

pub mod handles;
mod list;
mod names;
mod remove;

use crate::context::Context;
use crate::fields::{Reader, Writer};
use crate::output::{Failure, Output};
use crate::paths::absolute;
use crate::stream::Stream;
use crate::sys::errno::EINVAL;
use crate::sys::file::{self, Stat};
use crate::sys::host;
use handles::Handles;

/// A call's answer: already queued, or still to come from a job.
pub type Answer = Result<Option<Box<dyn Stream>>, Failure>;

/// What the guest holds; for those who look for leaks.
pub struct Status {
    pub processes: usize,
    pub trees: u32,
    pub streams: usize,
    pub handles: usize,
}

impl Status {
    fn tell(&self, stream: u32, reader: &Reader<'_>, out: &mut Output) -> Answer {
        reader.end()?;
        out.reply(stream, |payload| {
            payload.u32(self.processes as u32).u32(self.trees).u32(self.streams as u32).u32(self.handles as u32);
        });
        Ok(None)
    }
}

/// Performs one call. Long ones come back as a stream that goes on in slices.
pub fn perform(stream: u32, payload: &[u8], handles: &mut Handles, status: &Status, context: &mut Context) -> Option<Box<dyn Stream>> {
    match answer(stream, payload, handles, status, &mut context.out) {
        Ok(job) => job,
        Err(failure) => {
            context.out.refuse(stream, &failure);
            None
        }
    }
}

fn answer(stream: u32, payload: &[u8], handles: &mut Handles, status: &Status, out: &mut Output) -> Answer {
    let mut reader = Reader::new(payload);
    let operation = reader.u8()?;
    match operation {
        1 => names::stat(stream, &mut reader, out),
        2 => one_path(&mut reader).and_then(|path| list::start(stream, &path)),
        3 => names::make_directory(stream, &mut reader, out),
        4 => remove::start(stream, &mut reader, out),
        5 => names::rename(stream, &mut reader, out),
        6 => handles.open(stream, &mut reader, out),
        7 => handles.read(stream, &mut reader, out),
        8 => handles.write(stream, &mut reader, out),
        9 => handles.seek(stream, &mut reader, out),
        10 => handles.sync(stream, &mut reader, out),
        11 => handles.close(stream, &mut reader, out),
        12 => names::change_mode(stream, &mut reader, out),
        13 => names::symlink(stream, &mut reader, out),
        14 => status.tell(stream, &reader, out),
        15 => sync_all(stream, &reader, out),
        16 => set_hostname(stream, &mut reader, out),
        _ => Err(Failure::new(EINVAL, format!("no operation {operation}"))),
    }
}

/// Everything that the kernel holds back, times of files above all, goes to the file system.
fn sync_all(stream: u32, reader: &Reader<'_>, out: &mut Output) -> Answer {
    reader.end()?;
    file::sync_all();
    out.reply(stream, |_| ());
    Ok(None)
}

/// A restored guest is another host than the one that was frozen.
fn set_hostname(stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
    let name = reader.str()?;
    reader.end()?;
    host::set_name(name).map_err(|error| Failure::of("hostname", &error))?;
    out.reply(stream, |_| ());
    Ok(None)
}

fn one_path(reader: &mut Reader<'_>) -> Result<std::ffi::CString, Failure> {
    let path = absolute(reader.str()?)?;
    reader.end()?;
    Ok(path)
}

/// The `stat` fields.
pub fn write_stat(payload: &mut Writer<'_>, stat: &Stat) {
    payload.u32(stat.mode).u32(stat.uid).u32(stat.gid).u64(stat.size).i64(stat.mtime_ns).u64(stat.inode).u32(stat.links);
}
