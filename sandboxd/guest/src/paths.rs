//! Paths as the host gives them. Pure.

use crate::output::Failure;
use crate::sys::errno::{EINVAL, ENAMETOOLONG};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const LONGEST: usize = 4095;

/// An absolute path that the kernel can take.
pub fn absolute(bytes: &[u8]) -> Result<CString, Failure> {
    if bytes.first() != Some(&b'/') {
        return Err(Failure::new(EINVAL, format!("{}: the path must be absolute", display(bytes))));
    }
    if bytes.len() > LONGEST {
        return Err(Failure::new(ENAMETOOLONG, "the path is longer than 4,095 bytes"));
    }
    CString::new(bytes).map_err(|_| Failure::new(EINVAL, "the path holds a NUL byte"))
}

/// The same path for the standard library.
pub fn as_path(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

/// For messages.
pub fn display(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_without_nul_and_within_the_limit_pass() {
        assert_eq!(absolute(b"/a").unwrap().to_bytes(), b"/a");
        assert_eq!(absolute(b"").unwrap_err().errno, EINVAL);
        assert_eq!(absolute(b"a").unwrap_err().errno, EINVAL);
        assert_eq!(absolute(b"/a\0b").unwrap_err().errno, EINVAL);
        assert!(absolute(&[b'/'; LONGEST]).is_ok());
        assert_eq!(absolute(&[b'/'; LONGEST + 1]).unwrap_err().errno, ENAMETOOLONG);
    }
}
