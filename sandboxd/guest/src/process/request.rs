//! The OPEN payload of a process, and what can be decided from it alone. Pure.

use crate::fields::{Malformed, Pair, Reader};
use crate::output::Failure;
use crate::sys::errno::EINVAL;
use std::ffi::CString;

const FLAG_TERMINAL: u8 = 1;
const FLAG_NULL_STDIN: u8 = 2;
/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process to start; borrows from the frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub exec_id: &'a [u8],
    pub argv: Vec<&'a [u8]>,
    pub environment: Vec<Pair<'a>>,
    pub directory: &'a [u8],
    pub user: &'a [u8],
    pub terminal: bool,
    pub null_stdin: bool,
    pub rows: u16,
    pub columns: u16,
    pub timeout_ms: u64,
    pub max_tasks: u32,
}

impl<'a> Request<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Request<'a>, Malformed> {
        let mut reader = Reader::new(payload);
        let (exec_id, argv, environment) = (reader.str()?, reader.list()?, reader.map()?);
        let (directory, user, flags) = (reader.str()?, reader.str()?, reader.u8()?);
        let request = Request {
            exec_id,
            argv,
            environment,
            directory,
            user,
            terminal: flags & FLAG_TERMINAL != 0,
            null_stdin: flags & FLAG_NULL_STDIN != 0,
            rows: reader.u16()?,
            columns: reader.u16()?,
            timeout_ms: reader.u64()?,
            max_tasks: reader.u32()?,
        };
        reader.end()?;
        Ok(request)
    }

    /// Refuses what no system call needs to be asked about.
    pub fn check(&self) -> Result<(), Failure> {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        if self.exec_id.is_empty() || self.exec_id.len() > 64 || !self.exec_id.iter().all(allowed) {
            return Err(Failure::new(EINVAL, "exec: an exec id has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'"));
        }
        if self.argv.is_empty() {
            return Err(Failure::new(EINVAL, "exec: the command is empty"));
        }
        if self.directory.first() != Some(&b'/') {
            return Err(Failure::new(EINVAL, "chdir: the working directory must be absolute"));
        }
        Ok(())
    }

    pub fn variable(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.environment.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// The paths to try, in order.
    pub fn programs(&self) -> Result<Vec<CString>, Failure> {
        let name = self.argv[0];
        if name.contains(&b'/') || name.is_empty() {
            return Ok(vec![string(name)?]);
        }
        let path = self.variable(b"PATH").unwrap_or(DEFAULT_PATH);
        path.split(|byte| *byte == b':').map(|directory| string(&join(directory, name))).collect()
    }

    pub fn arguments(&self) -> Result<Vec<CString>, Failure> {
        self.argv.iter().map(|argument| string(argument)).collect()
    }
}

/// An empty entry of PATH means the working directory.
fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        name.to_vec()
    } else {
        [directory, b"/", name].concat()
    }
}

/// A string for the kernel.
pub fn string(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| Failure::new(EINVAL, "exec: a string holds a NUL byte"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Writer;

    fn request<'a>(argv: &[&'a str], environment: &[(&'a str, &'a str)]) -> Request<'a> {
        Request {
            exec_id: b"e",
            argv: argv.iter().map(|argument| argument.as_bytes()).collect(),
            environment: environment.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect(),
            directory: b"/",
            user: b"",
            terminal: false,
            null_stdin: false,
            rows: 0,
            columns: 0,
            timeout_ms: 0,
            max_tasks: 0,
        }
    }

    fn programs(argv: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
        let found = request(argv, environment).programs().unwrap();
        found.into_iter().map(|path| path.into_string().unwrap()).collect()
    }

    #[test]
    fn path_is_searched_only_for_plain_names() {
        assert_eq!(programs(&["sh"], &[("PATH", "/a:/b")]), ["/a/sh", "/b/sh"]);
        assert_eq!(programs(&["sh"], &[("PATH", ":/b:")]), ["sh", "/b/sh", "sh"]);
        assert_eq!(programs(&["./sh"], &[("PATH", "/a")]), ["./sh"]);
        assert_eq!(programs(&[""], &[("PATH", "/a")]), [""]);
        assert_eq!(programs(&["sh"], &[]).len(), 6);
    }

    #[test]
    fn bad_requests_name_the_step() {
        let message = |request: Request<'_>| request.check().unwrap_err().message;
        assert!(message(Request { exec_id: b"a/b", ..request(&["sh"], &[]) }).starts_with("exec:"));
        assert!(message(Request { exec_id: &[b'a'; 65], ..request(&["sh"], &[]) }).starts_with("exec:"));
        assert!(message(request(&[], &[])).starts_with("exec:"));
        assert!(message(Request { directory: b"tmp", ..request(&["sh"], &[]) }).starts_with("chdir:"));
        assert!(request(&["a\0b"], &[]).arguments().is_err());
    }

    #[test]
    fn every_shortened_payload_is_malformed() {
        let mut payload = Vec::new();
        let mut writer = Writer::new(&mut payload);
        writer.str(b"e1").u32(1).str(b"sh").u32(1).str(b"K").str(b"V").str(b"/").str(b"ada:users").u8(3);
        writer.raw(&24_u16.to_le_bytes()).raw(&80_u16.to_le_bytes()).u64(1500).u32(64);
        let decoded = Request::decode(&payload).unwrap();
        assert_eq!((decoded.rows, decoded.columns, decoded.timeout_ms, decoded.max_tasks), (24, 80, 1500, 64));
        assert!(decoded.terminal && decoded.null_stdin);
        for length in 0..payload.len() {
            assert_eq!(Request::decode(&payload[..length]), Err(Malformed));
        }
        payload.push(0);
        assert_eq!(Request::decode(&payload), Err(Malformed));
    }
}
