//! Names of files as text.

use std::ffi::OsStr;
use std::fmt::Write;

/// The name of a file as text. A byte that is no UTF-8 stands as `\xE9`, so that different names stay
/// different; files are opened by their own names.
pub fn shown(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in name.as_ref().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02X}");
        }
    }
    text
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_of_other_encodings_stay_different() {
        assert_eq!(shown("a/ü.png"), "a/ü.png");
        assert_eq!(shown(OsStr::from_bytes(b"caf\xe9.png")), "caf\\xE9.png");
        assert_eq!(shown(OsStr::from_bytes(b"caf\xe8.png")), "caf\\xE8.png");
    }
}
